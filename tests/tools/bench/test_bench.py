"""The benchmarks run, and say what is wrong when they cannot. Figures are for ``make bench``, not for tests."""

from __future__ import annotations

import json

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


@pytest.mark.shared
def test_the_memory_case_measures_each_process(shared, tmp_path):
    arguments = ["memory", "--shared", str(shared), "--out", str(tmp_path), "--frames", "10", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)["report"]
    assert all(10 < report[part] < 300 for part in ("agent_part", "capture", "worker"))
