"""An operator who has only a broker changes the configuration, and cannot lock himself out: the installed agent, real
brokers, a real registry. Probations are a few seconds long here."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import free_port

from . import shelf
from .device import CAMERA, PIPELINE, Device, merged
from .person import Person

CONFIRM_S = 4
IN_TIME_S = CONFIRM_S + 10
"""What is cut off must be back by then: the promise."""

SHORT = {"remote": {"confirm_s": CONFIRM_S, "brokers": ["127.0.0.1"]}, "mqtt": {"reconnect_s": 0.2}}
FRAMES = f"detections/{CAMERA}"
ABROAD = {"source": {"kind": "url", "url": "rtsp://127.0.0.1:1/nothing"}}

pytestmark = pytest.mark.timeout(240)


def patched(person: Person, patch: dict[str, Any], **rest: Any) -> Any:
    """Send a patch that is taken, and return its answer."""
    answer = person.command("config/patch", patch=patch, **rest)
    assert answer["ok"], answer
    return answer["result"]


def refused(person: Person, verb: str, **args: Any) -> Any:
    answer = person.command(verb, **args)
    assert not answer["ok"], answer
    return answer["error"]


def wait_reported(person: Person, timeout_s: float = 30, **wanted: Any) -> Any:
    """Return the newest ``reported``, once it holds what is wanted."""

    def fits() -> Any:
        said = person.said("reported")
        newest = said[-1] if said else {}
        return newest if {key: newest.get(key) for key in wanted} == wanted else None

    return person.wait(fits, timeout_s)


def undone(person: Person, revision: int, since: float) -> Any:
    """Return what is reported of a change that undid itself, in time."""
    found = person.wait(
        lambda: next(
            (r for r in person.said("reported") if r["revision"] > revision and r["state"] == "reverted"), None
        ),
        IN_TIME_S + 20,
    )
    assert time.monotonic() - since < IN_TIME_S + 15, "the machine of the tests is busy, but not that busy"
    assert found["reason"]
    return found


def rewrite(device: Device, **changes: Any) -> None:
    """Edit the file as configuration managers do, by renaming a new one over it."""
    device.config = merged(device.config, changes)
    new = device.file.with_name("agent.yaml.new")
    new.write_text(json.dumps(device.config, indent=1))
    new.replace(device.file)


@pytest.fixture(scope="module")
def steered(shared_world, veteran, broker):
    """A device that all tests of what does not disturb it share, and its operator."""
    device = shared_world.device(port=broker.port, state=veteran, start=False, **SHORT)
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


# --- a device that is left as it was ---------------------------------------------------------------------------------


def test_a_live_key_takes_effect_and_messages_carry_the_revision(steered):
    device, person = steered
    before = len(person.said(FRAMES))
    answer = patched(person, {"pipelines": {PIPELINE: {"remap": {"red": "apple"}}}}, who="ann")
    assert answer["pending"] is None
    assert answer["restart_needed"] == []
    person.wait(
        lambda: any(
            frame["config"] == answer["revision"] and "apple" in {seen["label"] for seen in frame["detections"]}
            for frame in person.said(FRAMES)[before:]
        )
    )
    told = wait_reported(person, revision=answer["revision"])
    assert told["config"] == {"pipelines": {PIPELINE: {"remap": {"red": "apple"}}}}
    view = person.command("config/get", path=f"pipelines.{PIPELINE}", history=True)["result"]
    assert view["config"]["remap"] == {"red": "apple"}
    assert view["sources"][f"pipelines.{PIPELINE}.remap.red"] == "remote"
    assert view["history"][0]["who"] == "ann"
    assert device.status().config.revision == answer["revision"]
    shown = device.run("status", "-c", str(device.file))
    assert f"config  revision {answer['revision']}" in shown.stdout
    patched(person, {"pipelines": {PIPELINE: {"remap": None}}})


def test_a_refused_patch_names_its_keys_and_changes_nothing(steered):
    _, person = steered
    before = person.command("config/get")["result"]["revision"]
    error = refused(person, "config/patch", patch={"report": {"detections_hz": -1, "al": True}, "web": {"port": 1}})
    assert error["code"] == "config_refused"
    assert {problem["path"] for problem in error["problems"]} >= {"report.al"}
    error = refused(person, "config/patch", patch={"mqtt": {"host": "broker.evil.example"}})
    assert error["field"] == "mqtt.host"
    assert person.command("config/get")["result"]["revision"] == before


def test_desired_is_taken_whole_and_manages_what_it_names(steered):
    _, person = steered
    desired, epoch = person.topic("desired"), 7
    person.send(desired, {"v": 1, "epoch": epoch, "version": 3, "config": {"report": {"all": True}}}, retain=True)
    wait_reported(person, epoch=epoch, version=3)
    error = refused(person, "config/patch", patch={"report": {"all": False}})
    assert error["code"] == "managed_by_desired"
    person.send(desired, {"v": 1, "epoch": epoch, "version": 2, "config": {}}, retain=True)
    person.send(
        desired, {"v": 1, "epoch": epoch, "version": 4, "config": {"report": {"all": "x"}, "logs": 1}}, retain=True
    )
    told = wait_reported(person, refused=[epoch, 4])
    assert {error["path"] for error in told["errors"]} >= {"report.all"}
    assert (told["version"], told["config"]) == (3, {"report": {"all": True}})
    person.send(desired, {"v": 1, "epoch": epoch + 1, "version": 1, "config": {}}, retain=True)
    wait_reported(person, epoch=epoch + 1, version=1, errors=[], config={})


def test_an_edited_file_holds_and_a_broken_one_is_left_alone(steered):
    device, person = steered
    whole = device.file.read_text()
    rewrite(device, report={"event_update_s": 3.0})
    person.wait(lambda: person.command("config/get", path="report.event_update_s")["result"]["config"] == 3.0)
    device.file.write_text("cameras: {")
    told = person.wait(lambda: (said := person.said("reported")[-1])["file"] and said)
    assert told["errors"]
    assert device.file.read_text() == "cameras: {"
    assert any("not used" in reason for reason in device.status().degraded)
    person.sees(shelf.TINY, 1)
    device.file.write_text(whole)
    wait_reported(person, file="")


def test_models_of_desired_are_deployed_and_managed(steered):
    _, person = steered
    desired, epoch = person.topic("desired"), 9
    since = len(person.deployments())
    person.send(desired, {"v": 1, "epoch": epoch, "version": 1, "models": {PIPELINE: shelf.NEWER}}, retain=True)
    person.wait_state(shelf.NEWER, "committed", since=since)
    assert refused(person, "model/deploy", reference=shelf.NEWEST)["code"] == "managed_by_desired"
    wait_reported(person, epoch=epoch, state="committed", models={PIPELINE: shelf.NEWER})
    person.send(desired, {"v": 1, "epoch": epoch, "version": 2, "models": {PIPELINE: shelf.LYING}}, retain=True)
    told = person.wait(lambda: (said := person.said("reported")[-1])["errors"] and said["version"] == 2 and said)
    assert [error["path"] for error in told["errors"]] == [f"models.{PIPELINE}"]
    wait_reported(person, epoch=epoch, version=2, state="committed")
    person.send(desired, {"v": 1, "epoch": epoch, "version": 3, "models": {PIPELINE: shelf.NEWER}}, retain=True)
    wait_reported(person, version=3, errors=[], state="committed")
    assert person.command("model/rollback")["ok"], "that is always allowed"
    person.sees(shelf.TINY)
    since = len(person.deployments())
    person.send(desired, {"v": 1, "epoch": epoch, "version": 4, "models": {PIPELINE: shelf.NEWER}}, retain=True)
    person.wait_state(shelf.NEWER, "committed", since=since)
    person.send(desired, {"v": 1, "epoch": epoch, "version": 5, "models": {}}, retain=True)
    wait_reported(person, version=5, state="committed", models={})
    person.deployed(shelf.TINY, force=True)


# --- what cuts off undoes itself -------------------------------------------------------------------------------------


def test_a_wrong_camera_is_undone_and_frames_come_again(steered):
    device, person = steered
    since = time.monotonic()
    answer = patched(person, {"cameras": {CAMERA: ABROAD}})
    assert answer["pending"]["left_s"] == pytest.approx(CONFIRM_S, abs=1.5)
    assert refused(person, "config/patch", patch={"report": {"all": True}})["code"] == "busy"
    told = undone(person, answer["revision"], since)
    assert CAMERA in told["reason"]
    person.sees(shelf.TINY)
    device.wait_status(lambda s: s.config.state == "reverted" and not s.degraded)


def test_a_dead_broker_is_left_again_and_the_old_one_hears_why(steered):
    _, person = steered
    dead, since = free_port(), time.monotonic()
    answer = patched(person, {"mqtt": {"port": dead}})
    assert answer["pending"]["needs_confirm"]
    told = undone(person, answer["revision"], since)
    assert str(dead) in told["reason"]
    assert person.command("device/ping")["ok"]


@pytest.mark.faults
def test_a_rate_that_the_camera_cannot_give_is_undone(world, veteran, broker):
    source = {"kind": "images", "path": "large", "loop": True, "fps": 2}
    device = world.device(port=broker.port, state=veteran, start=False, cameras={CAMERA: {"source": source}}, **SHORT)
    (device.folder / "large").mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (1500, 2000, 3), np.uint8)
    cv2.imwrite(str(device.folder / "large" / "1.png"), noise)  # takes far more than a millisecond to read
    person = world.person(broker.port, device)
    device.start()
    device.wait_serving(shelf.TINY)
    since = time.monotonic()
    answer = patched(person, {"cameras": {CAMERA: {"source": {"fps": 1000}}}})
    told = undone(person, answer["revision"], since)
    assert "1000" in told["reason"]
    device.wait_serving(shelf.TINY)


@pytest.mark.faults
def test_a_guarded_edit_of_the_file_that_blinds_is_undone_and_not_tried_again(steered):
    device, person = steered
    whole, revision = device.file.read_text(), person.said("reported")[-1]["revision"]
    since = time.monotonic()
    rewrite(device, cameras={CAMERA: {"source": {"path": "no-such-folder"}}})
    bad = device.file.read_text()
    told = undone(person, revision, since)
    assert "not used" in told["file"]
    assert device.file.read_text() == bad
    person.sees(shelf.TINY)
    device.config = json.loads(whole)
    device.file.write_text(whole)
    wait_reported(person, file="")


@pytest.mark.faults
def test_a_wrong_password_in_the_file_is_undone_and_the_broker_hears_why(world, veteran, mosquitto, tmp_path):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "yard", "right"], check=True, capture_output=True)
    broker = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    device = world.device(
        port=broker.port,
        state=veteran,
        start=False,
        **merged(SHORT, {"mqtt": {"username": "yard", "password": "right"}}),
    )
    person = world.person(broker.port, device, username="yard", password="right")
    device.start()
    person.sees(shelf.TINY, 1)
    revision, since = person.said("reported")[-1]["revision"], time.monotonic()
    rewrite(device, mqtt={"password": "wrong-and-secret"})
    told = undone(person, revision, since)
    assert "mqtt.username" in told["reason"]
    assert "wrong-and-secret" not in json.dumps(person.said("reported")) + device.log.read_text()


def moved(world: Any, veteran: Any, mosquitto: Any, confirm_s: float = CONFIRM_S) -> tuple[Device, Person, Person, Any]:
    """Have a device patched from one living broker to another."""
    old, new = mosquitto(), mosquitto()
    device = world.device(
        port=old.port, state=veteran, start=False, **merged(SHORT, {"remote": {"confirm_s": confirm_s}})
    )
    here, there = world.person(old.port, device), world.person(new.port, device)
    device.start()
    there._ids = itertools.count(1000)  # one device remembers the ids of all its operators
    here.sees(shelf.TINY, 1)
    answer = patched(here, {"mqtt": {"port": new.port}})
    over_the_old = {"v": 1, "id": "too-early", "args": {"revision": answer["revision"]}}
    here.throw("config/confirm", over_the_old)  # which proves nothing
    there.wait_for_payload(there.topic("status"), b"online", 20)
    return device, here, there, answer


@pytest.mark.faults
def test_a_living_broker_that_is_the_wrong_one_is_left_again(world, veteran, mosquitto):
    since = time.monotonic()
    _, here, _, answer = moved(world, veteran, mosquitto)
    told = undone(here, answer["revision"], since)
    assert "config/confirm" in told["reason"]
    assert here.command("device/ping")["ok"]


def test_a_new_broker_is_kept_once_it_is_confirmed_there(world, veteran, mosquitto):
    device, _, there, answer = moved(world, veteran, mosquitto, confirm_s=60)  # a busy machine takes its time
    wait_reported(there, state="probation", needs_confirm=True)
    told = there.command("config/confirm", revision=answer["revision"])
    assert told["ok"], told
    wait_reported(there, state="committed", revision=answer["revision"])
    device.kill_all()
    device.start()
    there.sees(shelf.TINY)
    assert there.command("config/get")["result"]["revision"] == answer["revision"]


# --- kills -----------------------------------------------------------------------------------------------------------


def killed(world: Any, veteran: Any, broker: Any, patch: dict[str, Any]) -> None:
    """A kill during a probation: the next start is back where it was, and says so."""
    calm = {"deploy": {"safe_mode_after": 0}}
    device = world.device(
        port=broker.port, state=veteran, start=False, **merged(merged(SHORT, calm), {"remote": {"confirm_s": 120}})
    )
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    answer = patched(person, patch)
    wait_reported(person, revision=answer["revision"], state="probation")
    device.kill_all()
    device.start()
    told = wait_reported(person, state="reverted", config={})
    assert told["revision"] > answer["revision"]
    assert "ended" in told["reason"]
    person.sees(shelf.TINY)
    device.kill_all()
    device.start()
    person.sees(shelf.TINY)
    assert wait_reported(person, config={})["state"] == "reverted"


def test_a_kill_during_a_probation_is_undone_at_the_next_start(world, veteran, broker):
    killed(world, veteran, broker, {"cameras": {CAMERA: ABROAD}})


@pytest.mark.faults
def test_a_kill_while_a_broker_is_tried_out_brings_the_old_one_back(world, veteran, broker):
    killed(world, veteran, broker, {"mqtt": {"port": free_port()}})


@pytest.mark.faults
def test_a_device_id_proves_itself_after_a_restart(world, veteran, broker):
    device = world.device(port=broker.port, state=veteran, start=False, **merged(SHORT, {"remote": {"confirm_s": 8}}))
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    renamed = f"{device.name}-renamed"
    answer = patched(person, {"device": {"id": renamed}})
    assert answer["pending"]["begins"] == "restart"
    device.wait_status(lambda s: s.uptime_s > 11)
    assert person.command("device/restart")["ok"]
    other = world.person(broker.port, device)
    other.root, other._ids = f"lookout/{renamed}/", itertools.count(1000)
    wait_reported(other, state="probation", needs_confirm=True)
    told = wait_reported(person, 60, state="reverted")
    assert "config/confirm" in told["reason"]
    assert person.command("device/ping")["ok"]


@pytest.mark.faults
def test_kills_at_any_instant_leave_the_old_or_the_new_configuration_whole(world, veteran, broker):
    calm = {"deploy": {"safe_mode_after": 0}}
    device = world.device(port=broker.port, state=veteran, start=False, **merged(SHORT, calm))
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    for number, delay_s in enumerate(itertools.islice(itertools.cycle((0.0, 0.02, 0.05, 0.1, 0.3, 1.0)), 12)):
        labels = {"red": f"apple{number}"}
        patch = {"pipelines": {PIPELINE: {"remap": labels}}, "cameras": {CAMERA: {"max_fps": 10.0 + number}}}
        person.throw("config/patch", {"v": 1, "id": f"kill-{number}", "args": {"patch": patch}})
        time.sleep(delay_s)
        device.kill_all()
        device.start()
        person.sees(shelf.TINY, 1)
        overlay = person.command("config/get")["result"]["overlay"]
        if overlay:
            whole = overlay["pipelines"][PIPELINE]["remap"]["red"].removeprefix("apple")
            assert overlay["cameras"][CAMERA]["max_fps"] == 10.0 + int(whole)
