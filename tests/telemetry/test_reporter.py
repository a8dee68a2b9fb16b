"""Telemetry tells what the pipelines did since the last message, and survives bad providers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from agent.link.messages import Telemetry, encode
from agent.telemetry.histogram import Histogram
from agent.telemetry.host import host_probes
from agent.telemetry.look import PipelineReading
from agent.telemetry.message import Windows, build
from agent.telemetry.probes import Probe, Probes
from agent.telemetry.reporter import Reporter
from agent.telemetry.rows import Counters, GovernorRow, LinkRow, ProcessRow
from agent.types import Outgoing
from tests.patience import patient
from tests.telemetry.looking import look, senses, statistics, worker


def message(*readings: PipelineReading, windows: Windows) -> Telemetry:
    return build(look(*readings, link=LinkRow(sent=1)), windows)


def test_counters_add_up_over_pipelines() -> None:
    run = Histogram()
    told = message(statistics(run), statistics(run, pipeline="other", answered=5), windows=Windows())
    assert told.counters == Counters(20, 14, 2, 4, 0)
    assert told.loop["other"].counters == Counters(10, 5, 1, 2, 0)
    assert told.cameras["front"].fps == 9.99
    assert told.at == "2026-09-21T14:13:20.123Z"


def test_latencies_are_those_since_the_last_message() -> None:
    run, windows = Histogram(), Windows()
    for _ in range(100):
        run.add(10.0)
    first = message(statistics(run), windows=windows)
    run.add(50.0)
    second = message(statistics(run), windows=windows)
    third = message(statistics(run), windows=windows)
    assert first.models["yolox:1.0.0"].count == 100
    assert first.loop["main"].stages["run"].p50_ms == pytest.approx(10.0, rel=0.04)
    assert second.models["yolox:1.0.0"].p50_ms == pytest.approx(50.0, rel=0.04)
    assert second.models["yolox:1.0.0"].count == 1
    assert third.models["yolox:1.0.0"].count == 0


def test_a_rebuilt_pipeline_begins_its_window_anew() -> None:
    old, new, windows = Histogram(), Histogram(), Windows()
    for _ in range(10):
        old.add(10.0)
    message(statistics(old), windows=windows)
    new.add(20.0)
    assert message(statistics(new), windows=windows).models["yolox:1.0.0"].count == 1


def test_one_model_in_two_pipelines_has_one_row() -> None:
    run = Histogram()
    run.add(1.0)
    told = message(statistics(run), statistics(run, pipeline="other"), windows=Windows())
    assert told.models["yolox:1.0.0"].count == 2


def test_a_model_is_told_with_what_it_needs_and_what_it_runs_on() -> None:
    processes = {"worker-1": ProcessRow(97.5, 3.0), "worker-2": ProcessRow(96.0, 1.0), "agent": ProcessRow(55.0, 2.0)}
    seen = look(
        statistics(Histogram()), statistics(Histogram(), pipeline="other", answered=5),
        processes=processes, workers=(worker(), worker("worker-2")),
    )  # fmt: skip
    row = build(seen, Windows()).models["yolox:1.0.0"]
    assert (row.frames, row.memory_mb, row.providers) == (14, 193.5, ("CPUExecutionProvider",))


def test_a_model_whose_worker_is_gone_has_no_memory() -> None:
    row = build(look(statistics(Histogram())), Windows()).models["yolox:1.0.0"]
    assert (row.memory_mb, row.providers) == (None, ())


def test_latency_is_told_only_of_a_time_in_which_frames_were_answered() -> None:
    run, windows = Histogram(), Windows()
    run.add(10.0)
    assert message(statistics(run), windows=windows).loop["main"].latency_p95_ms == pytest.approx(10.0, rel=0.04)
    assert message(statistics(run), windows=windows).loop["main"].latency_p95_ms is None


def test_the_message_of_an_older_agent_can_still_be_read() -> None:
    told = msgspec.json.decode(encode(message(statistics(Histogram()), windows=Windows())))
    for key in ("processes", "queues"):
        del told[key]
    del told["link"]["connected"]
    for row in told["models"].values():
        del row["frames"], row["memory_mb"], row["providers"]
    assert msgspec.convert(told, Telemetry).link.sent == 1


def test_the_message_round_trips_as_json() -> None:
    told = message(statistics(Histogram()), windows=Windows())
    assert msgspec.json.decode(encode(told), type=Telemetry) == told
    assert msgspec.json.decode(encode(told))["v"] == 1


def test_a_failing_row_gives_null_and_one_warning(tmp_path: Path) -> None:
    def broken() -> float:
        raise OSError("no such file")

    probes = Probes([Probe("bad", "", broken, ""), Probe("none", "", lambda: None, ""), Probe("ok", "", lambda: 1, "")])
    with capture_logs() as logs:
        assert probes.read() == probes.read() == {"bad": None, "none": None, "ok": 1.0}
    assert [entry["key"] for entry in logs] == ["bad"]


def test_this_host_has_most_rows_and_complains_of_none(tmp_path: Path) -> None:
    rows = host_probes(tmp_path)
    with capture_logs() as logs:
        values = Probes(rows).read()
    assert not logs
    assert {row.key for row in rows if not row.may_lack} <= set(values)
    assert 5 < (values["agent_pss_mb"] or 0) < 2000
    assert len({row.key for row in rows}) == len(rows)


def test_a_row_that_this_host_lacks_is_left_out_until_it_was_had_once() -> None:
    answers = iter([None, 1.0, None])
    probes = Probes([Probe("new", "", lambda: next(answers), "", may_lack=True)])
    assert [probes.read() for _ in range(3)] == [{}, {"new": 1.0}, {"new": None}]


def test_what_is_no_number_is_none() -> None:
    probes = Probes([Probe(word, "", lambda word=word: float(word), "") for word in ("nan", "inf", "-inf")])  # type: ignore[misc]
    assert probes.read() == {"nan": None, "inf": None, "-inf": None}


def reporter(**options: Any) -> tuple[Reporter, list[Outgoing], threading.Event]:
    sent: list[Outgoing] = []
    came = threading.Event()

    def publish(outgoing: Outgoing) -> None:
        sent.append(outgoing)
        came.set()

    interval_s = options.pop("interval_s", 60.0)
    return Reporter(publish, senses(**options), interval_s=interval_s), sent, came


def test_reports_come_at_the_interval_and_a_stop_does_not_wait_for_it() -> None:
    beats, sent, came = reporter(interval_s=0.05)
    beats.start()
    assert came.wait(2)
    beats.set_interval(3600)
    began = time.monotonic()
    beats.stop()
    assert time.monotonic() - began < patient(0.5)
    assert sent[0].topic == "telemetry"
    assert sent[0].qos == 0
    assert beats.last is not None
    assert not isinstance(sent[0].payload, bytes)  # the publisher encodes


def test_a_nudge_reports_at_once() -> None:
    beats, _, came = reporter()
    beats.start()
    beats.nudge()
    assert came.wait(2)
    beats.stop()


def test_a_bad_provider_costs_one_message_not_the_thread() -> None:
    answers = iter([1 / 1, None])

    def pipelines() -> list[PipelineReading]:
        if next(answers) is not None:
            raise RuntimeError("a bug")
        return []

    beats, sent, came = reporter(pipelines=pipelines)
    with capture_logs() as logs:
        beats.start()
        beats.nudge()
        while not logs:
            time.sleep(0.005)
        assert not sent
        beats.nudge()
        assert came.wait(2)
        beats.stop()
    assert logs[0]["event"] == "telemetry.failed"


def test_the_chore_is_done_between_two_reports(tmp_path: Path) -> None:
    sent: list[Outgoing] = []
    done = threading.Semaphore(0)
    reporter = Reporter(
        sent.append,
        senses(probes=Probes(host_probes(tmp_path)), pipelines=tuple, governor=lambda: GovernorRow(1, "hot", 5.0)),
        interval_s=60,
        chore=done.release,
        chore_s=0.01,
    )
    reporter.start()
    try:
        for _ in range(3):
            assert done.acquire(timeout=5)
        assert not sent
        reporter.nudge()
        deadline = time.monotonic() + 5
        while not sent and time.monotonic() < deadline:
            done.acquire(timeout=1)
    finally:
        reporter.stop()
    assert isinstance(sent[0].payload, Telemetry)
    assert sent[0].payload.governor == GovernorRow(1, "hot", 5.0)
