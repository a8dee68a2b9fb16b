"""The benchmarks run, and say what is wrong when they cannot. Figures are for ``make bench``, not for tests."""

from __future__ import annotations

import json
import shutil

import pytest
import structlog
from typer.testing import CliRunner

from tools.bench.cli import app


@pytest.fixture(autouse=True)
def untouched_logging():
    yield
    structlog.reset_defaults()


def test_a_folder_without_videos_is_named(tmp_path):
    result = CliRunner().invoke(app, ["loop", "--shared", str(tmp_path)])
    assert result.exit_code == 2
    assert "plaza.avi is absent" in result.output


@pytest.mark.shared
def test_the_loop_case_compares_with_bare_runs(shared, tmp_path):
    arguments = ["loop", "--shared", str(shared), "--out", str(tmp_path), "--rounds", "1", "--frames", "20", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)["report"]
    assert report == json.loads((tmp_path / "loop.json").read_text())["report"]
    assert report["ratio"] == pytest.approx(report["loop_median"] / report["bare_median"])
    assert report["ratio"] > 0.2


@pytest.mark.shared
def test_the_swap_case_proves_that_nothing_was_lost(shared, tmp_path):
    arguments = ["swap", "--shared", str(shared), "--out", str(tmp_path), "--swaps", "2", "--frames", "5", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)["report"]
    assert (report["swaps"], report["lost"], report["in_order"]) == (2, 0, True)
    assert report["gap_max_ratio"] == pytest.approx(report["gap_max_ms"] / report["steady_p99_ms"])


@pytest.mark.shared
def test_the_memory_case_measures_each_process(shared, tmp_path):
    arguments = ["memory", "--shared", str(shared), "--out", str(tmp_path), "--frames", "10", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)["report"]
    assert all(10 < report[part] < 300 for part in ("agent_part", "capture", "worker"))


@pytest.mark.shared
def test_the_recovery_case_kills_workers_and_rejects_candidates_without_losing_a_frame(shared, tmp_path):
    arguments = ["recovery", "--shared", str(shared), "--out", str(tmp_path), "--kills", "1"]
    result = CliRunner().invoke(app, [*arguments, "--frames", "10", "--pace", "lossless", "--json"])
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.output)["report"]["paces"]
    assert (report["warm"]["kills"], report["cold"]["kills"], report["rollback"]["rollbacks"]) == (1, 1, 1)
    assert report["warm"]["lost"] == report["cold"]["lost"] == report["rollback"]["lost"] == 0
    assert report["rollback"]["next_frame"]
    assert report["warm"]["max_ms"] < report["cold"]["max_ms"]


def test_the_mqtt_case_says_what_messages_cost(tmp_path):
    if not (shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")):
        pytest.skip("mosquitto is absent")
    result = CliRunner().invoke(app, ["mqtt", "--seconds", "1", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)["report"]
    assert report["messages"] == 30
    assert 0 < report["share"] < 1
    assert {"lookout-mqtt", "lookout-publisher"} <= set(report["threads"])
