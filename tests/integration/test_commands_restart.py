"""``device/restart``: answered first, then the agent ends in order and is back as the same process, without systemd."""

from __future__ import annotations

import pytest

from agent.verbs import SETTLE_S

from . import shelf
from .processes import until


def uptime(person) -> float:
    return float(person.command("device/ping")["result"]["uptime_s"])


def old_enough(person) -> None:
    """Wait until the device may be restarted from afar."""
    until(lambda: uptime(person) > SETTLE_S, 2 * SETTLE_S)


@pytest.mark.faults
def test_a_device_is_restarted_from_afar_once_for_an_id_sees_again_and_leaves_nothing_behind_when_killed(at_work):
    device, person = at_work()
    pid, boot = device.pid, person.said("info")[-1]["boot"]
    if uptime(person) < SETTLE_S / 2:
        early = person.command("device/restart")
        assert early["error"]["code"] == "refused", "who repeats it for ever keeps the device blind"
    old_enough(person)
    children = {device.worker, device.capture}

    answer = person.command("device/restart", id="monday")
    assert answer["ok"], answer
    assert answer["result"]["uptime_s"] >= SETTLE_S
    person.wait(lambda: person.said("info")[-1]["boot"] == boot + 1)
    person.sees(shelf.TINY)
    assert device.pid == pid
    assert device.process.poll() is None
    assert children.isdisjoint({device.worker, device.capture})
    assert "agent.stopped" in device.log.read_text()
    status = [message.payload for message in person.on(person.topic("status"))]
    assert status[-1] == b"online"
    assert b"offline" in status

    assert person.command("device/restart", id="monday") == answer
    old_enough(person)
    assert person.said("info")[-1]["boot"] == boot + 1
    device.status()
    device.kill()  # looks that nothing is left behind
    device.start()
    person.sees(shelf.TINY)


def test_a_device_whose_owner_says_so_is_not_restarted_from_afar(at_work):
    _, person = at_work(remote={"restart": False})
    answer = person.command("device/restart")
    assert answer["error"]["code"] == "refused"
    assert "remote.restart" in answer["error"]["message"]
