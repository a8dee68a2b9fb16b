from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from tools.model.quantize.budget import Budget, Figures


@pytest.mark.parametrize("text", ["map=1.0", "agreement=0.85", "top1=0.5", "map=1.2,agreement=0.87"])
def test_what_a_person_writes_is_read_and_said_back(text: str) -> None:
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@pytest.mark.parametrize(
    "text", ["", "map", "map=", "map=x", "map=-1", "agreement=85", "speed=2", "map=1,map=2", "map=nan"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="budget"):
        Budget.parse(text)


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        Budget.parse(text)


def test_excess_is_zero_inside_and_adds_up_outside() -> None:
    budget = Budget.parse("map=1.0,agreement=0.9")
    assert budget.excess(Figures(0.95, map_50_95=0.295, float_map=0.3)) == 0
    assert budget.excess(Figures(0.85, map_50_95=0.28, float_map=0.3)) == pytest.approx(0.05 + 0.01)


def test_a_budget_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="no labels"):
        Budget.parse("map=1").check("detect", labelled=False)
    with pytest.raises(InputError, match="task is classify"):
        Budget.parse("map=1").check("classify", labelled=True)
    with pytest.raises(InputError, match="task is detect"):
        Budget.parse("agreement=0.9,top1=1").check("detect", labelled=True)
    Budget.parse("agreement=0.9").check("classify", labelled=False)
