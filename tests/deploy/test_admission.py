"""Whether a candidate fits beside current, by numbers."""

from __future__ import annotations

import pytest

from agent.deploy.admission import Need, Way, admit, need_of

MB = 1_000_000


def test_what_was_measured_here_is_believed_before_the_manifest_and_both_before_a_guess():
    assert need_of(measured_mb=90.0, required_mb=200.0, file_bytes=10 * MB) == Need(90.0, "measured on this host", True)
    assert need_of(measured_mb=None, required_mb=200.0, file_bytes=10 * MB).mb == 200.0
    guess = need_of(measured_mb=None, required_mb=None, file_bytes=10 * MB)
    assert (guess.mb, guess.known) == (85.0, False)


@pytest.mark.parametrize(
    ("need_mb", "known", "available_mb", "current_mb", "way"),
    [
        (100, True, 164, 100, Way.BESIDE),
        (100, True, 163, 100, Way.UNLOAD_FIRST),
        (100, True, 10, 100, Way.UNLOAD_FIRST),
        (200, True, 10, 100, Way.REFUSE),
        (200, False, 10, 100, Way.UNLOAD_FIRST),
        (100, True, 110, None, Way.BESIDE),
        (100, True, 90, None, Way.REFUSE),
        (100, False, 90, None, Way.BESIDE),
        (100, True, None, 100, Way.BESIDE),
    ],
)
def test_the_way_in(need_mb, known, available_mb, current_mb, way):
    admission = admit(Need(need_mb, "measured", known), available_mb=available_mb, current_mb=current_mb, floor_mb=64)
    assert admission.way is way
    assert bool(admission.reason) is (way is not Way.BESIDE)


def test_the_reason_names_what_is_needed_and_what_there_is():
    need = Need(100, "measured on this host", True)
    reason = admit(need, available_mb=120, current_mb=80, floor_mb=64).reason
    assert reason == "it needs 100 MB (measured on this host), 120 MB are available and 64 MB are to stay free"
