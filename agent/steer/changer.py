"""Takes changes into force, one at a time: durable, applied, on probation, and kept or undone.

The order is the promise. A change lies in the record *before* any part hears of it, so that after a kill the next start
goes back to what held before; the parts are told next; what touches broker, device, cameras, model or rate is then on
probation for ``remote.confirm_s``, everything else is kept at once. An undone change is written first, too, and then
applied backwards; where a part cannot even go back, the agent starts again with what the record says. A change that
holds only from the next start on is judged after that start; what of it takes effect at once is judged besides.

One thread calls; :attr:`Changer.now` is a frozen record that any thread may read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from agent.config.changes import Trial
from agent.config.confirm import Keep, Undo, Vitals
from agent.config.guarded import changed_keys
from agent.config.keypath import dotted
from agent.config.layers import Loaded
from agent.config.record import ConfigRecord
from agent.errors import LookoutError, StorageError
from agent.steer.answers import Changed, Confirmed, NotApplied, NothingPending, OldConnection, OnProbation, Pending
from agent.steer.inforce import InForce, leaves, not_used, waiting_for_restart, went_back_to
from agent.steer.proposals import Proposal
from agent.steer.trial import Applier, Plan, Running, Watch, from_now, pending_of

log = structlog.get_logger(part="config")


class Changer:
    """See the module. ``tell`` is called whenever :attr:`now` has changed; ``restart`` has the agent start again."""

    def __init__(
        self,
        now: InForce,
        record: ConfigRecord,
        *,
        applier: Applier,
        vitals: Callable[[], Vitals],
        tell: Callable[[], None],
        restart: Callable[[str], None],
        now_ns: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self.now = now
        self._booted = now.loaded
        self._record = record
        self._applier = applier
        self._vitals = vitals
        self._tell = tell
        self._restart = restart
        self._now_ns = now_ns
        self._now_ms = now_ms
        self._running: Running | None = None
        self._watch = Watch(vitals, now_ns)

    @property
    def pending(self) -> Pending | None:
        """The change on probation, with the time that it has left."""
        pending, left_s = self.now.pending, self._watch.left_s
        if pending is None or left_s is None:
            return pending
        return msgspec.structs.replace(pending, left_s=round(left_s, 1))

    @property
    def before_pending(self) -> int | None:
        """The revision that held before the change that is not settled."""
        return None if self._running is None or self._running.former is None else self._running.former.revision

    # --- taking a change ---------------------------------------------------------------------------------------------

    def refuse_while_pending(self) -> None:
        """Raise OnProbation while another change has not proved good."""
        pending = self.pending
        if pending is not None:
            when = "until the next start of the agent" if pending.left_s is None else f"for {pending.left_s:.0f} s more"
            raise OnProbation(
                f"revision {pending.revision} is on probation {when}; send config/confirm or config/revert, or wait"
            )

    def preview(self, proposal: Proposal) -> Changed:
        """Return what :meth:`take` would answer, and do nothing."""
        now = self.now
        paths = changed_keys(now.loaded.config, proposal.loaded.config)
        plan = Plan.of(paths, from_afar=True)
        pending = pending_of(proposal, plan, now.revision + 1, self._now_ms()) if plan.whole.on_probation else None
        waiting = waiting_for_restart(self._booted, proposal.loaded, now.restart_needed)
        return Changed(now.revision, leaves(now.loaded, proposal.loaded), pending, waiting, dry_run=True)

    def take(self, proposal: Proposal, answered: Callable[[Changed], None] = lambda _: None) -> Changed:
        """Put a proposal in force, on probation where it must be.

        ``answered`` is called before the parts are told of a change that may end the connection. Raises OnProbation,
        StorageError (nothing changed), NotApplied (undone already).
        """
        self.refuse_while_pending()
        was = self.now
        paths = changed_keys(was.loaded.config, proposal.loaded.config)
        if not paths:
            return self._take_quietly(proposal)
        plan = Plan.of(paths, from_afar=proposal.kind != "file")
        self._enter(proposal, plan, self._vitals() if plan.whole.on_probation else None)
        if plan.soon.needs_confirm:
            answered(self.changed_since(was))
        self._apply(was.loaded, proposal.loaded)
        self._begin(plan)
        return self.changed_since(was)

    def _take_quietly(self, proposal: Proposal) -> Changed:
        """Take note of what changes nothing in force: a comment in the file, the stamp of a ``desired``."""
        was = self.now
        if proposal.overlay != was.overlay:
            standing = self._record.advance(
                overlay=proposal.overlay, text=proposal.text, who=proposal.who, kind=proposal.kind, paths=(),
                at_ms=self._now_ms(),
            )  # fmt: skip
        elif proposal.digest != was.digest:
            standing = self._record.same_file(proposal.text)
        else:
            self._set(errors=())
            return Changed(was.revision, ())
        self._set(
            loaded=proposal.loaded, text=proposal.text, digest=standing.file, overlay=proposal.overlay,
            revision=standing.revision, state="committed", reason="", errors=proposal.notes, refused=None,
            file="" if proposal.kind == "file" else was.file,
        )  # fmt: skip
        return Changed(standing.revision, ())

    def _enter(self, proposal: Proposal, plan: Plan, vitals: Vitals | None) -> None:
        """Make the change durable, and then true."""
        was, paths = self.now, tuple(map(dotted, plan.paths))
        standing = self._record.advance(
            overlay=proposal.overlay, text=proposal.text, who=proposal.who, kind=proposal.kind, paths=paths,
            at_ms=self._now_ms(), trial=Trial(plan.whole.needs_confirm, plan.for_restart, vitals),
        )  # fmt: skip
        log.info("config.changes", revision=standing.revision, kind=proposal.kind, who=proposal.who, paths=paths)
        self._running = Running(was, plan.for_restart, vitals)
        went_back = proposal.kind == "revert" and standing.file != was.digest
        self.now = replace(
            self.now, loaded=proposal.loaded, text=proposal.text, digest=standing.file, overlay=proposal.overlay,
            revision=standing.revision, state="probation", reason="", errors=proposal.notes, refused=None,
            pending=pending_of(proposal, plan, standing.revision, self._now_ms()) if plan.whole.on_probation else None,
            file="" if proposal.kind == "file" else went_back_to(standing.revision) if went_back else was.file,
            restart_needed=waiting_for_restart(self._booted, proposal.loaded, was.restart_needed),
        )  # fmt: skip
        if plan.whole.on_probation:  # else it is told once it holds
            self._tell()

    def _apply(self, before: Loaded, after: Loaded) -> None:
        try:
            told = self._applier.apply(before, after)
        except LookoutError as error:
            log.warning("config.not_applied", revision=self.now.revision, reason=error.message)
            self.undo(f"not applied: {error.message}")
            raise NotApplied(f"{error.message}; what held before holds again", field=error.field) from error
        waiting = waiting_for_restart(self._booted, after, (*told, *self.now.restart_needed))
        if waiting != self.now.restart_needed:
            self._set(restart_needed=waiting)

    def _begin(self, plan: Plan) -> None:
        """Begin the probation, or keep what needs none."""
        running = self._running
        assert running is not None
        if plan.soon.on_probation:
            session = 0 if running.before is None else running.before.session
            self._watch_over(running, session=session, needs_confirm=plan.soon.needs_confirm)
        elif not plan.for_restart:
            self._keep(None)

    def _watch_over(self, running: Running, *, session: int, needs_confirm: bool) -> None:
        now, pending = self.now, self.now.pending
        assert pending is not None
        self._watch.begin(running, now.revision, now.loaded, session=session, needs_confirm=needs_confirm)
        self._set(pending=from_now(pending, now.loaded, self._now_ms()))

    # --- proving good ------------------------------------------------------------------------------------------------

    def next_ns(self) -> int | None:
        """Return when :meth:`look` has something to do."""
        return self._watch.next_ns()

    def look(self) -> None:
        """Judge the change on probation, where that is due."""
        due_ns = self._watch.next_ns()
        if due_ns is not None and self._now_ns() >= due_ns:
            self._judge()

    def confirm(self, revision: int, session: int) -> Confirmed:
        """Take a ``config/confirm`` that came over connection number ``session``. Raises CommandError."""
        pending = self.now.pending
        if pending is None or pending.revision != revision:
            said = "no change is on probation" if pending is None else f"revision {pending.revision} is on probation"
            raise NothingPending(f"revision {revision} cannot be confirmed: {said}", field="args.revision")
        if not self._watch.on:
            raise NothingPending(
                f"revision {revision} takes effect with the next start of the agent: send device/restart, then confirm",
                field="args.revision",
            )
        if self._watch.confirmed(revision, session) == "old_session":
            raise OldConnection(
                f"revision {revision} must be confirmed over a connection that the device made after the change"
            )
        log.info("config.confirmed", revision=revision)
        self._judge()
        return Confirmed(revision, self.now.state == "committed" and self.now.revision == revision, self.pending)

    def _judge(self) -> None:
        assert self._running is not None
        verdict, vitals = self._watch.judge()
        if isinstance(verdict, Undo):
            self.undo(verdict.reason)
        elif isinstance(verdict, Keep) and self._running.for_restart:
            self._await_restart()
        elif isinstance(verdict, Keep):
            self._keep(vitals)

    def _await_restart(self) -> None:
        """Go on waiting for the start after which the rest of the change is judged."""
        pending = self.now.pending
        assert pending is not None
        self._watch.end()
        self._set(pending=msgspec.structs.replace(pending, until=None, left_s=None, begins="restart"))

    def _keep(self, vitals: Vitals | None) -> None:
        """Settle the change as good; one on probation that cannot be settled on the disk is looked at again."""
        try:
            self._record.keep(vitals)
        except StorageError as error:
            log.error("config.not_kept", revision=self.now.revision, reason=error.message)  # noqa: TRY400 - says it all
            if not self._watch.on:
                self.undo(f"not kept: {error.message}")
            return
        log.info("config.kept", revision=self.now.revision)
        self._running = None
        self._watch.end()
        self._set(state="committed", reason="", pending=None)

    # --- undoing -----------------------------------------------------------------------------------------------------

    def undo(self, reason: str, who: str = "lookout") -> None:
        """Go back to what held before the change that is not settled. Raises NothingPending."""
        running, undone = self._running, self.now
        if running is None:
            raise NothingPending("no change is on probation; name the revision to go back to", field="args.revision")
        revision = self._undo_in_record(reason, who)
        log.warning("config.undone", revision=undone.revision, reason=reason, who=who)
        self._running = None
        self._watch.end()
        former = running.former
        if former is None:
            self._restart(f"a change was undone: {reason}")
            return
        stamp = (undone.overlay.epoch, undone.overlay.version)
        newer = stamp > (former.overlay.epoch, former.overlay.version)
        self.now = replace(
            former, revision=revision, state="reverted", reason=reason, pending=None,
            refused=stamp if newer else None,
            file=former.file if undone.digest == former.digest else not_used(reason),
            restart_needed=waiting_for_restart(self._booted, former.loaded, undone.restart_needed),
        )  # fmt: skip
        self._tell()
        self._put_back(undone, former)

    def _undo_in_record(self, reason: str, who: str) -> int:
        try:
            return self._record.undo(reason, at_ms=self._now_ms(), who=who).revision
        except StorageError as error:  # the record then still has the change on probation: the next start undoes it
            log.error("config.undo_not_written", reason=error.message)  # noqa: TRY400 - says it all
            return self.now.revision + 1

    def _put_back(self, undone: InForce, former: InForce) -> None:
        try:
            self._applier.apply(undone.loaded, former.loaded)
        except LookoutError as error:
            log.error("config.not_put_back", reason=error.message)  # noqa: TRY400 - says it all
            self._restart(f"the former configuration could not be put back: {error.message}")
            return
        if set(self.now.restart_needed) - set(former.restart_needed):
            self._restart(f"what was undone holds until a restart: {', '.join(self.now.restart_needed)}")

    # --- what is no change -------------------------------------------------------------------------------------------

    def note(self, **changes: Any) -> None:
        """Take note of what was refused, or of what became of the models that are wanted; in force stays what is."""
        self._set(**changes)

    def resume(self, former: InForce | None, before: Vitals | None, pending: Pending) -> None:
        """Go on with a change that the agent started with: its probation begins now."""
        self._running = Running(former, for_restart=False, before=before)
        self._set(state="probation", pending=pending)
        self._watch_over(self._running, session=0, needs_confirm=pending.needs_confirm)

    def plan_restart(self) -> None:
        """Take note that the agent ends and starts again: a change on probation begins it anew. Raises StorageError."""
        if self._running is not None:
            self._record.plan_restart()

    def remember(self) -> None:
        """Remember how the device does while its configuration is good: what an edit during a stop is judged by."""
        if self._running is not None:
            return
        try:
            self._record.remember(self._vitals())
        except StorageError as error:
            log.warning("config.not_remembered", reason=error.message)

    def changed_since(self, was: InForce) -> Changed:
        """Return the answer to who changed something."""
        now = self.now
        return Changed(now.revision, leaves(was.loaded, now.loaded), self.pending, now.restart_needed)

    def _set(self, **changes: Any) -> None:
        self.now = replace(self.now, **changes)
        self._tell()
