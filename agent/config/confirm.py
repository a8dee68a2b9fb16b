"""The probation of a change: is the device connected, seeing frames and within its rate, no worse than before? Pure.

What a change lets each camera do is worked out before (:mod:`agent.config.expected`). :class:`ConfigProbation` is then
shown the device's :class:`Vitals` about once a second and judges at the end of ``confirm_s``, by the mean of the last
half of it (30 s at most). Three things must hold:

- *connected*, if it was before and a broker is still configured;
- every camera that streamed before, was added or shows something else now *streams*. One whose file came to its end
  does; one that did not stream before and that the change left alone is not asked. Frames count as seen whether they
  were answered, gated or skipped, so that a dark and gated scene is no fault;
- its *rate*: as many frames answered as before, or as the change, quiet hours and governor allow, less
  :data:`TOLERANCE`; and as many seen as the change itself asks for (``source.fps``). Answers are not compared where
  the change gave the camera another model or pipeline, or where a gate decides what is answered; where cameras share
  a pipeline differently than before, their sum is.

A confirmation keeps a change as soon as all of this holds, without the rest of the time. One that ``needs_confirm`` is
never kept without a confirmation that came over a connection made after it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from agent.clock import NS_PER_S
from agent.config.expected import Expected

TOLERANCE = 0.7
"""Part of a rate that must be reached."""

WINDOW_S = 30.0
SOON_S = 3.0
"""A confirmation is believed no sooner after the change: parts need a moment to take it up."""

SLOW_FPS = 0.5
"""A camera whose own rate nobody told is taken to give this many frames a second at least."""

KEPT = 256
"""Vitals that are kept: the window's, also where they are shown more often than once a second."""

SLACK_FRAMES = 2
"""Frames that a short window may miss by chance."""


class CameraVitals(msgspec.Struct, frozen=True):
    """One camera. ``seen`` and ``answered`` count frames since some start.

    ``seen``: what the camera gave, whatever became of it (captured, and skipped before that); ``fps``: answered a
    second of late; ``limit_fps``: what holds it down now (cap, quiet hours, governor), None where nothing does.
    """

    health: str
    reason: str = ""
    seen: int = 0
    answered: int = 0
    fps: float = 0.0
    limit_fps: float | None = None


class Vitals(msgspec.Struct, frozen=True):
    """How the device does. ``session`` counts connections since the start; ``trouble`` says why there is none."""

    at_ns: int
    connected: bool
    session: int = 0
    cameras: dict[str, CameraVitals] = {}
    trouble: str = ""


class Waiting(msgspec.Struct, frozen=True):
    """Not decided yet; ``missing`` says what would undo it if now were the end."""

    left_s: float
    missing: tuple[str, ...] = ()


class Keep(msgspec.Struct, frozen=True):
    """The change proved good."""


class Undo(msgspec.Struct, frozen=True):
    """The change did not prove good, for ``reason``."""

    reason: str


Confirmation = Literal["taken", "not_pending", "old_session"]


# --- the probation ---------------------------------------------------------------------------------------------------


class ConfigProbation:
    """The state of one change on probation; see the module. One thread.

    ``before``: the vitals just before the change, None where nobody looked. ``session``: the newest connection when it
    began (0 after a start of the agent). ``connects``: a broker is configured now.
    """

    def __init__(
        self,
        revision: int,
        *,
        before: Vitals | None,
        expected: Mapping[str, Expected],
        began_ns: int,
        confirm_s: float,
        needs_confirm: bool = False,
        session: int = 0,
        connects: bool = True,
    ) -> None:
        self.revision = revision
        self.needs_confirm = needs_confirm
        self.until_ns = began_ns + int(confirm_s * NS_PER_S)
        self.is_confirmed = False
        self._before = before
        self._expected = expected
        self._session = session
        self._must_connect = connects and before is not None and before.connected
        self._soon_ns = began_ns + int(min(SOON_S, confirm_s / 2) * NS_PER_S)
        self._confirm_s = confirm_s
        self._window_ns = int(min(WINDOW_S, confirm_s / 2) * NS_PER_S)
        self._seen: deque[Vitals] = deque(maxlen=KEPT)

    def confirmed(self, revision: int, session: int) -> Confirmation:
        """Take a ``config/confirm`` that came over connection number ``session``; what it does, :meth:`judge` says."""
        if revision != self.revision:
            return "not_pending"
        if self.needs_confirm and session <= self._session:
            return "old_session"
        self.is_confirmed = True
        return "taken"

    def judge(self, now_ns: int, vitals: Vitals) -> Waiting | Keep | Undo:
        """Judge by what the device looks like now; about once a second, and at :attr:`until_ns`."""
        self._seen.append(vitals)
        missing = tuple(self._faults(vitals))
        if now_ns < self.until_ns:
            if self.is_confirmed and not missing and now_ns >= self._soon_ns:
                return Keep()
            return Waiting((self.until_ns - now_ns) / NS_PER_S, missing)
        if self.needs_confirm and not self.is_confirmed:
            missing = (*missing, "no config/confirm came over a connection made after the change")
        return Undo(f"after {self._confirm_s:g} s: {'; '.join(missing)}") if missing else Keep()

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def _faults(self, vitals: Vitals) -> Iterator[str]:
        if self._must_connect and not vitals.connected:
            yield f"not connected to the broker{f' ({vitals.trouble})' if vitals.trouble else ''}"
        summed: dict[str, list[str]] = {}
        for name, expected in self._expected.items():
            fault = self._camera_fault(name, expected, vitals)
            if fault:
                yield f"camera {name}: {fault}"
            elif expected.compared == "sum":
                summed.setdefault(expected.pipeline, []).append(name)
        for pipeline, names in summed.items():
            fault = self._sum_fault(pipeline, names)
            if fault:
                yield f"pipeline {pipeline}: {fault}"

    def _camera_fault(self, name: str, expected: Expected, vitals: Vitals) -> str | None:
        now, before = vitals.cameras.get(name), self._camera_before(name)
        if not expected.anew and (before is None or before.health != "streaming"):
            return None
        if now is None:
            return "is not there"
        if now.health == "ended" and now.seen:
            return None
        if now.health != "streaming":
            return f"does not stream: {now.health}{f' ({now.reason})' if now.reason else ''}"
        return self._rate_fault(name, expected) or self._still(name, expected)

    def _rate_fault(self, name: str, expected: Expected) -> str | None:
        limit = self._limit(name)
        if expected.asked_fps is not None:
            rate = self._rate((name,), "seen")
            asked = min(expected.asked_fps, limit)
            if rate is not None and rate < self._bar(asked):
                return f"{rate:.1f} frames a second come, {asked:g} were asked for"
        before = self._camera_before(name)
        if expected.compared == "own" and before is not None:
            allowed = min(before.fps, limit, _or_inf(expected.source_fps))
            rate = self._rate((name,), "answered")
            if rate is not None and rate < self._bar(allowed):
                return f"{rate:.1f} frames a second are answered, {before.fps:.1f} were before"
        return None

    def _still(self, name: str, expected: Expected) -> str | None:
        """Say that no frame came since the change, where some should have: a gated or skipped one counts as well."""
        first, last = self._seen[0], self._seen[-1]
        seconds = (last.at_ns - first.at_ns) / NS_PER_S
        due = seconds * min(_or_inf(expected.source_fps), self._limit(name), SLOW_FPS)
        came = _since(_count(last, name, "seen"), _count(first, name, "seen"))
        return f"no frame came in {seconds:.0f} s" if due >= 2 * SLACK_FRAMES and not came else None

    def _sum_fault(self, pipeline: str, names: list[str]) -> str | None:
        """Compare what a pipeline's cameras get together: a new one among them takes its share from the others."""
        everyone = [name for name, expected in self._expected.items() if expected.pipeline == pipeline]
        before = {name: found.fps for name in names if (found := self._camera_before(name)) is not None}
        allowed = sum(
            min(fps, self._limit(name), _or_inf(self._expected[name].source_fps)) for name, fps in before.items()
        )
        rate = self._rate(everyone, "answered")
        if rate is None or rate >= self._bar(allowed):
            return None
        return f"{rate:.1f} frames a second are answered, {sum(before.values()):.1f} were before"

    # --- figures ------------------------------------------------------------------------------------------------------

    def _camera_before(self, name: str) -> CameraVitals | None:
        return None if self._before is None else self._before.cameras.get(name)

    def _window(self) -> tuple[Vitals, ...]:
        """Return the vitals of the last half, those at its beginning included."""
        seen = tuple(self._seen)
        begin = next(index for index, found in enumerate(seen) if seen[-1].at_ns - found.at_ns < self._window_ns)
        return seen[max(0, begin - 1) :]

    def _limit(self, name: str) -> float:
        """Return the lowest bound on a camera's rate in the window."""
        found = [seen.cameras[name].limit_fps for seen in self._window() if name in seen.cameras]
        return min((limit for limit in found if limit is not None), default=math.inf)

    def _rate(self, names: Iterable[str], counter: Literal["seen", "answered"]) -> float | None:
        """Return frames a second in the window, all cameras together; None where that cannot be told yet."""
        first, last = self._window()[0], self._seen[-1]
        if last.at_ns <= first.at_ns:
            return None
        frames = sum(_since(_count(last, name, counter), _count(first, name, counter)) for name in names)
        return frames * NS_PER_S / (last.at_ns - first.at_ns)

    def _bar(self, fps: float) -> float:
        """Return the rate that must be reached where ``fps`` is right."""
        first, last = self._window()[0], self._seen[-1]
        return TOLERANCE * fps - SLACK_FRAMES * NS_PER_S / max(1, last.at_ns - first.at_ns)


def _since(now: int, then: int) -> int:
    """Return how far a counter came; one that began again counts from 0."""
    return now - then if now >= then else now


def _count(vitals: Vitals, name: str, counter: Literal["seen", "answered"]) -> int:
    camera = vitals.cameras.get(name)
    if camera is None:
        return 0
    return camera.seen if counter == "seen" else camera.answered


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value
