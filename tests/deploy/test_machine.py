"""The table of transitions, and what it keeps whatever happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.deploy.machine import (
    BEFORE_PROBATION,
    RESUME,
    TERMINAL,
    TRANSITIONS,
    URGENT,
    Action,
    Signal,
    State,
    accepts,
    step,
)
from agent.deploy.records import SlotRelease
from agent.deploy.row import Row, advance
from agent.errors import ProgrammingError
from agent.types import Digest, ModelName, PipelineName
from tests.depth import examples

WIRE = {
    "IDLE": "idle", "RESOLVING": "resolving", "FETCHING": "fetching", "VERIFYING": "verifying", "TRIAL": "trial",
    "SHADOW": "shadow", "PROBATION": "probation", "COMMITTED": "committed", "FAILED": "failed",
    "ROLLED_BACK": "rolled_back", "SUPERSEDED": "superseded", "CANCELLED": "cancelled",
    "WAITING_FOR_CLOCK": "waiting_for_clock", "DEFERRED": "deferred",
}  # fmt: skip


def release(number: int) -> SlotRelease:
    return SlotRelease(ModelName("faces"), f"1.{number}.0", Digest(f"{number:064x}"))


def test_the_values_of_the_wire_never_change() -> None:
    assert {state.name: state.value for state in State} == WIRE


def test_an_unknown_pair_is_a_bug_and_names_both() -> None:
    with pytest.raises(ProgrammingError, match="'idle' does not take 'commit'"):
        step(State.IDLE, Signal.COMMIT)


@given(st.sampled_from(State), st.sampled_from(Signal))
def test_every_pair_is_in_the_table_or_refused(state: State, signal: Signal) -> None:
    if accepts(state, signal):
        assert step(state, signal) == TRANSITIONS[state, signal]
    else:
        with pytest.raises(ProgrammingError):
            step(state, signal)


def test_every_state_has_a_way_to_resume_and_a_way_in() -> None:
    assert set(RESUME) == set(State)
    assert {state for state, _ in TRANSITIONS.values()} == set(State) - {State.IDLE}


@pytest.mark.parametrize("state", sorted(BEFORE_PROBATION, key=lambda state: state.value))
def test_every_step_before_probation_can_fail_be_cancelled_and_be_superseded(state: State) -> None:
    for signal in (Signal.FAULT, Signal.CANCEL, Signal.SUPERSEDE):
        after, action = step(state, signal)
        assert after in TERMINAL
        assert action is Action.ABANDON


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL, key=lambda state: state.value))
def test_every_state_that_is_not_terminal_ends(state: State) -> None:
    reached, todo = set(), [state]
    while todo:
        here = todo.pop()
        reached.add(here)
        todo += [after for (before, _), (after, _) in TRANSITIONS.items() if before is here and after not in reached]
    assert reached & TERMINAL
    assert any(after in TERMINAL for (before, _), (after, _) in TRANSITIONS.items() if before is state)


def test_probation_ends_only_by_a_verdict_or_the_operator() -> None:
    assert {signal for state, signal in TRANSITIONS if state is State.PROBATION} == {
        Signal.COMMIT,
        Signal.REJECT,
        Signal.WITHDRAW,
    }


def test_only_what_keeps_the_device_seeing_or_tidies_up_happens_without_the_journal() -> None:
    assert frozenset({Action.SWAP_BACK, Action.ABANDON, Action.LOAD_CURRENT}) == URGENT


def test_a_commit_of_the_release_that_was_current_keeps_the_older_previous() -> None:
    row = Row(PipelineName("p"), State.PROBATION, candidate=release(2), current=release(2), previous=release(1))
    after, _ = advance(row, Signal.COMMIT, 0)
    assert (after.current, after.previous) == (release(2), release(1))


class Pipelines(RuleBasedStateMachine):
    """Any sequence of legal signals, with new candidates; what was condemned is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.row = Row(PipelineName("p"))
        self.good: set[str] = set()
        self.condemned: set[str] = set()
        self.number = 0

    @rule(signal=st.sampled_from(Signal), keep_former=st.booleans())
    def signal(self, signal: Signal, keep_former: bool) -> None:
        if not accepts(self.row.state, signal):
            return
        if signal is Signal.WITHDRAW and self.row.previous is None and self.row.state is not State.PROBATION:
            return  # the driver refuses it
        if signal is Signal.ALREADY_CURRENT and self.row.current is None:
            return
        changes: dict[str, object] = {}
        if signal is Signal.FETCHED:
            self.number += 1
            changes["candidate"] = release(self.number)
        before = self.row
        self.row, _ = advance(before, signal, 0, keep_former=keep_former, **changes)
        if signal is Signal.COMMIT:
            assert before.candidate is not None
            self.good.add(before.candidate.digest)
        if signal is Signal.REJECT:
            assert before.candidate is not None
            self.condemned.add(before.candidate.digest)
        if before.state in BEFORE_PROBATION and signal is not Signal.WITHDRAW:
            assert self.row.current == before.current, "current is untouched before probation"

    @precondition(lambda self: self.row.state not in TERMINAL)
    @rule()
    def restart(self) -> None:
        packed = msgspec.json.encode(self.row)
        assert msgspec.json.decode(packed, type=Row) == self.row

    @invariant()
    def never_without_a_good_model_once_one_was_committed(self) -> None:
        if self.good:
            assert self.row.current is not None
        if self.row.current is not None:
            assert self.row.current.digest in self.good
            assert self.row.current.digest not in self.condemned

    @invariant()
    def a_candidate_exists_from_fetch_to_verdict_and_at_rest_never(self) -> None:
        if self.row.state in TERMINAL:
            assert self.row.candidate is None
        if self.row.state in (State.VERIFYING, State.TRIAL, State.SHADOW, State.PROBATION):
            assert self.row.candidate is not None


TestPipelines = Pipelines.TestCase
TestPipelines.settings = settings(max_examples=examples(60), stateful_step_count=60, deadline=None)
