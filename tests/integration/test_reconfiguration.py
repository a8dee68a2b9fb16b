"""A running agent takes up what an operator or an edited file changes, part by part, without a restart: the installed
agent, a real broker, a real registry. Probations of a changed configuration are short here."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from tests.fakes.mqtt_operator import Operator

from . import shelf
from .device import CAMERA, PIPELINE, Device, merged
from .person import Person
from .processes import CAPTURE, WORKER, children

SHORT = {"remote": {"confirm_s": 2, "brokers": ["127.0.0.1"]}}
GATE = {"source": {"kind": "pattern", "width": 320, "height": 240, "fps": 10}}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def running(shared_world, veteran, broker) -> tuple[Device, Person]:
    """A device on which ``tiny:1.0.0`` serves, and its operator; each test leaves its configuration as it was."""
    device = shared_world.device(port=broker.port, state=veteran, start=False, **SHORT)
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


def patched(person: Person, patch: dict[str, Any]) -> Any:
    """Send a patch and return once it was taken and, where it had to prove itself, kept."""
    answer = person.command("config/patch", patch=patch)
    assert answer["ok"], answer
    revision = answer["result"]["revision"]
    assert answer["result"]["restart_needed"] == []

    def kept() -> Any:
        said = [one for one in person.said("reported") if one["revision"] >= revision]
        return said[-1] if said and said[-1]["state"] != "probation" else None

    told = person.wait(kept)
    assert (told["revision"], told["state"]) == (revision, "committed"), told
    return answer["result"]


def tracks(frame: dict[str, Any]) -> set[int]:
    return {seen["track"] for seen in frame["detections"]}


def retained(port: int, topic: str) -> list[bytes]:
    """What the broker gives somebody who subscribes now."""
    with contextlib.closing(Operator(port, client_id="stranger")) as stranger:
        stranger.send("lookout/stranger/hello", {"v": 1})
        stranger.wait_for("lookout/stranger/hello", 1)
        return [message.payload for message in stranger.on(topic)]


def test_thresholds_labels_and_zones_hold_at_once_and_tracks_go_on(running):
    device, person = running
    worker, before = device.worker, tracks(person.sees(shelf.TINY)[-1])
    assert before
    zone = {"camera": CAMERA, "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    patched(person, {"zones": {"all": zone}, "pipelines": {PIPELINE: {"score": 0.2}}})
    person.wait(lambda: "all" in person.said(f"state/{CAMERA}")[-1]["zones"])
    assert tracks(person.sees(shelf.TINY)[-1]) == before
    patched(person, {"pipelines": {PIPELINE: {"labels": ["blue"]}}})
    person.wait(lambda: person.said(f"state/{CAMERA}")[-1]["counts"] == {})
    patched(person, {"zones": {"all": None}, "pipelines": {PIPELINE: {"labels": None, "score": None}}})
    person.wait(lambda: person.said(f"state/{CAMERA}")[-1]["counts"] != {})
    ends = [one for one in person.said(f"events/{CAMERA}") if one["kind"] == "zone" and one["type"] == "end"]
    assert {one["place"] for one in ends} == {"all"}
    assert device.worker == worker
    assert device.status().cameras[0].lost == 0


def test_a_camera_comes_and_goes_and_its_worker_and_the_other_camera_never_notice(running, broker):
    device, person = running
    processes = children(device.pid, WORKER), children(device.pid, CAPTURE)
    cameras = [CAMERA, "gate"]
    patched(person, {"cameras": {"gate": GATE}, "pipelines": {PIPELINE: {"cameras": cameras}}})
    device.wait_status(lambda s: {c.name: c.answered > 3 for c in s.cameras}.get("gate"))
    person.wait(lambda: person.said("info")[-1]["cameras"] == cameras)
    assert retained(broker.port, person.topic("state/gate"))
    moved = {**GATE, "source": {**GATE["source"], "width": 160, "height": 120}}
    patched(person, {"cameras": {"gate": moved}})
    device.wait_status(lambda s: {c.name: c.health for c in s.cameras}.get("gate") == "streaming")
    patched(person, {"cameras": {"gate": None}, "pipelines": {PIPELINE: {"cameras": None}}})
    status = device.status()
    assert [camera.name for camera in status.cameras] == [CAMERA]
    assert (status.cameras[0].lost, status.degraded) == (0, ())
    person.wait(lambda: person.said("info")[-1]["cameras"] == [CAMERA])
    person.wait(lambda: not retained(broker.port, person.topic("state/gate")))
    assert (children(device.pid, WORKER), children(device.pid, CAPTURE)) == processes


def test_a_pipeline_comes_with_its_model_goes_with_its_worker_and_comes_back_as_it_was(running, broker):
    device, person = running
    workers = children(device.pid, WORKER)
    side = {"cameras": {"gate": GATE}, "pipelines": {"side": {"cameras": ["gate"], "model": shelf.NEWER}}}
    patched(person, side)
    device.wait_status(lambda s: {p.name: p.deployment for p in s.pipelines}.get("side") == "committed", 60)
    assert len(children(device.pid, WORKER)) == len(workers) + 1
    patched(person, {"cameras": {"gate": None}, "pipelines": {"side": None}})
    assert [pipeline.name for pipeline in device.status().pipelines] == [PIPELINE]
    person.wait(lambda: children(device.pid, WORKER) == workers)
    for topic in ("deploy/side", "update/side", "state/gate"):
        person.wait(lambda topic=topic: not retained(broker.port, person.topic(topic)))
    error = person.command("model/deploy", pipeline="side", reference=shelf.TINY)["error"]
    assert PIPELINE in error["message"]
    patched(person, side)
    device.wait_status(lambda s: {p.name: p.version for p in s.pipelines}.get("side") == "1.1.0", 60)
    patched(person, {"cameras": {"gate": None}, "pipelines": {"side": None}})


def test_other_threads_are_taken_up_by_a_new_worker_and_no_frame_is_lost(running):
    device, person = running
    before = device.worker
    patched(person, {"inference": {"threads": 2}})
    device.wait_status(
        lambda _: children(device.pid, WORKER) not in ([], [before]) and len(children(device.pid, WORKER)) == 1
    )
    status = device.wait_serving(shelf.TINY)
    assert (status.cameras[0].lost, status.degraded) == (0, ())
    assert device.worker != before
    patched(person, {"inference": {"threads": None}})


def test_changes_during_a_deployment_disturb_neither(running):
    device, person = running
    since = person.deploy(shelf.NEWEST, shadow_frames=30)
    person.wait_state(shelf.NEWEST, "trial", "shadow", since=since)
    patched(person, {"zones": {"all": {"camera": CAMERA, "polygon": [[0, 0], [1, 0], [1, 1]]}}})
    patched(person, {"pipelines": {PIPELINE: {"in_flight": 2}}})
    report = person.wait_state(shelf.NEWEST, "committed", "failed", "rolled_back", since=since, timeout_s=60)
    assert report["state"] == "committed", report
    assert report["receipt"]["lost"] == 0
    patched(person, {"zones": {"all": None}, "pipelines": {PIPELINE: {"in_flight": None}}})
    assert device.status().cameras[0].lost == 0


def test_an_edited_file_is_taken_up_too_and_an_edited_model_is_deployed(running):
    device, person = running
    since = len(person.deployments())
    device.config = merged(
        device.config,
        {
            "pipelines": {PIPELINE: {"model": shelf.NEWER}},
            "cameras": {CAMERA: {"rotate": 90}},
            "device": {"groups": ["g"]},
        },
    )
    new = device.file.with_name("new.yaml")
    new.write_text(json.dumps(device.config))
    new.replace(device.file)
    person.wait_state(shelf.NEWER, "committed", since=since, timeout_s=60)
    person.wait(lambda: person.said("info")[-1]["groups"] == ["g"])
    person.send("lookout/_group/g/cmd/device/ping", {"v": 1, "id": "to-the-group", "args": {}})
    person.wait(lambda: [one for one in person.said("result/device/ping") if one["id"] == "to-the-group"])
    assert device.status().cameras[0].lost == 0
