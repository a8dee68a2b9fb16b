"""What the host tells of its memory."""

from __future__ import annotations

import psutil

from agent.process.memory import available_bytes, pss_bytes


def test_what_is_available_is_no_more_than_the_host_has_left():
    available = available_bytes()
    assert available is not None
    assert 0 < available <= psutil.virtual_memory().available * 1.1


def test_a_process_that_is_not_there_holds_nothing():
    assert pss_bytes() > 1_000_000
    assert pss_bytes(2**30) == 0
