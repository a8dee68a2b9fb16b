"""Which variant of a release serves: the fastest of those that pass their trials on this host. Blocks: job lanes only.

Each variant gets a worker of its own. The best so far and the next one answer the same pictures in turns, while
``current`` goes on serving, so that whatever disturbs one disturbs the other; the slower one's worker ends there, and
there are never more than two. A variant that fails is only passed over when another passes, and the record says why.
What was measured is remembered (by digest, ONNX Runtime, providers, threads or that these are tuned, and processor):
then the winner is only looked at again, and the others are not started at all. ``deploy.variant: first`` leaves all of
this out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec
import structlog

from agent.deploy.lanes import Cancel
from agent.deploy.loading import Loaded, Loader, usable_variants
from agent.deploy.pictures import timing_pictures
from agent.deploy.ports import InspectPort
from agent.deploy.records import DeploySettings, PassedOver, TrialRecord, VariantRecord
from agent.deploy.trial import RUNS, Deadline, Passed, Trial, ended_on_failure, latency_of
from agent.deploy.tuning import Tuner
from agent.errors import ChildDied, ChildHung, LookoutError, ModelError, StorageError, TrialFailed
from agent.registry.store import StoredRelease
from agent.types import Digest

VERDICTS = (ModelError, TrialFailed, ChildDied, ChildHung)
"""What speaks against a variant; anything else says nothing about it."""

Remembered = Callable[[Digest, str], tuple[VariantRecord | PassedOver, ...]]

log = structlog.get_logger(part="deploy")


class Ranking:
    """Tries releases on this host.

    ``host`` names it in measurements (processor, ONNX Runtime); ``remembered`` returns what they were, ``()`` where
    nothing is known.
    """

    def __init__(
        self,
        loader: Loader,
        settings: DeploySettings,
        host: str,
        *,
        inspect: InspectPort | None = None,
        remembered: Remembered = lambda _digest, _host: (),
        tuner: Tuner | None = None,
    ) -> None:
        self._loader = loader
        self._inspect = inspect
        self._tuner = tuner
        self._trial = Trial(loader, settings, inspect, tuner)
        self._settings = settings
        self._machine = host
        threads = "tuned" if tuner is not None and len(settings.options) > 1 else f"{settings.threads} threads"
        self._host = f"{host}; {','.join(settings.providers)}; {threads}"
        self._remembered = remembered

    def under(self, settings: DeploySettings) -> Ranking:
        """Return one that goes by other settings; a trial under way goes on by these."""
        loader = self._loader.under(settings)
        tuner = None if self._tuner is None else self._tuner.under(loader, settings)
        return Ranking(loader, settings, self._machine, inspect=self._inspect, remembered=self._remembered, tuner=tuner)

    @property
    def host(self) -> str:
        """What names this host in measurements, with all that they depend on."""
        return self._host

    def run(
        self, stored: StoredRelease, variant: int, *, score: float | None, cancel: Cancel, fps: float | None = None
    ) -> tuple[Loaded, TrialRecord]:
        """Try the release; return the warm worker that will serve and what was measured.

        ``variant`` is the first that this host can run; ``score`` and ``fps``: see :meth:`Loader.how`. Raises what the
        first variant failed with where none passes: TrialFailed, ModelError, ChildDied, ChildHung; or Cancelled.
        """
        if self._settings.variant == "first":
            return self._finish(self._trial.run(stored, variant, score=score, fps=fps, cancel=cancel), [], [])
        entrants = usable_variants(stored, self._settings.providers)
        known = self._recall(stored, entrants)
        if known is not None:
            winner = min(known[0], key=lambda one: self._interval_ms(stored, one))
            try:
                passed = self._trial.run(stored, winner.variant, score=score, fps=fps, cancel=cancel, known=winner)
            except VERDICTS as error:
                log.warning("trial.remembered_failed", release=str(stored.id), reason=error.message)
            else:
                return self._finish(passed, known[0], known[1], remembered=True)
        return self._try_all(stored, entrants, score, fps, cancel)

    def _recall(
        self, stored: StoredRelease, entrants: Sequence[int]
    ) -> tuple[list[VariantRecord], list[PassedOver]] | None:
        """Return what is remembered of every entrant, None where that is not enough to choose by."""
        try:
            found = self._remembered(stored.id.digest, self._host)
        except StorageError as error:
            log.warning("trial.not_remembered", problem=error.message)
            return None
        records = [one for one in found if isinstance(one, VariantRecord)]
        over = [one for one in found if isinstance(one, PassedOver)]
        complete = {one.variant for one in found} >= set(entrants)
        return (records, over) if records and complete else None

    def _try_all(
        self,
        stored: StoredRelease,
        entrants: Sequence[int],
        score: float | None,
        fps: float | None,
        cancel: Cancel,
    ) -> tuple[Loaded, TrialRecord]:
        best: Passed | None = None
        beaten: list[VariantRecord] = []
        over: list[PassedOver] = []
        failure: LookoutError | None = None
        try:
            for number in entrants:
                try:
                    passed = self._trial.run(stored, number, score=score, fps=fps, cancel=cancel)
                except VERDICTS as error:
                    failure = failure or error
                    over.append(PassedOver(number, error.message))
                    continue
                best = passed if best is None else self._contest(best, passed, beaten, over, cancel)
        except BaseException:
            if best is not None:
                best.retire()
            raise
        if best is None:
            assert failure is not None
            raise failure
        return self._finish(best, beaten, over)

    def _contest(
        self, champion: Passed, challenger: Passed, beaten: list[VariantRecord], over: list[PassedOver], cancel: Cancel
    ) -> Passed:
        """Let two variants answer the same pictures in turns; return the faster one, the other's worker ends.

        One that fails meanwhile loses to the other. Raises where neither is left, or Cancelled.
        """
        pair = [champion, challenger]
        times: dict[int, list[float]] = {one.record.variant: [] for one in pair}
        deadline = Deadline(self._settings)

        def kill(reason: str) -> None:
            for one in pair:
                one.loaded.worker.kill(reason)

        try:
            cancel.bind(kill)
            with timing_pictures(champion.loaded.stored, champion.record.variant) as pictures:
                for run in range(max(RUNS, len(pictures))):
                    for one in pair if run % 2 == 0 else pair[::-1]:
                        with ended_on_failure(one.loaded, one.watch, cancel):
                            took = self._trial.ask(one.loaded, pictures[run % len(pictures)], deadline, cancel)
                        times[one.record.variant].append(took)
            cancel.bind(None)
        except VERDICTS as error:
            return self._survivor(pair, over, error, cancel)
        except BaseException:
            for one in pair:
                one.retire()
            raise
        measured = [
            dataclasses.replace(
                one, record=msgspec.structs.replace(one.record, latency_ms=latency_of(times[one.record.variant]))
            )
            for one in pair
        ]
        winner, loser = sorted(measured, key=lambda one: self._interval_ms(one.loaded.stored, one.record))
        loser.retire()
        beaten.append(loser.record)
        return winner

    def _interval_ms(self, stored: StoredRelease, record: VariantRecord) -> float:
        """Return the time between two results: pictures are answered one by one, frames perhaps several at once."""
        return record.latency_ms.p50 / self._loader.gain(stored, record.variant, record.options)

    @staticmethod
    def _survivor(pair: Sequence[Passed], over: list[PassedOver], error: LookoutError, cancel: Cancel) -> Passed:
        """Return the one whose worker still lives. Raises ``error`` where none does, or Cancelled."""
        alive = [one for one in pair if one.loaded.worker.alive]
        for one in pair:
            if one not in alive[:1]:
                over.append(PassedOver(one.record.variant, error.message))
                one.retire()
        if not alive:
            raise error
        try:
            cancel.bind(None)
        except LookoutError:
            alive[0].retire()
            raise
        return alive[0]

    def _finish(
        self, passed: Passed, others: Sequence[VariantRecord], over: Sequence[PassedOver], *, remembered: bool = False
    ) -> tuple[Loaded, TrialRecord]:
        chosen = passed.record
        records = {one.variant: one for one in (*others, chosen)}
        ordered = tuple(records[number] for number in sorted(records))
        failed = tuple(one for one in over if one.variant not in records)
        loaded = dataclasses.replace(passed.keep(), p95_ms=chosen.latency_ms.p95)
        return loaded, TrialRecord(self._host, chosen.variant, ordered, failed, remembered)
