"""Runs one pipeline's shadow: lets the candidate see what current sees, compares, and says how it ended.

It ends once enough frames were compared, when current suffered, or when its time has passed (a dead camera gives no
frames); ``agreement`` decides what that means. A candidate that dies or answers something impossible has failed. Until
a swap the pipeline lends the worker frames: whoever gives the candidate up ends the shadow, and the pipeline hands the
worker back. Control thread only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from agent.clock import NS_PER_S
from agent.deploy.agreement import Tally, verdict
from agent.deploy.golden import Sighting
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort
from agent.deploy.records import DeploySettings, ShadowReport, TrialRecord
from agent.deploy.row import Row
from agent.deploy.timers import Timers
from agent.deploy.trial import inference_ms, seen_in
from agent.errors import LookoutError, OutputError, TrialFailed
from agent.loop.records import ShadowPair
from agent.types import PipelineName, ReleaseId

DEFAULT_FRAMES = 100
"""Frames compared where a bound was set and no number of frames."""

SAY_EVERY = 10
"""Frames between two notes of how far it is."""

log = structlog.get_logger(part="deploy")


class Owner(Protocol):
    """The way to probation, as far as a shadow needs it."""

    def say(self, note: str | None) -> None:
        """Show a note in the status."""
        ...

    def agreed(self, loaded: Loaded, record: TrialRecord) -> None:
        """Let the candidate serve on probation."""
        ...

    def shadow_refused(self, error: LookoutError, *, condemn: bool) -> None:
        """End the deployment; the candidate's worker is the pipeline's to hand back."""
        ...


class Terms(NamedTuple):
    """What a shadow is asked to do; ``frames`` 0: there is none. ``min_agreement`` None: only report."""

    frames: int
    min_agreement: float | None


def terms(row: Row, settings: DeploySettings, *, comparable: bool) -> Terms:
    """Return the terms: the deploy's own, else the configuration's. A bound without frames is held against some.

    ``comparable``: something serves, to compare with.
    """
    frames = settings.shadow_frames if row.shadow_frames is None else row.shadow_frames
    bound = settings.min_agreement if row.min_agreement is None else row.min_agreement
    switched_off = row.shadow_frames == 0 and row.min_agreement is None
    if bound is not None and frames == 0 and not switched_off:
        frames = DEFAULT_FRAMES
    return Terms(frames if comparable else 0, bound)


@dataclass
class Under:
    """The shadow under way."""

    loaded: Loaded
    record: TrialRecord
    terms: Terms
    began_ns: int
    tally: Tally


class Shadowing:
    """The shadow of one pipeline, if one is under way, and the report of the latest."""

    def __init__(
        self, name: PipelineName, pipeline: PipelinePort, parts: Parts, timers: Timers, keeper: Keeper, owner: Owner
    ) -> None:
        self.report: ShadowReport | None = None
        self._name = name
        self._pipeline = pipeline
        self._parts = parts
        self._timers = timers
        self._keeper = keeper
        self._owner = owner
        self._under: Under | None = None

    def begin(self, loaded: Loaded, record: TrialRecord, terms: Terms) -> None:
        """Let the candidate see frames; that it is in its shadow is durable."""
        settings = self._parts.settings
        boxes = loaded.stored.manifest.task == "detect"
        now_ns = self._parts.now_ns()
        self._under = Under(loaded, record, terms, now_ns, Tally(boxes=boxes))
        self._timers.set("shadow", now_ns + round(settings.shadow_timeout_s * NS_PER_S), self._time_up)
        self._pipeline.shadow(loaded.worker, p95_ms=loaded.p95_ms, max_slowdown=settings.shadow_max_slowdown)
        self._owner.say(f"shadow: 0 of {terms.frames} frames compared")
        log.info("shadow.began", pipeline=self._name, release=str(loaded.slot), frames=terms.frames)

    def end(self) -> None:
        """Give the candidate up, if one is in its shadow."""
        if self._under is not None:
            self._under = None
            self._timers.cancel("shadow")
            self._pipeline.end_shadow()

    # --- the pipeline's news -----------------------------------------------------------------------------------------

    def seen(self, pair: ShadowPair) -> None:
        """Compare the answers to one frame."""
        under, current = self._under, self._keeper.now
        if under is None or current is None or current.slot.digest != pair.release.digest:
            return
        try:
            mine = seen_in(pair.current, current.stored.manifest)
        except LookoutError:
            return  # current's own fault, which the pipeline tells apart
        try:
            theirs = seen_in(pair.candidate, under.loaded.stored.manifest)
        except LookoutError as error:
            self._refuse(error, condemn=True)
            return
        under.tally.add(_by_score(mine), _by_score(theirs), inference_ms(pair.current), inference_ms(pair.candidate))
        frames = under.tally.frames
        if frames >= under.terms.frames:
            self._finish(under)
        elif frames % SAY_EVERY == 0:
            self._owner.say(f"shadow: {frames} of {under.terms.frames} frames compared")

    def stopped(self, reason: str) -> None:
        """End it because current suffered."""
        if self._under is not None:
            self._finish(self._under, reason)

    def failed(self, release: ReleaseId, reason: str) -> None:
        """End it because the candidate died or answered something impossible."""
        if self._under is not None and self._under.loaded.slot.digest == release.digest:
            self._refuse(OutputError(f"in its shadow: {reason}"), condemn=True)

    def _time_up(self) -> None:
        if self._under is not None:
            self._finish(self._under, f"{self._parts.settings.shadow_timeout_s:g} s had passed")

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self, under: Under, stopped: str | None = None) -> None:
        seconds = (self._parts.now_ns() - under.began_ns) / NS_PER_S
        self.report = report = under.tally.report(wanted=under.terms.frames, seconds=seconds, stopped=stopped)
        log.info("shadow.done", pipeline=self._name, frames=report.frames, agreement=report.agreement, stopped=stopped)
        why_not = verdict(report, under.terms.min_agreement)
        if why_not is not None:
            self._refuse(TrialFailed(why_not), condemn=stopped is None)
            return
        self._under = None  # the swap takes the worker out of the shadow
        self._timers.cancel("shadow")
        self._owner.agreed(under.loaded, under.record)

    def _refuse(self, error: LookoutError, *, condemn: bool) -> None:
        self.end()
        self._owner.shadow_refused(error, condemn=condemn)


def _by_score(seen: tuple[Sighting, ...]) -> list[Sighting]:
    return sorted(seen, key=lambda sighting: -sighting.score)
