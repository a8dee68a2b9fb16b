"""No frame of a video is lost to a swap: every one is answered, once, in order, by the old release or the new.

``make test`` runs the sample of ``tests/faults/test_swaps.py``, on pictures.
"""

from __future__ import annotations

import itertools

import pytest

from . import shelf
from .device import CAMERA

SWAPS = (shelf.STEADIER, shelf.STEADY, shelf.STEADIER)


@pytest.mark.faults
def test_three_swaps_of_the_whole_agent_answer_every_frame_exactly_once_and_in_order(broker, shared, world):
    video = {"source": {"kind": "file", "path": str(shared / "data/video/plaza.avi"), "pace": "lossless", "loop": True}}
    device = world.device(
        port=broker.port,
        start=False,
        cameras={CAMERA: video},
        report={"all": True},
        inference={"threads": 1},
    )
    person = world.person(broker.port, device)
    device.start()
    person.deployed(shelf.STEADY)
    receipts = [person.deployed(reference)["receipt"] for reference in SWAPS]
    person.sees(SWAPS[-1], 5)
    device.stop()

    frames = person.frames()
    numbers = [frame["frame"] for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    indices = [frame["index"] for frame in frames]
    length = max(indices) + 1
    assert all(after in ((before + 1) % length, 0) for before, after in itertools.pairwise(indices))
    models = [frame["model"] for frame in frames]
    changes = [new for old, new in itertools.pairwise(models) if old != new]
    assert changes == list(SWAPS), "one change for each swap, and no way back"
    assert [receipt["lost"] for receipt in receipts] == [0, 0, 0]
    assert [receipt["skipped"] for receipt in receipts] == [0, 0, 0]
    steady_ms = 1000 / 20
    assert all(receipt["gap_ms"] < 10 * steady_ms for receipt in receipts), receipts
    print("gaps", [receipt["gap_ms"] for receipt in receipts], "ms,", len(frames), "frames")
