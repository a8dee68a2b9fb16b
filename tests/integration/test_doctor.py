"""The doctor and the live view beside real devices: what a running agent has is asked of it, and never taken."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.fakes.registry import Shop
from tools.registry.maintain import refresh
from tools.registry.repository import Lifetimes

from . import shelf
from .device import CAMERA, LOOKOUT, Device

PATIENCE_S = 60.0


def told(device: Device) -> tuple[int, dict[str, Any]]:
    done = device.run("doctor", "-c", str(device.file), "--json")
    assert done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {one["name"]: one for one in found["checks"]}


def degrading(seen: dict[str, Any]) -> list[str]:
    return [f"{name}: {one['found']}" for name, one in seen.items() if one["degrades"]]


def test_beside_a_running_agent_its_camera_and_its_session_are_left_alone(at_work: Any) -> None:
    device, person = at_work()
    before = device.wait_serving(shelf.TINY)
    capture, session = device.capture, person.said("info")[-1]["session"]
    code, seen = told(device)
    assert (code, degrading(seen)) == (0, [])
    assert seen[f"camera {CAMERA}"]["status"] == "ok"
    assert "the agent has it" in seen[f"camera {CAMERA}"]["found"]
    assert seen["broker login"]["status"] == "ok"
    assert seen["registry trust"]["status"] == "ok"
    assert seen["pipeline watch"]["values"]["model"] == "tiny"
    assert "revision" in seen["configuration"]["found"]
    after = device.wait_serving(shelf.TINY)
    assert (device.capture, after.cameras[0].lost, after.broker.state) == (capture, before.cameras[0].lost, "connected")
    assert person.said("info")[-1]["session"] == session


def test_what_a_device_lacks_is_exit_3_with_the_command_that_helps(world: Any) -> None:
    device = world.device(
        provisioned=False,
        mqtt={"host": "127.0.0.1", "port": 1},
        cameras={CAMERA: {"source": {"kind": "images", "path": "absent"}}},
    )
    device.wait_status(lambda seen: seen.cameras[0].health == "failed")
    code, seen = told(device)
    assert code == 3
    assert seen["agent"]["status"] == "failed"
    assert "absent" in seen[f"camera {CAMERA}"]["found"]
    assert f"lookout provision --root root.json -c {device.file}" in seen["registry trust"]["remedy"]
    assert seen["broker port"]["status"] == "failed"
    assert seen["pipeline watch"]["found"].startswith("no model serves")


def test_a_registry_that_ended_is_exit_3_while_its_model_serves_on(world: Any, veteran: Any, tmp_path: Any) -> None:
    shop = Shop(tmp_path)
    shop.provision()
    shop.publish()
    device = world.device(state=shop.state, start=False, registry={"url": shop.registry.as_uri()})
    device.config["pipelines"]["watch"]["model"] = "tiny:1.0.0"
    device.start()
    device.wait_serving(shelf.TINY)
    refresh(shop.registry, shop.keys, lifetimes=Lifetimes(timestamp=timedelta(seconds=-1)))
    code, seen = told(device)
    assert code == 3
    assert "has expired" in seen["registry trust"]["found"]
    assert "lookout registry refresh" in seen["registry metadata"]["remedy"]
    device.wait_serving(shelf.TINY)


def test_the_live_view_follows_an_agent_over_its_death_and_return(at_work: Any) -> None:
    device, _ = at_work()
    ours, theirs = pty.openpty()
    command = [str(LOOKOUT), "status", "-c", str(device.file), "--watch", "--every", "0.3"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**device.env, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    ) as process:
        os.close(theirs)
        try:
            read(ours, lambda said: "tiny:1.0.0" in said and device.name in said)
            device.kill()
            read(ours, lambda said: "no answer for" in said)
            device.start()
            read(ours, lambda said: f"pid {device.pid}" in said and "tiny:1.0.0" in said)
            os.write(ours, b"q")
            assert process.wait(PATIENCE_S) in (0, 3)
        finally:
            process.kill()
            os.close(ours)


def read(terminal: int, what: Callable[[str], bool]) -> None:
    """Read until ``what`` is true of what was written since."""
    said, until = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.5)[0]:
            said += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(terminal, 65536).decode(errors="replace"))
        if what(said):
            return
    raise AssertionError(f"not seen: {said[-2000:]}")
