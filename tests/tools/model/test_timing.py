from __future__ import annotations

import pytest

from agent.errors import InputError
from tools.model.timing import WARM_UP_ROUNDS, interleaved_medians_ms


def test_the_candidates_take_turns() -> None:
    calls: list[str] = []
    interleaved_medians_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert "".join(calls) == "ab" * (WARM_UP_ROUNDS + 2)


def test_every_candidate_has_a_median() -> None:
    medians = interleaved_medians_ms({"a": lambda: None, "b": lambda: sum(range(20_000))}, rounds=5)
    assert 0 <= medians["a"] < medians["b"]


def test_no_rounds_are_refused() -> None:
    with pytest.raises(InputError, match="rounds is 0"):
        interleaved_medians_ms({}, rounds=0)
