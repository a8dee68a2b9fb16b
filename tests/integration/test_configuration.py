"""What is wrong with a device's surroundings is said once, in words with a remedy, and never ends in a traceback."""

from __future__ import annotations

import json

import pytest

from . import shelf
from .device import CAMERA, Device


def clear(text: str) -> bool:
    """Whether somebody who is no programmer can read it."""
    return bool(text.strip()) and "Traceback" not in text and 'File "' not in text


def test_a_camera_whose_video_is_missing_fails_by_name_and_the_other_one_goes_on(world, veteran):
    missing = {"source": {"kind": "file", "path": "no-such.avi"}}
    device = world.device(state=veteran, cameras={"gate": missing}, pipelines={"watch": {"cameras": [CAMERA, "gate"]}})
    status = device.wait_status(lambda s: {c.name: c.health for c in s.cameras}.get("gate") == "failed")
    cameras = {camera.name: camera for camera in status.cameras}
    assert "no-such.avi" in cameras["gate"].reason
    assert any("gate" in reason for reason in status.degraded)
    device.wait_serving(shelf.TINY)
    shown = device.run("status", "-c", str(device.file))
    assert shown.returncode == 3
    assert "no-such.avi" in shown.stdout
    assert clear(shown.stdout)
    told = json.loads(device.run("status", "-c", str(device.file), "--json").stdout)
    assert any("no-such.avi" in reason for reason in told["degraded"])


def test_a_folder_whose_pictures_are_damaged_fails_by_name_and_the_agent_runs(world, veteran):
    device = world.device(state=veteran, start=False)
    (device.folder / "broken").mkdir()
    (device.folder / "broken" / "1.png").write_bytes(b"\x89PNG but not really")
    device.config["cameras"]["gate"] = {"source": {"kind": "images", "path": "broken"}}
    device.config["pipelines"]["watch"]["cameras"].append("gate")
    device.start()
    status = device.wait_status(lambda s: {c.name: c.health for c in s.cameras}.get("gate") == "failed")
    (reason,) = (reason for reason in status.degraded if "gate" in reason)
    assert "broken" in reason, reason
    assert "1.png" in device.log.read_text(), "the log names the file"
    device.wait_serving(shelf.TINY)


@pytest.fixture(scope="module")
def fine_one(shared_world, veteran):
    """A device at work that nothing is wrong with; the last of its tests stops it."""
    device = shared_world.device(state=veteran)
    device.wait_serving(shelf.TINY)
    return device


def test_a_second_agent_on_one_state_is_refused_and_the_first_goes_on(fine_one):
    device = fine_one
    refused = device.run("run", "-c", str(device.file))
    assert refused.returncode == 1
    assert clear(refused.stderr)
    assert str(device.pid) in refused.stderr
    assert "paths.state" in refused.stderr
    device.wait_serving(shelf.TINY)


def test_an_agent_whose_socket_another_one_listens_at_is_refused(world, veteran, fine_one):
    device = fine_one
    other = world.device(state=veteran, start=False, paths={"runtime": str(device.folder / "run")})
    other.write()
    done = other.run("run", "-c", str(other.file))
    assert done.returncode == 1
    assert clear(done.stderr)
    assert "paths.runtime" in done.stderr.splitlines()[-1]
    device.wait_serving(shelf.TINY)


def test_status_says_fine_and_none(fine_one):
    device = fine_one
    fine = device.run("status", "-c", str(device.file))
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "tiny:1.0.0" in fine.stdout
    device.stop()
    none = device.run("status", "-c", str(device.file))
    assert none.returncode == 1
    assert clear(none.stderr)
    assert "lookout run" in none.stderr


def refused(device: Device, code: int, *words: str, **env: str) -> None:
    """``lookout run`` does not start, with this exit code and these words."""
    done = device.run("run", "-c", str(device.file), **env)
    assert done.returncode == code, done.stderr
    assert clear(done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_configuration_that_is_missing_or_wrong_is_refused_with_every_problem(world):
    device = world.device(start=False, provisioned=False)
    refused(device, 2, "agent.yaml", "No such file")
    device.write()
    whole = device.file.read_text()
    device.file.write_text("cameras: [")
    refused(device, 2, "agent.yaml")
    broken = json.loads(whole)
    broken["mqtt"] = {"host": "127.0.0.1", "port": 99_999}
    broken["pipelines"]["watch"]["cameras"] = ["cellar"]
    broken["cameraz"] = {}
    device.file.write_text(json.dumps(broken))
    refused(device, 2, "mqtt.port", "99999", "cellar", "cameras", "4 problems")
    device.file.write_text(whole)
    refused(device, 2, "LOOKOUT__MQTT__PORT", LOOKOUT__MQTT__PORT="many")
    assert not device.state.exists(), "nothing was started"


def test_folders_that_cannot_be_used_are_named_with_the_key_that_chooses_another(world):
    device = world.device(start=False, provisioned=False)
    (device.folder / "file").write_text("")
    device.config["paths"] = {"state": "file/below", "runtime": "run"}
    device.write()
    refused(device, 1, "file/below", "paths.state")
    device.config["paths"] = {"state": "state", "runtime": "r" * 120}
    device.write()
    refused(device, 2, "paths.runtime")


def test_a_state_that_is_damaged_is_set_aside_and_the_device_serves_what_it_has(world, veteran):
    device = world.device(state=veteran, start=False)
    (device.state / "journal.db").write_bytes(b"no database at all" * 1000)
    device.start()
    device.wait_serving(shelf.TINY)
    status = device.status()
    assert any("journal" in reason for reason in status.degraded)
    assert list(device.state.glob("journal.db*broken*"))
