"""The real agent in doubt or need: shadow, memory for one model only, a factory model, safe mode, a deferred deploy."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.models import tiny_detector
from tests.fakes.registry import Shop
from tools.registry.serve import RegistryServer

from . import shelf
from .processes import WORKER, children, until

BLIND = "blind:1.0.0"
"""Sees a box that is not there; it has no golden image that would tell."""


def test_a_candidate_sees_live_frames_beside_current_before_it_serves(at_work):
    device, person = at_work()
    report = person.deployed(shelf.NEWER, shadow_frames=10, min_agreement=0.95)
    assert person.states(shelf.NEWER) == [
        "resolving", "fetching", "verifying", "trial", "shadow", "probation", "committed",
    ]  # fmt: skip
    shadow = report["receipt"]["shadow"]
    assert (shadow["frames"], shadow["wanted"], shadow["stopped"]) == (10, 10, None)
    assert (shadow["agreement"], shadow["f1"], shadow["mean_iou"], shadow["score_shift"]) == (1.0, 1.0, 1.0, 0.0)
    assert shadow["counts"] == {"red": {"current": 10, "candidate": 10}}
    assert shadow["latency_ratio"] > 0
    assert report["receipt"]["lost"] == 0
    person.sees(shelf.NEWER)
    until(lambda: len(children(device.pid, WORKER)) == 1, 10, lambda: "the former worker is left")


def test_a_candidate_that_sees_something_else_is_refused_before_the_swap(at_work, shop, tmp_path: Path):
    own = Shop.copied(shop, tmp_path / "own")
    shelf.publish(own, BLIND, partial(tiny_detector, constant=[(40, 40, 48, 48, 1.0, 2)]), golden=False)
    with RegistryServer(own.registry) as server:
        device, person = at_work(registry={"url": server.url})
        since = person.deploy(BLIND, shadow_frames=5, min_agreement=0.5)
        report = person.wait_state(BLIND, "failed", "committed", "rolled_back", since=since)
        assert report["state"] == "failed"
        assert "matched F1 0.000, at least 0.5 needed" in report["reason"]
        assert report["shadow"]["counts"] == {"red": {"current": 5, "candidate": 5}}
        frames = person.sees(shelf.TINY)
        assert all(frame["detections"][0]["box"] == [0, 0, 8, 8] for frame in frames)
        until(lambda: len(children(device.pid, WORKER)) == 1, 10, lambda: "the candidate's worker is left")


def test_where_memory_is_for_one_model_only_current_is_unloaded_first_and_comes_back_if_the_new_one_fails(at_work):
    device, person = at_work(deploy={"memory_floor_mb": 1_000_000})
    receipt = person.deployed(shelf.NEWER)["receipt"]
    assert receipt["unload_first"] is True
    assert receipt["gap_ms"] > 50, "the time in which nothing served"
    assert receipt["lost"] == 0
    assert receipt["memory_mb"]["before"] > 0
    person.sees(shelf.NEWER)
    assert len(children(device.pid, WORKER)) == 1

    since = person.deploy(shelf.LYING)
    report = person.wait_state(shelf.LYING, "failed", since=since)
    assert "golden" in report["reason"]
    person.sees(shelf.NEWER)
    assert device.wait_status(lambda status: not status.degraded)
    until(lambda: len(children(device.pid, WORKER)) == 1, 10, lambda: "there is more than one model")


def test_a_device_fresh_from_the_factory_sees_and_can_be_deployed_to(world, shop, broker, tmp_path: Path):
    folder = factory_folder(shop, tmp_path / "factory")
    device = world.device(port=broker.port, start=False, pipelines={"watch": {"factory": str(folder)}})
    person = world.person(broker.port, device)
    device.start()
    frame = person.sees(shelf.TINY, 1)[0]
    assert frame["detections"][0]["label"] == "red"
    assert device.status().degraded == ()
    assert person.deployed(shelf.NEWER)["receipt"]["from"]["version"] == "1.0.0"
    device.kill()
    device.start()
    person.sees(shelf.NEWER)


@pytest.mark.faults
def test_three_crashes_bring_the_previous_model_until_the_agent_has_run_well(at_work):
    device, person = at_work(deploy={"safe_mode_s": 4.0})
    person.deployed(shelf.NEWER)
    for _ in range(3):
        device.kill()
        device.start()
    device.wait_serving(shelf.TINY)
    assert any("safe mode: the agent crashed 3 times" in reason for reason in device.status().degraded)
    person.wait(lambda: (said := person.said("info")) and any("safe mode" in why for why in said[-1]["warnings"]))
    device.wait_serving(shelf.NEWER)
    assert device.wait_status(lambda status: not any("safe mode" in reason for reason in status.degraded))


def test_a_deployment_waits_for_its_time_and_can_be_cancelled(at_work):
    device, person = at_work()
    since = person.deploy(shelf.NEWER, not_before="2999-01-01T00:00:00Z")
    assert person.wait_state(shelf.NEWER, "deferred", since=since)["not_before"] == "2999-01-01T00:00:00.000Z"
    device.kill()
    device.start()
    person.sees(shelf.TINY)
    assert person.command("model/cancel")["ok"]
    person.wait_state(shelf.NEWER, "cancelled", since=since)
    answer = person.command("model/cancel")
    assert (answer["error"]["code"], "nothing to cancel" in answer["error"]["message"]) == ("refused", True)
    wrong = person.command("model/deploy", reference=shelf.NEWER, not_before="tomorrow")
    assert wrong["error"]["field"] == "args.not_before"


def factory_folder(shop: Shop, folder: Path) -> Path:
    """Lay the published ``tiny:1.0.0`` into a folder, as an integrator would."""
    manifest = next((shop.registry / "targets/models/tiny/1.0.0").glob("*.manifest.json"))
    folder.mkdir()
    shutil.copy(manifest, folder / "manifest.json")
    fields = json.loads(manifest.read_bytes())
    entries = [variant["file"] for variant in fields["variants"]] + [golden["image"] for golden in fields["golden"]]
    for entry in entries:
        target = folder / entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shop.registry / "blobs/sha256" / entry["sha256"], target)
    return folder
