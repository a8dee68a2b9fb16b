"""Results leave in the order of dispatch, each once, whatever workers do."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.errors import ProgrammingError
from agent.loop.order import ATTEMPTS, Order
from agent.types import CameraName, FrameRef
from tests.depth import examples


def frame(sequence: int) -> FrameRef:
    return FrameRef(CameraName("front"), 1, 0, sequence, sequence, 0, 0, 64, 48)


class Worker:
    pass


class OrderMachine(RuleBasedStateMachine):
    """Any interleaving of sendings, answers, failures, deaths and sendings again."""

    def __init__(self) -> None:
        super().__init__()
        self.order: Order[Worker, int] = Order()
        self.workers = [Worker(), Worker()]
        self.sent = 0
        self.delivered: list[int] = []
        self.gone: set[int] = set()

    def open_flights(self):
        return [flight for worker in self.workers for flight in self.order.flights(worker)]

    @rule(which=st.integers(0, 1))
    def send(self, which: int) -> None:
        flight = self.order.send(frame(self.sent), self.workers[which], 0)
        assert flight.ticket == self.sent
        self.sent += 1

    @precondition(lambda self: self.open_flights())
    @rule(data=st.data(), fails=st.booleans())
    def answer(self, data, fails: bool) -> None:
        flight = data.draw(st.sampled_from(self.open_flights()))
        assert self.order.claim(flight.ticket, flight.worker) is flight
        if fails:
            self.gone.add(flight.ticket)
        self.delivered += self.order.settle(flight.ticket, None if fails else flight.ticket)
        assert self.order.claim(flight.ticket, flight.worker) is None  # a second answer counts for nothing

    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        dead = self.workers[which]
        for flight in self.order.strand(dead):
            assert self.order.claim(flight.ticket, dead) is None  # a late answer of the dead counts for nothing
            if flight.attempts >= ATTEMPTS:
                self.gone.add(flight.ticket)
                self.delivered += self.order.settle(flight.ticket, None)
        self.workers[which] = Worker()

    @precondition(lambda self: self.order.stranded() is not None)
    @rule(which=st.integers(0, 1))
    def send_again(self, which: int) -> None:
        self.order.resend(self.order.stranded(), self.workers[which], 0)

    @invariant()
    def delivered_in_order_and_once(self) -> None:
        done = [ticket for ticket in range(self.sent) if ticket not in self.gone]
        assert self.delivered == done[: len(self.delivered)]

    @invariant()
    def nothing_is_held_back_behind_a_settled_head(self) -> None:
        unsettled = [flight.ticket for flight in self.open_flights()]
        if (stranded := self.order.stranded()) is not None:
            unsettled.append(stranded.ticket)
        head = min(unsettled, default=self.sent)
        assert self.delivered == [ticket for ticket in range(head) if ticket not in self.gone]
        assert len(self.order) == self.sent - head


TestOrder = OrderMachine.TestCase
TestOrder.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)


def test_a_frame_is_settled_once_only():
    order: Order[Worker, int] = Order()
    flight = order.send(frame(0), Worker(), 0)
    order.settle(flight.ticket, None)
    with pytest.raises(ProgrammingError, match="settled already"):
        order.settle(flight.ticket, None)


def test_only_a_stranded_frame_is_sent_again():
    order: Order[Worker, int] = Order()
    worker = Worker()
    flight = order.send(frame(0), worker, 0)
    with pytest.raises(ProgrammingError, match="not stranded"):
        order.resend(flight, worker, 0)
