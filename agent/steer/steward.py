"""The steward of the configuration: everything that changes it comes here, one thing after another.

Thread ``lookout-config`` owns all state. The verbs ``config/*`` are orders to it, answered when they are done; what
comes on ``desired``, a changed file and news of deployments are posted, of each kind the newest only. While a change is
on probation a patch is refused as busy; a file and a ``desired`` wait, again the newest, until it has ended. A change
that may end the connection is answered over the old one first.

``reported`` follows every change of :attr:`Steward.now`; the publisher keeps it, so that it also reaches a broker that
the device comes back to. How changes are taken, proved and undone is :mod:`agent.steer.changer`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from agent.clock import NS_PER_S, monotonic_ns, utc_ms
from agent.config import desired as overlays
from agent.config.boot import Chosen
from agent.config.confirm import Vitals
from agent.config.layers import Loaded
from agent.deploy.lanes import Inbox
from agent.deploy.records import DeploymentStatus
from agent.errors import LookoutError, StorageError
from agent.link.forms import ConfigConfirm, ConfigGet, ConfigPatch, ConfigRevert
from agent.link.verbs import Deferred
from agent.link.wire import Incoming, NoPulse, Pulse
from agent.steer.answering import Answer
from agent.steer.answers import Changed, ConfigView, ManagedByDesired, Stopping, UnknownRevision
from agent.steer.changer import Changer
from agent.steer.edits import Edits
from agent.steer.inforce import InForce, reported, view
from agent.steer.proposals import Composer, Proposal
from agent.steer.starting import begun_with, resumed
from agent.steer.trial import Applier
from agent.steer.wanted import Deployments, Wanted
from agent.types import Outgoing, PipelineName

log = structlog.get_logger(part="config")

IDLE_S = 30.0
"""How long the thread waits at a time: only so that its heartbeat is renewed."""

BUSY_S = 120.0
"""How long a change may take; parts wait for one another meanwhile."""

LEAVE_S = 2.0
"""How long an answer may take to leave before the connection is changed."""

STOP_S = 5.0

WHO = "mqtt"
"""Who a change of nobody's is from."""


class Steward:
    """Owns the thread ``lookout-config``; see the module. Every method but those marked may be called by any thread."""

    def __init__(
        self,
        chosen: Chosen,
        *,
        environ: Mapping[str, str],
        applier: Applier,
        vitals: Callable[[], Vitals],
        deployments: Deployments,
        publish: Callable[[Outgoing], None],
        restart: Callable[[str], None],
        drained: Callable[[float], bool] = lambda _: True,
        now_ns: Callable[[], int] = monotonic_ns,
        now_ms: Callable[[], int] = utc_ms,
        pulse: Pulse | None = None,
    ) -> None:
        """``restart`` ends the agent and starts it again; ``drained`` waits until what was published has left."""
        self._chosen = chosen
        self._record = chosen.record
        self._composer = Composer(chosen.loaded.file, environ)
        self._vitals = vitals
        self._publish = publish
        self._restart = restart
        self._drained = drained
        self._now_ns = now_ns
        self._pulse = pulse or NoPulse()
        self._inbox = Inbox()
        self._stopping = self._crashed = False
        self._remember_ns: int | None = None
        self._changer = Changer(
            begun_with(chosen),
            chosen.record,
            applier=applier,
            vitals=vitals,
            tell=self._tell,
            restart=restart,
            now_ns=now_ns,
            now_ms=now_ms,
        )
        self._edits = Edits(self._changer, self._composer, chosen.record)
        self._wanted = Wanted(self._changer, self._composer, chosen.record, deployments)
        self._thread = threading.Thread(target=self._run, name="lookout-config", daemon=True)

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Tell what is in force, go on with what was begun before the start, and look at the file once."""
        self._inbox.post(self._begin)
        self._inbox.post(self._edits.look, key="file")
        self._thread.start()

    def stop(self) -> None:
        """End; idempotent. A change on probation begins it anew at the next start: a stop in order is no fault."""
        if self._stopping or not self._thread.is_alive():
            return
        self._inbox.post(self._end)
        self._thread.join(STOP_S)

    def _begin(self) -> None:
        self._tell()
        resume = self._chosen.resume
        if resume is not None:
            self._changer.resume(*resumed(self._chosen, resume))
        confirm_s = self.loaded.config.remote.confirm_s
        self._remember_ns = self._now_ns() + round(confirm_s * NS_PER_S)

    def _end(self) -> None:
        self._stopping = True
        if self._crashed:
            return
        try:
            self._changer.plan_restart()
        except StorageError as error:  # the change is then undone at the next start
            log.error("config.restart_not_planned", reason=error.message)  # noqa: TRY400 - says it all

    # --- what is in force --------------------------------------------------------------------------------------------

    @property
    def now(self) -> InForce:
        """What is in force, and how it stands."""
        return self._changer.now

    @property
    def loaded(self) -> Loaded:
        """The configuration in force."""
        return self._changer.now.loaded

    @property
    def revision(self) -> int:
        """The revision in force."""
        return self._changer.now.revision

    def refuse_managed(self, pipeline: PipelineName) -> None:
        """Raise ManagedByDesired where ``desired`` names the model of a pipeline."""
        wanted = self._changer.now.overlay.models.get(pipeline)
        if wanted is not None:
            raise ManagedByDesired(
                f"pipeline {pipeline!r}: desired wants {wanted}; publish a desired with a higher version instead",
                field="args.pipeline",
            )

    # --- orders: handlers of the verbs -------------------------------------------------------------------------------

    def get(self, args: ConfigGet) -> ConfigView:
        """Answer ``config/get``. Raises CommandError, StorageError."""
        history = self._record.history() if args.history else None
        return view(self._changer.now, self._changer.pending, args.path, history)

    def patch(self, args: ConfigPatch) -> Deferred:
        """Take ``config/patch`` on."""
        return self._order(lambda answer: self._patch(args, answer))

    def confirm(self, args: ConfigConfirm) -> Deferred:
        """Take ``config/confirm`` on; the connection that counts is the one that it has come over."""
        session = self._vitals().session
        return self._order(lambda answer: answer.answer(self._changer.confirm(args.revision, session)))

    def revert(self, args: ConfigRevert) -> Deferred:
        """Take ``config/revert`` on."""
        return self._order(lambda answer: self._revert(args, answer))

    # --- news: posted, the newest of each kind counts ----------------------------------------------------------------

    def desired(self, incoming: Incoming) -> None:
        """Take what came on ``desired``. It is acknowledged at once: being retained, it comes with each connection."""
        incoming.acknowledge()
        self._inbox.post(lambda: self._wanted.receive(incoming.payload), key="desired")

    def file_changed(self) -> None:
        """Take note that the file may have changed."""
        self._inbox.post(self._edits.look, key="file")

    def deployment(self, _: DeploymentStatus) -> None:
        """Take note of a deployment's news."""
        self._inbox.post(self._wanted.look_at_models, key="models")

    # --- on the thread lookout-config --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            message = self._inbox.receive(self._patience_s())
            self._pulse.waiting(BUSY_S)
            try:
                if message is not None:
                    message()
                self._look()
            except Exception:  # the thread's last line: what is half applied must not stay so
                log.exception("config.crashed")
                self._crashed = True
                self._restart("a fault of the agent while it changed its configuration")

    def _patience_s(self) -> float:
        """Return how long the inbox may be waited for."""
        due = [at for at in (self._changer.next_ns(), self._remember_ns) if at is not None]
        left_s = min((max(0.0, (at - self._now_ns()) / NS_PER_S) for at in due), default=IDLE_S)
        self._pulse.waiting(IDLE_S)
        return min(IDLE_S, left_s)

    def _look(self) -> None:
        """Do what is due, and what waited for the end of a probation."""
        self._changer.look()
        if self._remember_ns is not None and self._now_ns() >= self._remember_ns:
            self._remember_ns = None
            self._changer.remember()
        if self._changer.now.pending is not None:
            return
        if self._edits.waits:
            self._edits.look()
        else:
            self._wanted.go_on()

    def _order(self, order: Callable[[Answer], None]) -> Deferred:
        answer = Answer()

        def run() -> None:
            try:
                order(answer)
            except LookoutError as error:
                answer.fail(error)

        if self._stopping or not self._thread.is_alive():
            answer.fail(Stopping("the agent is starting or stopping; try again when it runs"))
        else:
            self._inbox.request(run)
        return answer

    def _tell(self) -> None:
        message = reported(self._changer.now)
        self._publish(
            Outgoing("reported", message, qos=1, retain=True, stream="reported", priority=10, replaces="reported")
        )

    # --- patches and reverts -----------------------------------------------------------------------------------------

    def _patch(self, args: ConfigPatch, answer: Answer) -> None:
        if not args.dry_run:
            self._changer.refuse_while_pending()
        now = self._changer.now
        proposal = self._composer.propose("patch", args.who or WHO, overlays.patched(now.overlay, args.patch), now.text)
        answer.answer(self._changer.preview(proposal) if args.dry_run else self._take(proposal, answer))

    def _revert(self, args: ConfigRevert, answer: Answer) -> None:
        pending = self._changer.now.pending
        if args.revision is None or (pending is not None and args.revision == self._changer.before_pending):
            was = self._changer.now
            self._changer.undo(f"config/revert by {args.who or WHO}", args.who or WHO)
            answer.answer(self._changer.changed_since(was))
            return
        self._changer.refuse_while_pending()
        proposal = self._going_back(args.revision, args.who or WHO)
        answer.answer(self._take(proposal, answer))

    def _going_back(self, revision: int, who: str) -> Proposal:
        past, now = self._record.at(revision), self._changer.now
        text = None if past is None else self._record.text(past.file)
        if past is None or text is None:
            raise UnknownRevision(
                f"revision {revision} is not in the history; see config/get with history", field="args.revision"
            )
        proposal = self._composer.propose("revert", who, past.overlay, text)
        stamp = (now.overlay.epoch, now.overlay.version)
        if stamp > (past.overlay.epoch, past.overlay.version):
            self._record.refuse_desired(*stamp)  # it is retained, and would come again
        return proposal

    def _take(self, proposal: Proposal, answer: Answer) -> Changed:
        """Put a proposal in force; the answer goes first where the connection may end."""

        def answered(changed: Changed) -> None:
            answer.answer(changed)
            if not (answer.wait_handed_on(LEAVE_S) and self._drained(LEAVE_S)):
                log.warning("config.answer_may_be_late", revision=changed.revision)

        return self._changer.take(proposal, answered)
