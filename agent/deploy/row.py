"""What is durable of one pipeline's deployment, and how a signal changes it.

:func:`advance` is the whole of it: the state by ``machine.step``, the slots by the rule of each signal. ``current`` is
the release that was last committed: it is replaced only by another good one (the candidate that passed probation, or
previous), so a pipeline that once had a model never lacks one here. The candidate serves during probation while
``current`` still names the release to come back to. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.deploy.machine import Action, Signal, State, step
from agent.deploy.records import Receipt, SlotRelease
from agent.errors import ProgrammingError
from agent.types import Digest, PipelineName


class Row(msgspec.Struct, frozen=True):
    """One pipeline in the journal.

    ``force``: the deployment under way may use a quarantined digest. ``stored``: it takes its candidate from the store,
    not from the registry. ``config_model``: the last value of ``pipelines.<name>.model`` that was acted upon.
    ``agent_deaths``, ``reboot_deaths``: the agent's unexplained ends in this probation, without and with the host's.
    ``interruptions``: how often the deployment under way was cut off before probation. ``not_before_ms`` (UTC),
    ``shadow_frames`` and ``min_agreement`` are what the deploy asked for; None: not, or as configured. ``spread_ms``:
    this device's part of the time over which the deploy spreads.
    ``unload_first``: current was closed to make room for the candidate.
    """

    pipeline: PipelineName
    state: State = State.IDLE
    reference: str | None = None
    force: bool = False
    stored: bool = False
    candidate: SlotRelease | None = None
    current: SlotRelease | None = None
    previous: SlotRelease | None = None
    reason: str | None = None
    receipt: Receipt | None = None
    config_model: str | None = None
    agent_deaths: int = 0
    reboot_deaths: int = 0
    interruptions: int = 0
    updated_at_ms: int = 0
    not_before_ms: int | None = None
    shadow_frames: int | None = None
    min_agreement: float | None = None
    unload_first: bool = False
    spread_ms: int | None = None

    def begins_ms(self) -> int | None:
        """Return when a deferred deployment begins, UTC; None for any other."""
        if self.state is not State.DEFERRED:
            return None
        part_ms = self.spread_ms or 0
        return max(self.not_before_ms or 0, self.updated_at_ms if part_ms else 0) + part_ms

    def slots(self) -> frozenset[Digest]:
        """Return the digests that the store must keep for this pipeline."""
        return frozenset(slot.digest for slot in (self.candidate, self.current, self.previous) if slot is not None)


_STARTS = frozenset({Signal.DEPLOY, Signal.LATER})
_ENDS_CANDIDATE = frozenset({Signal.FAULT, Signal.SUPERSEDE, Signal.CANCEL, Signal.REJECT, Signal.ALREADY_CURRENT})


def _slots(row: Row, signal: Signal, *, keep_former: bool) -> dict[str, Any]:
    """Return what ``signal`` does to the slots and counters."""
    if signal in _STARTS:
        return {
            "candidate": None, "receipt": None, "stored": False,
            "agent_deaths": 0, "reboot_deaths": 0, "interruptions": 0,
            "not_before_ms": None, "shadow_frames": None, "min_agreement": None, "unload_first": False,
            "spread_ms": None,
        }  # fmt: skip
    if signal is Signal.RESUME:
        return {"unload_first": False} if row.stored else {"unload_first": False, "candidate": None}
    if signal in _ENDS_CANDIDATE or (signal is Signal.WITHDRAW and row.state is State.PROBATION):
        return {"candidate": None, "force": False}
    if signal is Signal.COMMIT:
        if row.candidate is None:
            raise ProgrammingError(f"pipeline {row.pipeline!r}: commit without a candidate")
        same = row.current is not None and row.current.digest == row.candidate.digest
        return {
            "current": row.candidate, "previous": row.previous if same else row.current,
            "candidate": None, "force": False,
        }  # fmt: skip
    if signal is Signal.WITHDRAW:
        if row.previous is None:
            raise ProgrammingError(f"pipeline {row.pipeline!r}: withdraw without a previous release")
        return {"current": row.previous, "previous": row.current if keep_former else None}
    return {}


def advance(
    row: Row, signal: Signal, at_ms: int, *, reason: str | None = None, keep_former: bool = False, **changes: Any
) -> tuple[Row, Action]:
    """Return the row after ``signal``, and what to do once it is durable.

    ``keep_former`` (WITHDRAW only): the release given up stays as previous. ``changes`` sets further fields (reference,
    force, candidate, receipt, config_model). Raises :class:`ProgrammingError` for an illegal pair.
    """
    state, action = step(row.state, signal)
    fields = {**_slots(row, signal, keep_former=keep_former), **changes}
    return msgspec.structs.replace(row, state=state, reason=reason, updated_at_ms=at_ms, **fields), action
