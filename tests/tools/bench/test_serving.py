"""What the cases of a whole device make of what they saw, and that the parts are measured."""

from __future__ import annotations

import json

import pytest
import structlog
from typer.testing import CliRunner

from tools.bench.cli import app
from tools.bench.serving import Seen


@pytest.fixture(autouse=True)
def untouched_logging():
    yield
    structlog.reset_defaults()


def seen(fps: dict[str, float], ages_ms: tuple[float, ...] = ()) -> Seen:
    return Seen(4.0, {"agent": 3.0, "worker": 20.0}, {"agent": 50.0, "worker": 80.0}, fps, 0, 0, 0, 0, ages_ms)


def test_one_frame_more_or_less_in_a_short_look_is_no_unfairness() -> None:
    assert seen({"a": 0.25, "b": 0.5}).fairness == 1.0
    assert seen({"a": 5.0, "b": 10.0}).fairness == pytest.approx(21 / 40)


def test_ages_are_told_where_enough_were_heard() -> None:
    assert seen({"a": 1.0}, (9.0,)).age_ms(50) is None
    assert seen({"a": 1.0}, tuple(float(age) for age in range(101))).age_ms(99) == pytest.approx(99.0)


def test_all_processes_count() -> None:
    assert (seen({"a": 1.0}).cpu_together, seen({"a": 1.0}).pss_together) == (23.0, 130.0)


@pytest.mark.shared
def test_the_parts_case_measures_each_part(shared, tmp_path) -> None:
    arguments = ["parts", "--shared", str(shared), "--out", str(tmp_path), "--frames", "10", "--rounds", "1", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)["figures"]
    assert {figure["what"].partition(",")[0] for figure in figures} == {
        "preprocess", "decode and NMS", "track 25 objects", "serialise",
    }  # fmt: skip
    assert all(figure["value"] > 0 for figure in figures)
