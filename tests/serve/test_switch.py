from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.errors import ProgrammingError
from agent.serve.switch import Switch
from tests.depth import examples


def serving(*names: str) -> Switch[str]:
    switch: Switch[str] = Switch()
    for name in names:
        switch.propose(name)
        switch.promote()
    return switch


def test_the_former_current_stays_warm_and_the_one_before_is_retired():
    switch = serving("one", "two")
    switch.propose("three")
    assert switch.promote() == "one"
    assert (switch.current, switch.previous, switch.candidate) == ("three", "two", None)


def test_going_back_needs_a_previous_worker():
    switch = serving("one", "two")
    assert switch.back() == "two"
    assert (switch.current, switch.previous) == ("one", None)
    with pytest.raises(ProgrammingError, match="no previous"):
        switch.back()


def test_a_worker_has_one_slot():
    switch = serving("one")
    with pytest.raises(ProgrammingError, match="has a slot already"):
        switch.propose("one")


def test_previous_serves_at_once_when_current_dies():
    switch = serving("one", "two")
    assert switch.remove("two")
    assert switch.current == "one"
    assert not switch.remove("one")
    assert switch.current is None


class SwitchMachine(RuleBasedStateMachine):
    """Whatever happens, no worker is in two slots, none is forgotten, no warm one waits behind an empty slot."""

    def __init__(self) -> None:
        super().__init__()
        self.switch: Switch[int] = Switch()
        self.made = 0
        self.out: list[int] = []

    def note(self, worker: int | None) -> None:
        if worker is not None:
            self.out.append(worker)

    @rule()
    def swap(self) -> None:
        self.note(self.switch.propose(self.made))
        self.made += 1
        self.note(self.switch.promote())

    @rule()
    def propose(self) -> None:
        self.note(self.switch.propose(self.made))
        self.made += 1

    @rule()
    def back(self) -> None:
        if self.switch.previous is not None:
            self.note(self.switch.back())

    @rule()
    def drop(self) -> None:
        self.note(self.switch.drop_previous())

    @rule(data=st.data())
    def die(self, data) -> None:
        if self.switch.workers():
            worker = data.draw(st.sampled_from(self.switch.workers()))
            self.switch.remove(worker)
            self.out.append(worker)

    @invariant()
    def each_worker_is_in_one_place(self) -> None:
        assert sorted([*self.switch.workers(), *self.out]) == list(range(self.made))
        assert self.switch.previous is None or self.switch.current is not None


TestSwitch = SwitchMachine.TestCase
TestSwitch.settings = settings(max_examples=examples(40), deadline=None)
