"""A deployment that waits for a clock that can be believed. Control thread only."""

from __future__ import annotations

from typing import Protocol

from agent.clock import NS_PER_S
from agent.deploy.course import Course
from agent.deploy.machine import State
from agent.deploy.parts import Parts
from agent.deploy.timers import Timers

CLOCK_S = 5.0
"""How often a clock that is not believed is looked at again: the kernel tells nobody when it is synchronised."""


class Owner(Protocol):
    """The deployment's way to its probation, as far as the wait needs it."""

    def wait_for_clock(self, doubt: str) -> None:
        """Show, durably, that the deployment waits."""
        ...

    def clock_is_right(self) -> None:
        """Go on."""
        ...


class ClockWait:
    """The wait of one pipeline."""

    def __init__(self, parts: Parts, timers: Timers, course: Course, owner: Owner) -> None:
        self._parts = parts
        self._timers = timers
        self._course = course
        self._owner = owner

    def must_wait(self) -> bool:
        """Return whether the deployment must wait for the clock; it then goes on by itself."""
        doubt = self._parts.clock_doubt()
        if doubt is None:
            return False
        self._owner.wait_for_clock(doubt)
        if self._course.state is State.WAITING_FOR_CLOCK:
            self._look_later()
        return True

    def _look_later(self) -> None:
        self._timers.set("clock", self._parts.now_ns() + round(CLOCK_S * NS_PER_S), self._look)

    def _look(self) -> None:
        if self._course.state is not State.WAITING_FOR_CLOCK:
            return
        if self._parts.clock_doubt() is None:
            self._owner.clock_is_right()
        else:
            self._look_later()
