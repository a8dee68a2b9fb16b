"""A disk whose every sync takes seconds: frames do not wait for it, a deployment does, and nothing is called hung.

The drive of :mod:`tests.faults.drive` lingers at each flush. A sync of a file is one or two of them, a transaction of
the journal three syncs.
"""

from __future__ import annotations

import itertools
import time

import pytest

from agent import atomic
from tests.integration.device import CALM, CAMERA, Device
from tests.integration.processes import kill
from tests.patience import patient

from .conftest import RING, lying_on
from .disk import FragileDisk
from .onlooker import Answer, Deploying, Onlooker

WATCHDOG = {"WATCHDOG_USEC": "4000000"}
"""As under systemd, and looked at each 2 s; a late loop fails the test when the device is closed."""
STALL_S = patient(1.0)
FPS = 10
"""The camera's. A loop that waited for this disk would stand still most of the time: half of that is never missed."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("low_s", "high_s"),
    [
        pytest.param(0.07, 0.08, id="a little", marks=pytest.mark.faults),
        pytest.param(0.25, 1.0, id="full", marks=[pytest.mark.faults, pytest.mark.timeout(1200)]),
    ],
)
def test_on_a_slow_disk_no_frame_is_lost_no_loop_stalls_and_a_deployment_commits(
    low_s, high_s, fragile, seasoned, broker, world
):
    camera = {CAMERA: {"source": {"fps": FPS}}}
    device = lying_on(fragile, world, broker.port, seasoned, deploy=CALM, report={"all": True}, cameras=camera)
    person = Onlooker(broker.port, device.name)
    try:
        device.start(**WATCHDOG)
        person.meets(RING[0])
        fragile.slow(low_s, high_s)
        syncs = [sync_s(fragile) for _ in range(3)]
        assert min(syncs) >= low_s, "the disk is slow"
        before = len(person.answers)
        took_s = deployed(person, RING[1])
        went = list(person.answers)[before:]
        assert went[-1].model == RING[1]
        kill([device.worker])
        device.wait_serving(RING[1], 30)
        began_s = time.monotonic()
        device.kill()
        device.start(**WATCHDOG)
        device.wait_serving(RING[1], 60)
        print(
            f"a sync takes {min(syncs):.2f} to {max(syncs):.2f} s; the deployment took {took_s:.1f} s, {len(went)} "
            f"frames in it, the longest time between two {longest_s(went):.2f} s; killed, "
            f"the agent served again within {time.monotonic() - began_s:.1f} s"
        )
        assert longest_s(went) < STALL_S
        assert len(went) > took_s * FPS / 2
        look_unharmed(device, went)
    finally:
        fragile.slow(0, 0)
        person.close()


def sync_s(disk: FragileDisk) -> float:
    """Return how long one durable write of a small file takes."""
    began_s = time.monotonic()
    atomic.write_text(disk.folder / "probe", "x")
    return time.monotonic() - began_s


def deployed(person: Onlooker, reference: str) -> float:
    """Deploy, and return how long it took until it was committed."""
    began_s, since = time.monotonic(), len(person.reports)
    answer = person.order("model/deploy", "slowly", 60, reference=reference)
    assert answer is not None
    assert answer["ok"], answer
    end = person.next_report(Deploying.ENDS, since, 240)
    assert end is not None, person.report
    assert (end["state"], end["reference"]) == ("committed", reference), end
    assert (end["receipt"]["lost"], end["receipt"]["skipped"]) == (0, 0)
    person.wait(lambda: person.answers[-1].model == reference)
    return time.monotonic() - began_s


def longest_s(answers: list[Answer]) -> float:
    """Return the longest time between two answers, as seen at the broker."""
    return max(after.seen_s - before.seen_s for before, after in itertools.pairwise(answers))


def look_unharmed(device: Device, went: list[Answer]) -> None:
    numbers = [answer.frame for answer in went]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "each frame once, in order"
    assert device.status().cameras[0].lost == 0
    device.wait_status(lambda status: status.degraded == (), 60)
