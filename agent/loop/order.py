"""Frames between dispatch and delivery: the one place where results are put back in order. Pure.

Each frame that is sent to a worker gets a ticket; tickets count up in the order of dispatch, and outcomes leave in the
order of the tickets whatever worker gave them and whenever. A frame belongs to one worker at a time: an answer counts
only when it comes from the worker that holds the frame (:meth:`Order.claim`), so that a frame which was sent again
after a death is never answered twice. A worker that died or hung strands its frames (:meth:`Order.strand`): those wait
for another worker, at most :data:`ATTEMPTS` sendings in all; the caller settles the rest without an outcome, as lost.

Every ticket is settled exactly once. One owner thread. ``W`` is compared by identity.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.errors import ProgrammingError
from agent.types import FrameRef

ATTEMPTS = 2
"""How often a frame is sent at most: the worker that dies twice on one frame was killed by that frame."""

W = TypeVar("W")
T = TypeVar("T")


@dataclass(slots=True)
class Flight(Generic[W]):
    """A frame on its way. ``worker`` is None while it is stranded; ``sent_ns`` is of the latest sending."""

    ticket: int
    frame: FrameRef
    worker: W | None
    sent_ns: int
    attempts: int = 1


class Order(Generic[W, T]):
    """Open tickets of one pipeline, and outcomes held until those before them are settled."""

    def __init__(self) -> None:
        self._next_ticket = 0
        self._open: dict[int, Flight[W]] = {}
        self._line: deque[int] = deque()
        self._held: dict[int, T | None] = {}

    def __len__(self) -> int:
        """Frames dispatched and not delivered: open ones and outcomes that are held."""
        return len(self._line)

    @property
    def open(self) -> int:
        """Frames without an outcome."""
        return len(self._open)

    def send(self, frame: FrameRef, worker: W, now_ns: int) -> Flight[W]:
        """Note that ``frame`` was sent to ``worker``; the flight's ticket is the request's number."""
        flight = Flight(self._next_ticket, frame, worker, now_ns)
        self._next_ticket += 1
        self._open[flight.ticket] = flight
        self._line.append(flight.ticket)
        return flight

    def resend(self, flight: Flight[W], worker: W, now_ns: int) -> None:
        """Note that a stranded frame was sent again."""
        if flight.worker is not None or flight.attempts >= ATTEMPTS:
            raise ProgrammingError(f"frame {flight.ticket} is not stranded or was sent {ATTEMPTS} times already")
        flight.worker = worker
        flight.sent_ns = now_ns
        flight.attempts += 1

    def claim(self, ticket: int, worker: W) -> Flight[W] | None:
        """Return the flight that ``worker`` answers with ``ticket``, None where that answer is stale."""
        flight = self._open.get(ticket)
        return flight if flight is not None and flight.worker is worker else None

    def settle(self, ticket: int, outcome: T | None) -> list[T]:
        """Close ``ticket`` (None: nothing to deliver, failed or lost); return what can be delivered now, in order."""
        if self._open.pop(ticket, None) is None:
            raise ProgrammingError(f"frame {ticket} was settled already or never sent")
        self._held[ticket] = outcome
        delivered: list[T] = []
        while self._line and self._line[0] in self._held:
            head = self._held.pop(self._line.popleft())
            if head is not None:
                delivered.append(head)
        return delivered

    def strand(self, worker: W) -> list[Flight[W]]:
        """Take the frames of a worker that will not answer away from it; return them, in order."""
        stranded = [flight for flight in self._open.values() if flight.worker is worker]
        for flight in stranded:
            flight.worker = None
        return stranded

    def stranded(self) -> Flight[W] | None:
        """Return the first frame that waits to be sent again."""
        return next((flight for flight in self._open.values() if flight.worker is None), None)

    def flights(self, worker: W) -> list[Flight[W]]:
        """Return the frames ``worker`` holds, in order."""
        return [flight for flight in self._open.values() if flight.worker is worker]
