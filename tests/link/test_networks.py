"""Bad networks between the link and a real broker: late, narrow, cut, half open, refusing, asleep."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.types import Outgoing
from tests.conftest import Broker
from tests.link.conftest import Link


def say(device: Link, number: int, size: int = 1) -> None:
    payload = b"%d" % number + b"x" * size
    device.publisher.publish(Outgoing("events/front", payload, qos=1, stream="e", durable=True))


def numbers(watcher: Any) -> list[int]:
    return [int(message.payload.rstrip(b"x")) for message in watcher.on("lookout/cam1/events/front")]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_network_that_is_two_seconds_late_is_worked_over(
    protocol: str, link: Any, mosquitto: Any, proxy: Any, operator: Any
) -> None:
    there = mosquitto()
    between, watcher = proxy(there.port), operator(there.port)
    between.delay_s = 1.0  # each way
    device = link(between.port, protocol=protocol)
    device.wait_connected(timeout_s=20)
    say(device, 1)
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "late"})
    watcher.wait_for("lookout/cam1/result/device/ping")
    device.wait_until(device.publisher.idle)
    assert device.session.statistics().session == 1


@pytest.mark.parametrize("how", ["cut", "half_close"])
def test_a_connection_that_is_cut_or_half_closed_is_made_again_and_nothing_is_missing(
    how: str, link: Any, mosquitto: Any, proxy: Any, operator: Any
) -> None:
    there = mosquitto("allow_anonymous true\nmax_queued_messages 0")
    between, watcher = proxy(there.port), operator(there.port)
    device = link(between.port)
    for round_of in range(1, 4):
        device.wait_connected(session=round_of)
        for number in range(20):
            say(device, round_of * 100 + number)
        getattr(between, how)()
    device.wait_until(device.publisher.idle)
    wanted = [round_of * 100 + number for round_of in range(1, 4) for number in range(20)]
    watcher.wait(lambda: len(set(numbers(watcher))) == 60)
    assert list(dict.fromkeys(numbers(watcher))) == wanted


def test_a_cable_that_was_pulled_is_noticed_by_silence(link: Any, mosquitto: Any, proxy: Any) -> None:
    between = proxy(mosquitto().port)
    device = link(between.port)  # keepalive_s: 5
    device.wait_connected()
    between.silent = True
    device.wait_until(lambda: device.session.statistics().state != "connected", 20)
    between.silent = False
    device.wait_connected(session=2)


def test_a_network_that_refuses_is_tried_again(link: Any, mosquitto: Any, proxy: Any) -> None:
    between = proxy(mosquitto().port)
    between.refuse = True
    device = link(between.port)
    device.wait_until(lambda: device.session.statistics().failures >= 3)
    between.refuse = False
    device.wait_connected()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_slept_is_there_again_when_it_wakes(
    protocol: str, link: Any, mosquitto: Any, operator: Any
) -> None:
    there: Broker = mosquitto()
    device, watcher = link(there.port, protocol=protocol), operator(there.port)
    device.wait_connected()
    os.kill(there.process.pid, signal.SIGSTOP)
    for number in range(50):
        say(device, number)
    time.sleep(2)
    os.kill(there.process.pid, signal.SIGCONT)
    device.wait_until(device.publisher.idle)
    watcher.wait(lambda: len(set(numbers(watcher))) == 50)


@pytest.mark.faults
def test_a_narrow_link_is_not_given_up_while_it_takes_something(
    link: Any, mosquitto: Any, proxy: Any, operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 KB/s, and far more to say: what is acknowledged late is no reason to begin anew, and to send it all again."""
    monkeypatch.setattr("agent.link.connection.ACKNOWLEDGE_S", 8.0)
    there = mosquitto()
    between, watcher = proxy(there.port), operator(there.port)
    device = link(between.port, keepalive_s=30)
    device.wait_connected()
    between.bytes_per_s = 1024
    for number in range(10):
        say(device, number, size=2000)
        for _ in range(5):
            device.publisher.publish(Outgoing("telemetry", b"t" * 500))
    device.wait_until(device.publisher.idle, 60)
    watcher.wait(lambda: numbers(watcher) == list(range(10)), 20)
    assert device.session.statistics().session == 1


def test_what_waits_for_a_narrow_link_lies_where_it_can_expire(link: Any, mosquitto: Any, proxy: Any) -> None:
    """Not in the kernel's buffer, whence it would come minutes late and in front of everything else."""
    between = proxy(mosquitto().port)
    device = link(between.port)
    device.wait_connected()
    between.bytes_per_s = 1024
    for _ in range(2000):
        device.publisher.publish(Outgoing("detections/front", b"d" * 400))
    device.wait_until(lambda: device.publisher.statistics().inbox == 0)
    time.sleep(1.0)
    peer = device.session._visit.connection._client.socket()
    assert peer is not None
    assert device.publisher.statistics().sent * 430 < 256 * 1024


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[tuple[str, Callable[[bool], None], list[str]]]:
    """A network namespace at the end of a cable: its address, what pulls the cable, what begins a command in there."""
    ip = shutil.which("ip")
    name, mine, its = f"lk{os.getpid()}", f"lk{os.getpid()}a", f"lk{os.getpid()}b"

    def run(*arguments: str) -> None:
        assert ip is not None
        subprocess.run([ip, *arguments], check=True, capture_output=True)

    if ip is None or os.geteuid() != 0:
        pytest.skip("a network namespace needs ip (iproute2) and root")
    try:
        run("netns", "add", name)
        run("link", "add", mine, "type", "veth", "peer", "name", its)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel allows no network namespace: {error.stderr!r}")
    try:
        run("link", "set", its, "netns", name)
        run("addr", "add", "169.254.77.1/30", "dev", mine)
        run("link", "set", mine, "up")
        run("netns", "exec", name, ip, "addr", "add", "169.254.77.2/30", "dev", its)
        run("netns", "exec", name, ip, "link", "set", its, "up")
        yield (
            "169.254.77.2",
            lambda there: run("netns", "exec", name, ip, "link", "set", its, "up" if there else "down"),
            [ip, "netns", "exec", name],
        )
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run("link", "del", mine)
        run("netns", "del", name)


def test_a_real_cable_that_is_pulled_and_plugged_in_again(cable: Any, link: Any, tmp_path: Path) -> None:
    """Network namespaces: no reset comes, packets simply vanish; and what was said meanwhile arrives."""
    host, plug, inside = cable
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    config = tmp_path / "m.conf"
    config.write_text(f"listener 1883 {host}\nuser root\nallow_anonymous true\n")
    broker = subprocess.Popen([*inside, program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        device = link(1883, host=host)
        device.wait_connected(timeout_s=20)
        plug(False)
        for number in range(5):
            say(device, number)
        device.wait_until(lambda: device.session.statistics().state != "connected", 40)
        plug(True)
        device.wait_connected(session=2, timeout_s=60)
        device.wait_until(device.publisher.idle, 20)
    finally:
        broker.kill()
        broker.wait()
