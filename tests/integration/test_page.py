"""The device's page of a whole agent: what its cameras see, masked, beside everything else the device does."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import requests

from tests.conftest import free_port
from tests.web.test_live import pictures

from . import shelf
from .device import CAMERA, PIPELINE
from .processes import until
from .test_processes import told_by

LEFT_HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
MARK = {"X-Lookout": "1"}


class Page:
    """A person at the page."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.address}{path}", timeout=15)

    def json(self, path: str):
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def command(self, verb: str, **args):
        answer = requests.post(f"{self.address}/api/commands/{verb}", json=args, headers=MARK, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def live(self, query: str = "fps=10") -> Iterator[np.ndarray]:
        """Look, and yield what is seen."""
        address = f"{self.address}/api/cameras/{CAMERA}/live.mjpg?{query}"
        with requests.get(address, stream=True, timeout=15) as response:
            assert response.status_code == 200, response.text
            for jpeg in pictures(response.iter_content(None)):
                yield decoded(jpeg)


def decoded(jpeg: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def looked_at(shared_world, veteran, broker):
    """A device with a mask whose page may change things, its operator, and a person at its page."""
    port = free_port()
    device = shared_world.device(
        port=broker.port,
        state=veteran,
        spied=True,
        start=False,
        web={"enabled": True, "port": port, "allow_changes": True},
    )
    device.config["cameras"][CAMERA] |= {"masks": [LEFT_HALF]}
    device.config["zones"] = {"door": {"camera": CAMERA, "polygon": [[0.6, 0.6], [0.9, 0.6], [0.9, 0.9]]}}
    device.config["mqtt"]["username"] = "yard"
    person = shared_world.person(broker.port, device)
    device.start(LOOKOUT__MQTT__PASSWORD="hunter2hunter2")
    person.sees(shelf.TINY, 1)
    return device, person, Page(port)


def test_the_live_view_shows_the_camera_and_never_what_a_mask_covers(looked_at):
    _, _, page = looked_at
    for query in ("fps=10", "fps=10&boxes=0&zones=0", "fps=10&width=160"):
        for number, shown in enumerate(page.live(query)):
            assert shown.shape == (64, 64, 3)
            assert shown[:, :28].max() < 60, "nothing behind the mask: no picture, no box, no label"
            if number == 4:
                break
    shown = decoded(page.get(f"/api/cameras/{CAMERA}/picture.jpg").content)
    assert shown[:, :28].max() < 60
    assert shown[40:, 40:].max() > 100, "the zone is drawn"
    plain = decoded(page.get(f"/api/cameras/{CAMERA}/picture.jpg?boxes=0&zones=0").content)
    assert plain[40:, 40:].max() < 60


def test_a_snapshot_for_the_operator_comes_beside_a_live_view_and_frames_go_on(looked_at):
    device, person, page = looked_at
    over, seen = threading.Event(), []

    def look() -> None:
        for shown in page.live("fps=15"):
            seen.append(shown)
            if over.is_set():
                return

    viewers = [threading.Thread(target=look) for _ in range(2)]
    for viewer in viewers:
        viewer.start()
    until(lambda: len(seen) > 4, 20, lambda: "no live view")
    answered = device.status().cameras[0].answered
    for _ in range(3):
        answer = person.command("camera/snapshot")
        assert answer["ok"], answer
        time.sleep(1.1)
    counted = len(seen)
    until(lambda: len(seen) > counted + 4, 20, lambda: "the live view stopped")
    assert device.status().cameras[0].answered > answered + 10
    assert device.status().cameras[0].lost == 0
    over.set()
    for viewer in viewers:
        viewer.join(10)


def test_the_page_tells_what_lookout_status_tells(looked_at):
    device, _, page = looked_at
    told = page.json("/api/status")
    mine = json.loads(device.run("status", "--json", "-c", str(device.file)).stdout)
    assert told.pop("page")["may_change"] is True
    assert told.keys() == mine.keys()
    assert told["device"] == mine["device"] == device.name
    assert told["pipelines"][0]["digest"] == mine["pipelines"][0]["digest"]
    (camera,) = page.json("/api/cameras")["cameras"]
    assert (camera["name"], camera["health"], camera["size"]) == (CAMERA, "streaming", [64, 64])
    assert camera["zones"]["door"]["polygon"][0] == [0.6, 0.6]
    assert camera["mask"] == [LEFT_HALF]
    until(lambda: page.get("/api/telemetry").status_code == 200, 10, lambda: "no telemetry")
    assert page.json("/api/telemetry")["cameras"][CAMERA]["health"] == "streaming"
    assert page.json("/api/history")["series"][f"fps.{CAMERA}"]
    assert any(line["event"] == "web.serves" for line in page.json("/api/logs?lines=1000")["lines"])
    assert "<title>" in page.get("/").text


def test_no_secret_is_on_the_page(looked_at):
    _, _, page = looked_at
    for path in ("status", "cameras", "deployments", "history", "logs?lines=1000", "config", "telemetry"):
        assert "hunter2" not in page.get(f"/api/{path}").text, path
    keys = {row["key"]: row for row in page.json("/api/config")["keys"]}
    assert (keys["mqtt.password"]["value"], keys["mqtt.password"]["where"]) == ("(hidden)", "LOOKOUT__MQTT__PASSWORD")


def test_a_deployment_from_the_page_goes_the_way_of_all_and_leaves_its_receipt(looked_at):
    _, person, page = looked_at
    answer = page.command("model/deploy", pipeline=PIPELINE, reference=shelf.NEWER)
    assert answer["ok"], answer
    person.wait_state(shelf.NEWER, "committed")
    told = page.json("/api/deployments")["pipelines"][PIPELINE]
    assert (told["state"], told["reference"], told["previous"]["version"]) == ("committed", shelf.NEWER, "1.0.0")
    newest = told["history"][0]
    assert (newest["state"], newest["receipt"]["to"]["version"], newest["receipt"]["lost"]) == ("committed", "1.1.0", 0)
    assert newest["receipt"]["latency_ms"]["after"]["frames"] > 0
    assert [entry["state"] for entry in told["history"]] == ["committed", "committed"], "how each one ended"
    refused = page.command("model/deploy", reference="none:such")
    assert (refused["ok"], bool(refused["error"]["message"])) == (False, True)
    assert page.command("model/rollback", pipeline=PIPELINE)["ok"]
    person.sees(shelf.TINY, 1)


def test_a_change_from_the_page_is_a_patch_like_any_other(looked_at):
    _, person, page = looked_at
    answer = page.command("config/patch", patch={"report": {"telemetry_s": 2.0}})
    assert answer["result"]["changes"] == [{"path": "report.telemetry_s", "before": 1.0, "after": 2.0}]
    history = person.command("config/get", path="report", history=True)["result"]["history"]
    assert history[-1]["who"] == "page" or history[0]["who"] == "page"
    keys = {row["key"]: row for row in page.json("/api/config")["keys"]}
    assert (keys["report.telemetry_s"]["value"], keys["report.telemetry_s"]["source"]) == (2.0, "remote")
    refused = page.command("config/patch", patch={"web": {"allow_changes": False}})
    assert refused["error"]["field"] == "web.allow_changes"


def test_the_page_adds_its_own_libraries_and_threads_and_no_others(looked_at):
    device, _, _ = looked_at
    modules, threads = told_by(device, device.pid)
    assert {"starlette", "uvicorn", "h11"} <= modules
    foreign = (
        "cv2",
        "onnxruntime",
        "onnx",
        "tuf",
        "requests",
        "tools",
        "rich",
        "scipy",
        "jinja2",
        "websockets",
        "uvloop",
    )
    assert sorted(name for name in modules if name.split(".")[0] in foreign) == []
    assert [name for name in threads if name != "MainThread" and not name.startswith("lookout-")] == []
    assert "lookout-web" in threads


def test_a_port_that_is_taken_makes_the_device_degraded_and_nothing_else(world, veteran, broker):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        device = world.device(port=broker.port, state=veteran, web={"enabled": True, "port": port})
        seen = device.wait_serving(shelf.TINY)
        assert any(f"page: 127.0.0.1, port {port} cannot be served at" in reason for reason in seen.degraded)
    device.wait_status(lambda status: not any("page" in reason for reason in status.degraded), 40)
    assert Page(port).json("/api/status")["device"] == device.name
