"""A process for each camera: one that dies takes nobody with it."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from agent.capture.pool import CapturePool
from agent.errors import ProgrammingError
from agent.process.child import Spawner
from agent.process.messages import SourceSpec
from agent.types import CameraName

from .conftest import Taker, eventually

LEFT, RIGHT = CameraName("left"), CameraName("right")
PATTERN = SourceSpec("pattern", "", width=320, height=240, fps=30.0)


def test_a_camera_whose_process_is_killed_comes_back_and_the_other_never_notices():
    spawner = Spawner(lambda child, record: None)
    pulses: list[str] = []
    pool = CapturePool(spawner, pulse=lambda name: pulses.append(name))
    left, right = Taker(pool), Taker(pool)
    try:
        pool.open(LEFT, PATTERN, left)
        pool.start()
        pool.open(RIGHT, PATTERN, right)  # also once it runs
        assert eventually(lambda: len(left.seen) > 10 and len(right.seen) > 10)
        pids = pool.pids
        assert len(set(pids.values())) == 2
        assert pulses == ["capture-left", "capture-right"]
        assert pool.memory_bytes() > 20_000_000
        with pytest.raises(ProgrammingError, match="open already"):
            pool.open(LEFT, PATTERN, left)
        os.kill(pids[LEFT], signal.SIGKILL)
        seen = len(left.seen)
        assert eventually(lambda: len(left.seen) > seen + 10)
        assert (len(left.lost), right.lost) == (1, [])
        assert pool.statistics().restarts == 1
        assert pool.pids[RIGHT] == pids[RIGHT]
        stamps = [one.message.at_ns for one in right.seen]
        assert max(b - a for a, b in itertools.pairwise(stamps)) < 0.6e9
        pool.close_camera(LEFT)
        assert list(pool.pids) == [RIGHT]
    finally:
        pool.close()
        spawner.close()
