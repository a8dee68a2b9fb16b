"""Hundreds of swaps of the whole agent: every frame is answered once and in order, and nothing grows."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

from agent.process.memory import pss_bytes
from tests.integration import shelf
from tests.integration.device import CAMERA, Device
from tests.integration.processes import descriptors, family, until

from .onlooker import Answer, Deploying, Onlooker

GROWTH_BYTES = 10_000_000
PICTURES = 3


class Held(NamedTuple):
    """What the processes of a device hold while one worker serves."""

    agent_bytes: int
    worker_bytes: int
    descriptors: tuple[int, ...]
    memories: tuple[int, ...]
    threads: tuple[int, ...]


def held(device: Device) -> Held:
    """Look once the retired worker is gone. Tuples: agent, capture, worker."""
    until(lambda: len(family(device.pid)) == 3, 10, lambda: f"{family(device.pid)}")
    pids = (device.pid, device.capture, device.worker)
    return Held(
        pss_bytes(device.pid),
        pss_bytes(device.worker),
        tuple(descriptors(pid) for pid in pids),
        tuple(_memories(pid) for pid in pids),
        tuple(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
    )


def _memories(pid: int) -> int:
    """How many shared memories the process has open."""
    links = (path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink())
    return sum("memfd:" in str(link) for link in links)


@pytest.mark.parametrize(
    "swaps",
    [
        pytest.param(2, id="sample", marks=pytest.mark.timeout(400)),
        pytest.param(500, id="full", marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
def test_every_frame_is_answered_once_and_in_order_through_all_swaps_and_nothing_grows(swaps, broker, world):
    device = world.device(
        port=broker.port,
        start=False,
        cameras={CAMERA: {"source": {"kind": "images", "path": "pictures", "loop": True, "pace": "lossless"}}},
        inference={"threads": 1},
        deploy={"probation": {"seconds": 0}},
        report={"all": True},
    )
    person = Onlooker(broker.port, device.name)
    try:
        device.start()
        person.deployed_first(shelf.STEADY)
        receipts, early, settled_after = [], None, min(10, swaps // 2)
        for number in range(1, swaps + 1):
            receipts.append(swapped(person, number))
            if number == settled_after:
                early = held(device)
        late = held(device)
        person.wait(lambda: person.answers[-1].model == receipts[-1]["to"])
        lost, skipped = device.status().cameras[0].lost, device.status().cameras[0].skipped
        device.stop()
    finally:
        person.close()

    assert early is not None
    print(figures(receipts, list(person.answers), early, late))
    look_at_frames(list(person.answers), receipts)
    assert [(receipt["lost"], receipt["skipped"]) for receipt in receipts] == [(0, 0)] * swaps
    assert (lost, skipped) == (0, 0)
    assert late.agent_bytes - early.agent_bytes < GROWTH_BYTES
    assert late.worker_bytes - early.worker_bytes < GROWTH_BYTES
    assert late.memories == early.memories
    assert all(after <= before + 1 for before, after in zip(early.descriptors, late.descriptors, strict=True))
    assert all(after <= before + 1 for before, after in zip(early.threads, late.threads, strict=True))


def swapped(person: Onlooker, number: int) -> dict[str, object]:
    """Deploy the other release and return the receipt of its commit, with ``to`` as a reference."""
    reference = (shelf.STEADY, shelf.STEADIER)[number % 2]
    since = len(person.reports)
    answer = person.order("model/deploy", f"swap-{number}", 20, reference=reference)
    assert answer is not None, f"swap {number}: no answer"
    assert answer["ok"], answer
    end = person.next_report(Deploying.ENDS, since, 30)
    assert end is not None, f"swap {number}: {person.report}"
    assert (end["state"], end["reference"]) == ("committed", reference), end
    return {**end["receipt"], "to": reference}


def look_at_frames(answers: list[Answer], receipts: list[dict[str, object]]) -> None:
    """Every frame once, in order; the model changes once a swap, and never back."""
    numbers = [answer.frame for answer in answers]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(b.index == (a.index + 1) % PICTURES for a, b in itertools.pairwise(answers))
    changes = [after.model for before, after in itertools.pairwise(answers) if before.model != after.model]
    assert changes == [receipt["to"] for receipt in receipts]


def figures(receipts: list[dict[str, object]], answers: list[Answer], early: Held, late: Held) -> str:
    """Gaps against the steady time of a frame, in words."""
    gaps = sorted(float(receipt["gap_ms"]) for receipt in receipts)  # type: ignore[arg-type]
    steady = sorted(1000 * (b.seen_s - a.seen_s) for a, b in itertools.pairwise(answers) if a.model == b.model)
    p99 = steady[int(0.99 * len(steady))]
    across = sorted(1000 * (b.seen_s - a.seen_s) for a, b in itertools.pairwise(answers) if a.model != b.model)
    middle = statistics.median(gaps)
    return (
        f"{len(receipts)} swaps, {len(answers)} frames; steady frame time median {statistics.median(steady):.1f} ms, "
        f"p99 {p99:.1f} ms (trials included)\ngaps: median {middle:.1f} ms "
        f"({middle / p99:.2f} of p99), p95 {gaps[int(0.95 * len(gaps))]:.1f} ms, max {gaps[-1]:.1f} ms "
        f"({gaps[-1] / p99:.2f} of p99)\n"
        f"old's last answer to new's first, as seen at the broker: median {statistics.median(across):.1f} ms, "
        f"max {across[-1]:.1f} ms\nat the beginning: {early}\nat the end: {late}"
    )
