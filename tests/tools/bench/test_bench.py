"""The benchmarks run, and say what is wrong when they cannot. Figures are for ``make bench``, not for tests."""

from __future__ import annotations

import json
import shutil

import pytest
import structlog
from typer.testing import CliRunner

from tools.bench.cli import app
from tools.bench.registry import MODULES


@pytest.fixture(autouse=True)
def untouched_logging():
    yield
    structlog.reset_defaults()


def bench(*arguments):
    """Run a case with ``--json``; return the whole record."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_a_folder_without_videos_is_named(tmp_path):
    result = CliRunner().invoke(app, ["swap", "--shared", str(tmp_path)])
    assert result.exit_code == 2
    assert "plaza.avi is absent" in result.output


def test_a_name_that_is_no_case_is_refused_before_anything_runs(tmp_path):
    result = CliRunner().invoke(app, ["all", "--only", "swap,nonsense", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "nonsense: is no case; there are" in result.output
    assert not list(tmp_path.iterdir())


def test_every_case_is_a_command_and_its_settings_are_options():
    listed = CliRunner().invoke(app, ["--help"]).output
    assert all(name in listed for name in MODULES)
    assert "--swaps" in CliRunner().invoke(app, ["swap", "--help"]).output


def test_a_page_without_measurements_is_not_written(tmp_path):
    result = CliRunner().invoke(app, ["report", "--out", str(tmp_path), "--page", str(tmp_path / "page.md")])
    assert result.exit_code == 2
    assert "run lookout bench all first" in result.output


@pytest.mark.shared
def test_the_swap_case_proves_that_nothing_was_lost(shared, tmp_path):
    record = bench("swap", "--shared", shared, "--out", tmp_path, "--swaps", 2, "--frames", 5)
    assert record == json.loads((tmp_path / "swap.json").read_text())
    assert record["settings"] == {"swaps": 2, "frames": 5}
    report = record["report"]
    assert (report["swaps"], report["lost"], report["in_order"]) == (2, 0, True)
    assert report["gap_max_ratio"] == pytest.approx(report["gap_max_ms"] / report["steady_p99_ms"])


@pytest.mark.faults
@pytest.mark.shared
def test_the_recovery_case_kills_workers_and_rejects_candidates_without_losing_a_frame(shared, tmp_path):
    record = bench(
        "recovery", "--shared", shared, "--out", tmp_path, "--kills", 1, "--frames", 10, "--pace", "lossless"
    )
    (report,) = record["report"]["paces"]
    assert (report["warm"]["kills"], report["cold"]["kills"], report["rollback"]["rollbacks"]) == (1, 1, 1)
    assert report["warm"]["lost"] == report["cold"]["lost"] == report["rollback"]["lost"] == 0
    assert report["rollback"]["next_frame"]
    assert report["warm"]["max_ms"] < report["cold"]["max_ms"]


def test_the_mqtt_case_says_what_messages_cost(tmp_path):
    if not (shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")):
        pytest.skip("mosquitto is absent")
    report = bench("mqtt", "--seconds", 1, "--out", tmp_path)["report"]
    assert report["messages"] == 30
    assert 0 < report["share"] < 1
    assert {"lookout-mqtt", "lookout-publisher"} <= set(report["threads"])
