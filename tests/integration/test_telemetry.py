"""Telemetry: the counters add up, and every stage of a frame is measured."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.telemetry.host import host_probes
from agent.telemetry.names import metric_name
from agent.telemetry.prometheus import CONTENT_TYPE, STAGE_METRIC
from tests.conftest import free_port

from . import shelf
from .device import CAMERA, PIPELINE
from .person import Person

STAGES = {"capture", "wait", "preprocess", "run", "postprocess", "see", "latency"}


def serving(person: Person) -> list[dict[str, Any]]:
    """Return the messages of the time since the model serves."""
    return [one for one in person.said("telemetry") if one["loop"][PIPELINE]["model"] and one["counters"]["answered"]]


def test_the_counters_add_up_and_each_stage_has_a_distribution(at_work):
    device, person = at_work(cameras={CAMERA: {"source": {"fps": 100}}})
    first, second = person.wait(lambda: len(said := serving(person)) >= 3 and said[1:3], 60)
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
    for stage, row in stages.items():
        if stage != "capture":  # which every frame has that came
            assert row["count"] == answered, "latencies are those since the last message"
        assert 0 <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert second["models"][shelf.TINY]["count"] == answered
    assert stages["capture"]["count"] + 12 >= answered, "what was under way before may be answered now"
    assert second["models"][shelf.TINY]["frames"] >= second["counters"]["answered"]
    assert second["models"][shelf.TINY]["memory_mb"] > 1
    assert second["models"][shelf.TINY]["providers"] == ["CPUExecutionProvider"]
    assert {"agent", "capture"} < set(second["processes"]), "and the worker"
    assert all(row["memory_mb"] > 1 for row in second["processes"].values())
    assert set(second["queues"]) == {"publisher", "outbox", "unacknowledged", "commands"}
    assert second["link"]["connected"] == 1
    assert second["host"]["agent_pss_mb"] > 1
    assert second["host"].get("written_mb", 1.0) > 0, "a journal was written"
    assert second["link"]["dropped"] == 0
    assert second["uptime_s"] > first["uptime_s"]
    assert device.status().cameras[0].captured >= counters["captured"]


def test_prometheus_scrapes_the_same_rows(at_work):
    port = free_port()
    device, person = at_work(web={"metrics": True, "port": port})
    told = person.wait(lambda: len(said := serving(person)) >= 2 and said[-1], 60)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["content-type"] == CONTENT_TYPE
        text = answer.read().decode()
    found = {
        (sample.name, sample.labels.get("stage"))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    rows = {row.key: metric_name("", row.column) for row in host_probes(device.state)}
    assert {rows[key] for key, value in told["host"].items() if value is not None} <= {name for name, _ in found}
    assert {(f"{STAGE_METRIC}_count", stage) for stage in STAGES} <= found


def test_more_written_than_the_budget_makes_the_device_degraded_and_another_budget_heals_it(at_work):
    device, person = at_work(report={"wear_budget_mb_per_day": 0.001})
    said = person.wait(lambda: len(found := serving(person)) >= 2 and found[-1], 60)
    if not said["host"].get("written_mb"):
        pytest.skip("the state lies in memory here, or this kernel counts nothing")
    status = device.wait_status(lambda seen: any("wear" in problem for problem in seen.degraded), 60)
    assert any("report.wear_budget_mb_per_day (0.001)" in problem for problem in status.degraded)
    device.config["report"]["wear_budget_mb_per_day"] = None
    device.write()
    device.wait_status(lambda seen: not any("wear" in problem for problem in seen.degraded), 60)
