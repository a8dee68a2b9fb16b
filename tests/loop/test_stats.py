from __future__ import annotations

import pytest

from agent.loop.stats import Intervals, Rate, Service
from tests.loop.fakes import MS, TIMINGS, FakeWorker


def test_a_steady_camera_has_its_rate_and_a_silent_one_falls_to_nothing():
    rate = Rate()
    for frame in range(100):
        rate.add(frame * 40 * MS)
    last = 99 * 40 * MS
    assert rate.per_second(last) == pytest.approx(25.0)
    assert rate.per_second(last + 10 * MS) == pytest.approx(25.0)
    assert rate.per_second(last + 2500 * MS) < 15
    assert rate.per_second(last + 60_000 * MS) == 0.0


def test_a_slow_camera_has_a_rate_too():
    rate = Rate()
    for frame in range(10):
        rate.add(frame * 2000 * MS)
    assert rate.per_second(9 * 2000 * MS + 100 * MS) == pytest.approx(0.5)


def test_a_gap_is_the_silence_less_one_steady_interval():
    intervals = Intervals()
    assert intervals.gap_ms(0) is None
    for frame in range(20):
        intervals.add(frame * 10 * MS)
    assert intervals.gap_ms(190 * MS + 45 * MS) == pytest.approx(35.0)
    assert intervals.gap_ms(190 * MS + 2 * MS) == 0.0


def test_a_service_sums_up_the_stages_and_what_was_found():
    service = Service(FakeWorker("w").release, 0, trial_p95_ms=123.0)
    assert service.p95_ms == 123.0
    for _ in range(64):
        service.add(TIMINGS, 3)
    sample = service.sample(2000 * MS)
    assert sample.frames == 64
    assert sample.seconds == 2.0
    assert sample.detections_per_frame == 3.0
    assert sample.p95_ms == pytest.approx(10.0, rel=0.05)  # waiting left out
    assert service.p95_ms == pytest.approx(10.0, rel=0.05)
