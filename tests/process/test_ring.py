"""Frames in shared memory: sealed, checked on arrival, read-only for readers."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from agent.errors import CameraError, ChildError, ProgrammingError
from agent.process.ring import RingMemory


@pytest.fixture
def ring():
    made = RingMemory.create(64, 48, 3)
    yield made
    made.close()


def test_what_one_side_writes_the_other_reads(ring):
    reader = RingMemory.attach(os.dup(ring.fd), 64, 48, 3, writable=False)
    for slot in range(3):
        ring.frame(slot)[:] = slot + 1
    assert [int(reader.frame(slot).sum()) for slot in range(3)] == [64 * 48 * 3 * n for n in (1, 2, 3)]
    assert reader.frame(0).shape == (48, 64, 3)
    reader.close()


def test_a_reader_cannot_write(ring):
    reader = RingMemory.attach(os.dup(ring.fd), 64, 48, 3, writable=False)
    with pytest.raises(ValueError, match="read-only"):
        reader.frame(0)[:] = 1
    reader.close()


def test_slots_start_on_pages(ring):
    starts = [ring.frame(slot).__array_interface__["data"][0] for slot in range(3)]
    assert all(start % mmap.PAGESIZE == 0 for start in starts)


def test_nobody_can_change_the_size(ring):
    for size in (1, 10_000_000):
        with pytest.raises(PermissionError):
            os.ftruncate(ring.fd, size)


def test_a_descriptor_that_is_no_such_ring_is_refused_and_closed(ring):
    plain = os.memfd_create("plain", os.MFD_ALLOW_SEALING)
    os.ftruncate(plain, 3 * 12288)
    for fd, width, slots in ((plain, 64, 3), (os.dup(ring.fd), 640, 3), (os.dup(ring.fd), 64, 4), (os.dup(0), 64, 3)):
        with pytest.raises(ChildError):
            RingMemory.attach(fd, width, 48, slots, writable=False)
        with pytest.raises(OSError):
            os.fstat(fd)


def test_frames_of_an_impossible_size_are_the_cameras_fault():
    for size in ((0, 10), (10, 100_000), (-1, 5)):
        with pytest.raises(CameraError):
            RingMemory.create(*size, 3)


def test_views_outlive_close_and_memory_costs_nothing_before_it_is_written(ring):
    view = ring.frame(1)
    view[:] = 7
    ring.close()
    ring.close()
    assert np.all(view == 7)
    with pytest.raises(ProgrammingError):
        ring.frame(0)


def test_nothing_has_a_name():
    before = set(Path("/dev/shm").iterdir())
    ring = RingMemory.create(64, 48, 3)
    ring.frame(0)[:] = 1
    assert set(Path("/dev/shm").iterdir()) == before
    ring.close()
