"""Telemetry: the counters add up, and every stage of a frame is measured."""

from __future__ import annotations

from . import shelf
from .device import CAMERA, PIPELINE

STAGES = {"wait", "preprocess", "run", "postprocess", "latency"}


def test_the_counters_add_up_and_each_stage_has_a_distribution(at_work):
    device, person = at_work(cameras={CAMERA: {"source": {"fps": 100}}})
    first, second = person.wait(lambda: len(said := person.said("telemetry")) >= 3 and said[1:3])
    assert second["v"] == 1
    counters = second["counters"]
    assert counters == second["loop"][PIPELINE]["counters"] == second["cameras"][CAMERA]["counters"]
    assert counters["lost"] == 0
    under_way = counters["captured"] - counters["answered"] - counters["lost"]
    assert 0 <= under_way <= 12 + counters["skipped"], counters
    assert second["loop"][PIPELINE]["in_flight"] <= 3
    assert second["loop"][PIPELINE]["model"] == shelf.TINY
    assert all(second["counters"][name] >= first["counters"][name] for name in counters)

    stages = second["loop"][PIPELINE]["stages"]
    assert set(stages) == STAGES
    answered = second["counters"]["answered"] - first["counters"]["answered"]
    for row in stages.values():
        assert row["count"] == answered, "latencies are those since the last message"
        assert 0 <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert second["models"][shelf.TINY]["count"] == answered
    assert second["host"]["agent_pss_mb"] > 1
    assert second["link"]["dropped"] == 0
    assert second["uptime_s"] > first["uptime_s"]
    assert device.status().cameras[0].captured >= counters["captured"]
