"""The ledger of slots: never two writers, never a writer beside a reader, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.errors import ProgrammingError
from agent.process.leases import LeaseCounts, Leases
from tests.depth import examples

SLOTS = 5
READERS = ("old", "new", "shadow")
slots = st.integers(0, SLOTS - 1)
readers = st.sampled_from(READERS)


class LedgerMachine(RuleBasedStateMachine):
    """Every move, legal or not, against the most obvious model: who writes, what is ready, who reads what."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(SLOTS)
        self.writing: set[int] = set()
        self.ready: set[int] = set()
        self.reading: dict[int, set[str]] = {}

    def attempt(self, legal: bool, move, *arguments) -> bool:
        if legal:
            move(*arguments)
        else:
            with pytest.raises(ProgrammingError, match=f"slot {arguments[0]}"):
                move(*arguments)
        return legal

    @rule()
    def grant(self) -> None:
        busy = self.writing | self.ready | set(self.reading)
        slot = self.leases.grant()
        if slot is None:
            assert len(busy) == SLOTS
        else:
            assert slot not in busy
            self.writing.add(slot)

    @rule(slot=slots)
    def make_ready(self, slot: int) -> None:
        if self.attempt(slot in self.writing, self.leases.ready, slot):
            self.writing.remove(slot)
            self.ready.add(slot)

    @rule(slot=slots, reader=readers)
    def lease(self, slot: int, reader: str) -> None:
        legal = slot in self.ready or (slot in self.reading and reader not in self.reading[slot])
        if self.attempt(legal, self.leases.lease, slot, reader):
            self.ready.discard(slot)
            self.reading.setdefault(slot, set()).add(reader)

    @rule(slot=slots, reader=readers)
    def release(self, slot: int, reader: str) -> None:
        if self.attempt(reader in self.reading.get(slot, ()), self.leases.release, slot, reader):
            self.forget(slot, reader)

    @rule(slot=slots)
    def discard(self, slot: int) -> None:
        if self.attempt(slot in self.ready, self.leases.discard, slot):
            self.ready.remove(slot)

    @rule(reader=readers)
    def reader_reaped(self, reader: str) -> None:
        alone = {slot for slot, who in self.reading.items() if who == {reader}}
        assert set(self.leases.reclaim(reader)) == alone
        for slot in [slot for slot, who in self.reading.items() if reader in who]:
            self.forget(slot, reader)

    @rule()
    def writer_reaped(self) -> None:
        assert set(self.leases.reclaim_writer()) == self.writing
        self.writing.clear()

    def forget(self, slot: int, reader: str) -> None:
        self.reading[slot].remove(reader)
        if not self.reading[slot]:
            del self.reading[slot]

    @invariant()
    def counts_add_up(self) -> None:
        counts = self.leases.counts()
        free = SLOTS - len(self.writing) - len(self.ready) - len(self.reading)
        assert counts == LeaseCounts(free, len(self.writing), len(self.ready), len(self.reading))
        assert sum(counts) == SLOTS

    def teardown(self) -> None:
        for reader in READERS:
            self.leases.reclaim(reader)
        self.leases.reclaim_writer()
        for slot in self.ready:
            self.leases.discard(slot)
        assert self.leases.counts().free == SLOTS


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)


def test_a_slot_that_does_not_exist_is_named():
    with pytest.raises(ProgrammingError, match="slot 9 does not exist"):
        Leases(2).ready(9)


def test_the_slot_freed_last_is_granted_first():
    leases = Leases(3)
    first = leases.grant()
    assert first is not None
    leases.ready(first)
    leases.discard(first)
    assert leases.grant() == first
