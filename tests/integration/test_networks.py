"""A whole device behind a bad network: frames go on at their rate, memory stays bounded, and the way back is found."""

from __future__ import annotations

import os
import signal
import time

import pytest

from . import shelf
from .device import CAMERA, Device

BUSY = {CAMERA: {"source": {"fps": 30}}}
"""With detections in every picture, and ``detections_hz`` 1000: 30 messages a second, some 12 KB/s."""


def rate_of(device: Device, seconds: float) -> float:
    """Frames that were answered a second."""
    before, began = device.status().cameras[0].answered, time.monotonic()
    time.sleep(seconds)
    return (device.status().cameras[0].answered - before) / (time.monotonic() - began)


@pytest.mark.faults
def test_a_broker_at_one_kilobyte_a_second_slows_no_frame_and_fills_no_memory(world, veteran, mosquitto, proxy):
    between = proxy(mosquitto().port)
    device = world.device(port=between.port, state=veteran, cameras=BUSY)
    device.wait_status(lambda seen: seen.broker.state == "connected")
    device.wait_serving(shelf.TINY)
    time.sleep(2)
    before, memory = rate_of(device, 4), device.status().memory_mb["agent"]
    between.bytes_per_s = 1024
    time.sleep(2)
    during = rate_of(device, 10)
    grown = device.status().memory_mb["agent"] - memory
    status = device.status()
    print(f"frames a second: {before:.1f} before, {during:.1f} at 1 KB/s; PSS of the agent grew by {grown:.1f} MB")
    assert during > 0.8 * before
    assert grown < 16
    assert status.cameras[0].lost == 0
    assert status.broker.state == "connected", status.broker
    between.bytes_per_s = None
    device.wait_status(lambda seen: seen.broker.queued < 20)
    assert "no_connection" not in device.log.read_text()


def test_a_broker_that_sleeps_a_cut_and_a_pulled_cable_cost_no_frame(world, veteran, mosquitto, proxy):
    broker = mosquitto()
    between = proxy(broker.port)
    device = world.device(port=between.port, state=veteran, cameras=BUSY, mqtt={"keepalive_s": 5})
    device.wait_status(lambda seen: seen.broker.state == "connected")
    device.wait_serving(shelf.TINY)

    os.kill(broker.process.pid, signal.SIGSTOP)
    device.wait_serving(shelf.TINY)
    os.kill(broker.process.pid, signal.SIGCONT)

    between.cut()
    device.wait_serving(shelf.TINY)
    device.wait_status(lambda seen: seen.broker.state == "connected", 30)

    between.silent = True
    device.wait_status(lambda seen: seen.broker.state != "connected", 40)
    device.wait_serving(shelf.TINY)
    between.silent = False
    device.wait_status(lambda seen: seen.broker.state == "connected", 60)
    assert device.status().cameras[0].lost == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["5", pytest.param("3.1.1", marks=pytest.mark.faults)])
def test_two_devices_of_one_id_both_say_so_in_status_and_info_and_do_not_hammer(protocol, world, veteran, mosquitto):
    broker = mosquitto()
    twins = [
        world.device(
            port=broker.port,
            state=veteran,
            start=False,
            device={"id": "twin"},
            mqtt={"protocol": protocol},
            logs={"fold_s": 0},  # connections are counted in the log, where one that is like another comes late
        )
        for _ in range(2)
    ]
    for twin in twins:
        twin.start()
    for twin in twins:  # at once, unless one was thrown out before it had said anything: then when it is back
        twin.wait_status(lambda seen: any("another client uses" in reason for reason in seen.degraded), 150)
        twin.wait_serving(shelf.TINY)
    twins[0].name = "twin"
    person = world.person(broker.port, twins[0])
    person.wait(lambda: (said := person.said("info")) and any("another client" in one for one in said[-1]["warnings"]))
    begun = sum(twin.log.read_text().count('"mqtt.connected"') for twin in twins)
    time.sleep(10)
    came = sum(twin.log.read_text().count('"mqtt.connected"') for twin in twins) - begun
    assert came <= 1  # the one that was thrown out waits for a minute or two; each that comes back throws the other out
