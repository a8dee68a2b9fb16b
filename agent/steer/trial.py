"""How a change must prove itself, and the watch over it while it does. One thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from agent.clock import NS_PER_S, rfc3339
from agent.config.confirm import ConfigProbation, Confirmation, Keep, Undo, Vitals, Waiting
from agent.config.expected import expectations
from agent.config.guarded import Guard, guards
from agent.config.keypath import KeyPath, dotted
from agent.config.layers import Loaded
from agent.steer.answers import Pending
from agent.steer.inforce import InForce, needs_restart
from agent.steer.proposals import Proposal

MAX_PATHS = 50
"""Keys that are listed of a change on probation."""

LOOK_NS = NS_PER_S
"""How often the device is looked at while a change is on probation."""


class Applier(Protocol):
    """Has the parts take up a configuration."""

    def apply(self, before: Loaded, after: Loaded) -> tuple[str, ...]:
        """Tell every part what changed; return the dotted keys that wait for a restart. Raises LookoutError."""
        ...


@dataclass(frozen=True)
class Plan:
    """How a change must prove itself: ``whole`` as it is, ``soon`` that of it which takes effect without a restart.

    ``for_restart``: a part of it proves itself after the next start only.
    """

    paths: tuple[KeyPath, ...]
    whole: Guard
    soon: Guard
    for_restart: bool

    @classmethod
    def of(cls, paths: tuple[KeyPath, ...], *, from_afar: bool) -> Plan:
        """Look at the keys of a change; ``from_afar``: it came through the broker."""
        later = tuple(path for path in paths if needs_restart(path))
        soon = tuple(path for path in paths if path not in later)
        return cls(
            paths,
            guards(paths, from_afar=from_afar),
            guards(soon, from_afar=from_afar),
            guards(later).on_probation,
        )


@dataclass(frozen=True)
class Running:
    """A change that is not settled yet: what holds again where it is undone, and what it waits for.

    ``former`` None: what held before a start of the agent cannot be read; only the next start can go back.
    ``before``: how the device did just before.
    """

    former: InForce | None
    for_restart: bool
    before: Vitals | None


def pending_of(proposal: Proposal, plan: Plan, revision: int, now_ms: int) -> Pending:
    """Return what is told of a change that goes on probation."""
    paths = tuple(map(dotted, plan.paths))[:MAX_PATHS]
    pending = Pending(revision, proposal.kind, paths, plan.whole.needs_confirm, begins="restart")
    return from_now(pending, proposal.loaded, now_ms) if plan.soon.on_probation else pending


def from_now(pending: Pending, loaded: Loaded, now_ms: int) -> Pending:
    """Say when a change that begins its probation now is undone."""
    confirm_s = loaded.config.remote.confirm_s
    until = rfc3339(now_ms + round(confirm_s * 1000))
    return msgspec.structs.replace(pending, until=until, left_s=confirm_s, begins="now")


class Watch:
    """The watch over one change, from :meth:`begin` to :meth:`end`."""

    def __init__(self, vitals: Callable[[], Vitals], now_ns: Callable[[], int]) -> None:
        self._vitals = vitals
        self._now_ns = now_ns
        self._probation: ConfigProbation | None = None
        self._look_ns = 0

    @property
    def on(self) -> bool:
        """Whether a change is watched."""
        return self._probation is not None

    @property
    def left_s(self) -> float | None:
        """How long it still has; None where nothing is watched."""
        probation = self._probation
        return None if probation is None else max(0, probation.until_ns - self._now_ns()) / NS_PER_S

    def begin(self, running: Running, revision: int, loaded: Loaded, *, needs_confirm: bool, session: int) -> None:
        """Watch a change that has just been applied; only a connection after number ``session`` is a new one."""
        former = running.former
        now_ns = self._now_ns()
        self._probation = ConfigProbation(
            revision,
            before=running.before,
            expected=expectations(None if former is None else former.loaded.config, loaded.config),
            began_ns=now_ns,
            confirm_s=loaded.config.remote.confirm_s,
            needs_confirm=needs_confirm,
            session=session,
            connects=loaded.config.mqtt.host is not None,
        )
        self._look_ns = now_ns + LOOK_NS

    def end(self) -> None:
        """Watch no longer."""
        self._probation = None

    def next_ns(self) -> int | None:
        """Return when the device must be looked at again."""
        if self._probation is None:
            return None
        until_ns = self._probation.until_ns
        return until_ns if self._look_ns - LOOK_NS < until_ns < self._look_ns else self._look_ns

    def confirmed(self, revision: int, session: int) -> Confirmation:
        """Take a confirmation that came over connection number ``session``."""
        return "not_pending" if self._probation is None else self._probation.confirmed(revision, session)

    def judge(self) -> tuple[Waiting | Keep | Undo, Vitals]:
        """Look at the device, and judge by it. Something must be watched."""
        assert self._probation is not None
        now_ns, vitals = self._now_ns(), self._vitals()
        self._look_ns = now_ns + LOOK_NS
        return self._probation.judge(now_ns, vitals), vitals
