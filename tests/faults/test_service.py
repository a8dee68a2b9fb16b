"""The service as ``install.sh`` installs it, supervised by a real systemd: what it is told and what it does then."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.device import CAMERA
from tests.integration.processes import CAPTURE, WORKER, look

from .campaign import now
from .installed import Installed, folders, installed

__all__ = ["folders", "installed"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

STOP_S = 5.0


@pytest.fixture(autouse=True)
def at_work(installed: Installed) -> None:
    """Each test begins with a service that sees."""
    installed.machine.run("systemctl", "start", "lookout", timeout_s=60)
    installed.sees()


def status_word(pid: int, name: str) -> str:
    lines = map(str.split, Path(f"/proc/{pid}/status").read_text().splitlines())
    return next(words[1] for words in lines if words[0] == f"{name}:")


def test_what_is_hardened_is_in_force_and_everything_works_with_it(installed: Installed) -> None:
    machine = installed.machine
    pid = machine.main_pid()
    mine = {process.module: process.pid for process in look() if machine.holds(process.pid) and process.module}
    assert set(mine) == {CAPTURE, WORKER}
    user = machine.run("id", "-u", "lookout").stdout.strip()
    assert user not in ("", "0")
    for process in (pid, *mine.values()):
        found = {name: status_word(process, name) for name in ("CapEff", "NoNewPrivs", "Seccomp", "Uid")}
        assert found == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2", "Uid": user}
    assert "agent.ready" in machine.log(lines=400), "its lines reach the journal"
    score = machine.run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20",
                        "/etc/systemd/system/lookout.service")  # fmt: skip
    assert score.returncode == 0, score.stdout[-300:]
    denied = [line for line in machine.log(lines=400).splitlines() if "ermission" in line or "not permitted" in line]
    assert denied == []


def test_ready_is_said_with_the_first_answered_frame(installed: Installed) -> None:
    machine = installed.machine
    machine.run("systemctl", "stop", "lookout")
    at, began_s = now(), time.monotonic()
    assert machine.run("systemctl", "start", "lookout", timeout_s=60).returncode == 0
    ready_s = time.monotonic() - began_s
    answer = installed.person.first_taken_after(at, 30)
    assert answer is not None
    first_s = answer.seen_s - began_s
    print(f"systemctl start returns after {ready_s:.2f} s, the first detection came after {first_s:.2f} s")
    assert first_s < ready_s + 1
    assert machine.show("StatusText") == "1 cameras, 1 pipelines"


def test_a_reload_is_heard_and_ends_nothing(installed: Installed) -> None:
    machine, pid = installed.machine, installed.machine.main_pid()
    assert machine.run("systemctl", "reload", "lookout").returncode == 0
    machine.wait(lambda: "agent.reload" in machine.log(), 20)
    installed.sees()
    assert machine.main_pid() == pid


def test_it_stops_in_order_and_in_time(installed: Installed) -> None:
    machine = installed.machine
    began_s = time.monotonic()
    machine.run("systemctl", "stop", "lookout")
    took_s = time.monotonic() - began_s
    print(f"systemctl stop: {took_s:.2f} s")
    assert machine.show("Result") == "success"
    assert "agent.stopped" in machine.log()
    assert [process for process in look() if machine.holds(process.pid) and process.module] == []
    assert took_s < STOP_S


def test_an_agent_that_hangs_is_killed_by_the_watchdog_and_back(installed: Installed) -> None:
    machine, pid = installed.machine, installed.machine.main_pid()
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    machine.wait(lambda: machine.main_pid() not in (0, pid), 90)
    installed.sees()
    print(f"stopped with SIGSTOP: back after {time.monotonic() - began_s:.1f} s")
    assert "Watchdog timeout" in machine.log(lines=400)
    assert int(machine.show("NRestarts")) == 1


def test_a_killed_agent_is_back(installed: Installed) -> None:
    machine, pid = installed.machine, installed.machine.main_pid()
    before, at, began_s = int(machine.show("NRestarts")), now(), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    answer = installed.person.first_taken_after(at, 30)
    assert answer is not None
    print(f"killed: next detection after {answer.seen_s - began_s:.2f} s")
    assert int(machine.show("NRestarts")) == before + 1
    assert machine.main_pid() not in (0, pid)


def test_a_dead_camera_is_told_and_causes_no_restart(installed: Installed) -> None:
    machine = installed.machine
    machine.run("mv", "/srv/pictures", "/srv/gone")
    try:
        machine.run("systemctl", "stop", "lookout")
        began_s = time.monotonic()
        machine.run("systemctl", "start", "lookout", timeout_s=90)
        print(f"without its camera it is ready after {time.monotonic() - began_s:.1f} s: {machine.show('StatusText')}")
        assert machine.show("ActiveState") == "active"
        assert f"degraded: camera {CAMERA}" in machine.show("StatusText")
        pid = machine.main_pid()
        time.sleep(40)  # longer than the watchdog's patience
        assert (machine.main_pid(), machine.show("NRestarts")) == (pid, "0")
    finally:
        machine.run("mv", "/srv/gone", "/srv/pictures")
    installed.sees()  # by itself
    machine.wait(lambda: machine.show("StatusText") == "1 cameras, 1 pipelines", 60)
    assert machine.main_pid() == pid
