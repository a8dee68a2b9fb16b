"""The course of one pipeline's deployment: the state it is in, how it gets into another, and who waits for its end.

The one place where a row changes. :meth:`Course.enter` makes a transition durable before it is true, and before
anything is done about it. Where the journal cannot be written, a step that would change what serves is not taken; one
that keeps the device seeing (``machine.URGENT``) is taken all the same: after a kill the journal then holds an older
state, from which boot comes to the same end. Control thread only; knows nothing of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from agent.deploy.machine import BEFORE_PROBATION, URGENT, Action, Signal, State
from agent.deploy.parts import Parts
from agent.deploy.records import Accepted, FetchProgress, OnDone, Outcome, Receipt
from agent.deploy.row import Row, advance
from agent.errors import LookoutError, StorageError
from agent.types import Digest, PipelineName

Ended = Callable[[bool, LookoutError | None], None]
"""Told that a deployment has ended: whether well, and what stood in its way, where that is known."""

log = structlog.get_logger(part="deploy")


class Course:
    """See the module. ``changed`` is called after each change of state, ``ended`` after each end of a deployment."""

    def __init__(
        self, name: PipelineName, parts: Parts, row: Row, *, changed: Callable[[], None], ended: Ended
    ) -> None:
        self.name = name
        self.row = row
        self.note: str | None = None
        """What is being waited for, in words, until the next change of state."""
        self.progress: FetchProgress | None = None
        self._parts = parts
        self._changed = changed
        self._ended = ended
        self._on_done: OnDone | None = None

    @property
    def state(self) -> State:
        """The state it is in."""
        return self.row.state

    def accepted(self, supersedes: str | None = None) -> Accepted:
        """Return the answer to an order that was taken."""
        return Accepted(self.name, self.row.reference, supersedes)

    # --- changes of state --------------------------------------------------------------------------------------------

    def begin(self, signal: Signal, on_done: OnDone | None, **changes: Any) -> str | None:
        """Begin a deployment, durably; return the reference of the one that is superseded by it, if one was under way.

        That one's end is told here, to the topic and to who ordered it; the new one's first state by the caller, with
        :meth:`tell`, once what the old one held is let go. Raises StorageError; then nothing changed.
        """
        now_ms, before = self._parts.now_ms(), self.row
        supersedes = before.reference if before.state in BEFORE_PROBATION else None
        superseded: Row | None = None
        if before.state in BEFORE_PROBATION:
            reason = f"superseded by {changes['reference']}"
            superseded, _ = advance(before, Signal.SUPERSEDE, now_ms, reason=reason)
        row, _ = advance(superseded or before, signal, now_ms, **changes)
        self._parts.journal.save(row, passed=() if superseded is None else (superseded,))
        if superseded is not None:
            self.row = superseded
            self.tell()
            self._answer_orderer(ok=False, code="superseded")
        self.row, self._on_done = row, on_done
        return supersedes

    def enter(
        self, signal: Signal, *, reason: str | None = None, quarantine: tuple[Digest, str] | None = None, **changes: Any
    ) -> Action:
        """Make a transition durable, then true. Raises StorageError where it is not durable and could do harm."""
        row, action = advance(self.row, signal, self._parts.now_ms(), reason=reason, **changes)
        try:
            self._parts.journal.save(row, quarantine=quarantine)
        except StorageError as error:
            log.error("journal.not_written", pipeline=self.name, state=row.state.value, problem=error.message)  # noqa: TRY400
            if action not in URGENT:
                raise
        self.row = row
        self.tell()
        return action

    def amend(self, **changes: Any) -> None:
        """Change the row within its state, durably first. Raises StorageError; then nothing changed."""
        row = msgspec.structs.replace(self.row, **changes)
        self._parts.journal.update(row)
        self.row = row

    def keep_receipt(self, receipt: Receipt) -> None:
        """Take a receipt that could not be made durable: the next transition writes it, or it is lost with a kill."""
        self.row = msgspec.structs.replace(self.row, receipt=receipt)

    # --- what is told ------------------------------------------------------------------------------------------------

    def say(self, note: str | None) -> None:
        """Show ``note`` in the status until the next change of state."""
        self.note = note

    def tell(self) -> None:
        """Tell the state that was entered; notes on the one before are over."""
        self.note = self.progress = None
        self._changed()

    def end(self, *, ok: bool, code: str | None = None, error: LookoutError | None = None) -> None:
        """Tell who ordered the deployment how it ended, and then whoever else wants to know."""
        self._answer_orderer(ok=ok, code=code)
        self._ended(ok, error)

    def leave(self, reason: str) -> None:
        """Tell who ordered the deployment under way that nothing comes of it for now."""
        on_done, self._on_done = self._on_done, None
        self.answer(on_done, ok=False, code="cancelled", reason=reason)

    def _answer_orderer(self, *, ok: bool, code: str | None) -> None:
        on_done, self._on_done = self._on_done, None
        self.answer(on_done, ok=ok, code=code)

    def answer(self, on_done: OnDone | None, *, ok: bool, code: str | None = None, reason: str | None = None) -> None:
        """Tell how an order ended, where somebody wants to know."""
        if on_done is None:
            return
        row = self.row
        on_done(
            Outcome(
                pipeline=self.name,
                reference=row.reference,
                ok=ok,
                state=row.state,
                reason=reason or row.reason,
                code=None if ok else code,
                receipt=row.receipt,
                current=row.current,
            )
        )
