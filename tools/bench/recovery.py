"""How fast a device sees again: its worker killed, with and without a warm previous one, and a candidate rolled back.

The models are deployed (see :mod:`tools.bench.deployed`), the video is ``plaza.avi``, as a camera that waits and as a
live one. *Frame time* is the median interval between two results in steady operation, measured in the same run with the
model that takes over. What is timed from a kill is the first result that the dead worker has no part in.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from agent.clock import NS_PER_MS
from agent.deploy.machine import State
from agent.deploy.records import DeploySettings
from agent.process.messages import SourceSpec
from tools.bench.case import Progress
from tools.bench.deployed import FIRST, SECOND, Deployed
from tools.bench.footage import VIDEO
from tools.bench.quiet import Others
from tools.bench.rig import Rig

Pace = Literal["lossless", "live"]
PACES: tuple[Pace, ...] = ("lossless", "live")

STEADY = 5
"""Times as many results as between two events are used for the frame time."""
LONG_PROBATION = 10
"""Times as many frames as a worker answers before it is killed: no verdict may come before."""

ALLOWED_MS = 50.0
"""What may be added to one frame time until the warm previous worker answers."""
FORGOTTEN_S = 700.0
"""After this time a death no longer counts: the third in ten minutes would change what is measured."""


class Steady(msgspec.Struct, frozen=True):
    """Intervals between results while nothing happens, ms."""

    median_ms: float
    p99_ms: float


class WarmKills(msgspec.Struct, frozen=True):
    """A candidate's worker killed on probation: from SIGKILL to the first result of the warm previous one, ms.

    ``kept``: none took longer than one frame time and :data:`ALLOWED_MS`.
    """

    kills: int
    next_ms: tuple[float, ...]
    median_ms: float
    max_ms: float
    allowed_ms: float
    kept: bool
    lost: int


class ColdKills(msgspec.Struct, frozen=True):
    """The only worker killed: from SIGKILL to the first result of its successor, and that one's start, ms.

    ``beyond_ms`` is what came on top of the start: noticing the death, reading the model again, the first frame.
    """

    kills: int
    next_ms: tuple[float, ...]
    start_ms: tuple[float, ...]
    median_ms: float
    max_ms: float
    start_median_ms: float
    start_max_ms: float
    beyond_median_ms: float
    beyond_max_ms: float
    lost: int


class Rollbacks(msgspec.Struct, frozen=True):
    """A candidate rejected by its probation: the gap from its last result to the first of previous, less a frame time.

    ``decided_ms``: from the durable decision to that result; what the candidate had in hand is answered first, by it:
    ``late_max`` results at most. ``next_frame``: the first result of previous was always of the frame that followed
    (the next one taken, where a live camera's frames are skipped anyway).
    """

    rollbacks: int
    gaps_ms: tuple[float, ...]
    decided_ms: tuple[float, ...]
    gap_median_ms: float
    gap_max_ms: float
    decided_median_ms: float
    decided_max_ms: float
    late_max: int
    next_frame: bool
    lost: int


class PaceReport(msgspec.Struct, frozen=True):
    """All three with a camera of one pace."""

    pace: Pace
    steady: Steady
    warm: WarmKills
    cold: ColdKills
    rollback: Rollbacks


class RecoveryReport(msgspec.Struct, frozen=True):
    """``others_cores`` is what processes other than the bench's used meanwhile, pace by pace."""

    paces: tuple[PaceReport, ...]
    others_cores: tuple[float, ...]


def source(shared: Path, pace: Pace) -> SourceSpec:
    """Return the video as an endless camera of this pace."""
    return SourceSpec("file", str(shared / VIDEO), pace="lossless" if pace == "lossless" else "realtime", loop=True)


def recovery_case(
    shared: Path, *, kills: int, frames: int, paces: Sequence[Pace] = PACES, progress: Progress
) -> RecoveryReport:
    """Measure ``kills`` of each kind for each pace, with ``frames`` results before and after each."""
    reports: list[PaceReport] = []
    others_cores: list[float] = []
    for pace in paces:
        with Others() as others:
            steady, warm = _warm(shared, pace, kills, frames, progress)
            cold = _cold(shared, pace, kills, frames, progress)
            rollback = _rollback(shared, pace, kills, frames, progress)
        reports.append(PaceReport(pace, steady, warm, cold, rollback))
        others_cores.append(others.cores)
    return RecoveryReport(tuple(reports), tuple(others_cores))


def _warm(shared: Path, pace: Pace, kills: int, frames: int, progress: Progress) -> tuple[Steady, WarmKills]:
    settings = DeploySettings(probation_frames=LONG_PROBATION * frames, probation_s=0.0)
    next_ms: list[float] = []
    with Deployed(shared, source(shared, pace), settings) as device:
        rig = device.rig
        steady = _serve_first(device, frames)
        for number in range(1, kills + 1):
            device.deploy(SECOND, until=State.PROBATION, force=True)
            device.wait_serving(SECOND)
            rig.wait_results(len(rig.results) + frames)
            deaths, told = len(rig.lost), len(device.told)
            _, killed_ns = device.kill_current()
            rig.wait_lost(deaths + 1)
            device.wait_serving(FIRST)
            first = _first_of(rig, FIRST, rig.lost_at[-1])
            next_ms.append((rig.times_ns[first] - killed_ns) / NS_PER_MS)
            progress(f"{pace}: kill {number} of {kills} with a warm previous: next result after {next_ms[-1]:.1f} ms")
            device.wait_state(State.ROLLED_BACK, told)
            rig.wait_results(len(rig.results) + frames)
        lost = _lost(rig, pace)
    allowed_ms = steady.median_ms + ALLOWED_MS
    longest = max(next_ms)
    report = WarmKills(
        kills, tuple(next_ms), statistics.median(next_ms), longest, allowed_ms, longest <= allowed_ms, lost
    )
    return steady, report


def _cold(shared: Path, pace: Pace, kills: int, frames: int, progress: Progress) -> ColdKills:
    settings = DeploySettings(probation_frames=frames, probation_s=0.0)
    next_ms: list[float] = []
    start_ms: list[float] = []
    with Deployed(shared, source(shared, pace), settings) as device:
        rig = device.rig
        _serve_first(device, frames)
        for number in range(1, kills + 1):
            deaths, swaps = len(rig.lost), len(rig.swaps)
            _, killed_ns = device.kill_current()
            rig.wait_lost(deaths + 1)
            rig.wait_swaps(swaps + 1)
            first = rig.lost_at[-1]
            rig.wait_results(first + 1)
            next_ms.append((rig.times_ns[first] - killed_ns) / NS_PER_MS)
            start_ms.append(device.workers.starts_ms[-1])
            progress(
                f"{pace}: kill {number} of {kills} without: next result after {next_ms[-1]:.0f} ms, "
                f"the worker's start took {start_ms[-1]:.0f} ms"
            )
            device.pass_time(FORGOTTEN_S)
            rig.wait_results(len(rig.results) + frames)
        lost = _lost(rig, pace)
    beyond = [after - start for after, start in zip(next_ms, start_ms, strict=True)]
    return ColdKills(
        kills=kills,
        next_ms=tuple(next_ms),
        start_ms=tuple(start_ms),
        median_ms=statistics.median(next_ms),
        max_ms=max(next_ms),
        start_median_ms=statistics.median(start_ms),
        start_max_ms=max(start_ms),
        beyond_median_ms=statistics.median(beyond),
        beyond_max_ms=max(beyond),
        lost=lost,
    )


def _rollback(shared: Path, pace: Pace, rollbacks: int, frames: int, progress: Progress) -> Rollbacks:
    """Reject a sound candidate again and again: its bound on latency is a hundredth of the old release's."""
    settings = DeploySettings(probation_frames=frames, probation_s=0.0, slow_ratio=0.01, slow_extra_ms=0.0)
    gaps: list[float] = []
    decided: list[float] = []
    late: list[int] = []
    next_frame = True
    with Deployed(shared, source(shared, pace), settings) as device:
        rig = device.rig
        steady = _serve_first(device, frames)
        for number in range(1, rollbacks + 1):
            told, before = len(device.told), len(rig.results)
            device.deploy(SECOND, until=State.ROLLED_BACK, force=True)
            device.wait_serving(FIRST)
            first = _last_change(rig, before)
            decision = device.since(told, State.ROLLED_BACK)
            assert decision is not None
            gaps.append(max(0.0, (rig.times_ns[first] - rig.times_ns[first - 1]) / NS_PER_MS - steady.median_ms))
            decided.append((rig.times_ns[first] - decision.at_ns) / NS_PER_MS)
            late.append(sum(at_ns > decision.at_ns for at_ns in rig.times_ns[before:first]))
            step = rig.results[first].frame.sequence - rig.results[first - 1].frame.sequence
            next_frame = next_frame and (step == 1 or (pace == "live" and step > 1))
            progress(f"{pace}: rollback {number} of {rollbacks}: gap {gaps[-1]:.1f} ms")
            rig.wait_results(len(rig.results) + frames)
        lost = _lost(rig, pace)
    return Rollbacks(
        rollbacks=rollbacks,
        gaps_ms=tuple(gaps),
        decided_ms=tuple(decided),
        gap_median_ms=statistics.median(gaps),
        gap_max_ms=max(gaps),
        decided_median_ms=statistics.median(decided),
        decided_max_ms=max(decided),
        late_max=max(late),
        next_frame=next_frame,
        lost=lost,
    )


def _serve_first(device: Deployed, frames: int) -> Steady:
    """Commit the first release over nothing; return how it does when nothing else happens."""
    device.rig.open_cameras()
    device.deploy(FIRST, until=State.COMMITTED)
    begin = len(device.rig.results)
    device.rig.wait_results(begin + STEADY * frames)
    times_ns = device.rig.times_ns[begin : begin + STEADY * frames]
    intervals = [(b - a) / NS_PER_MS for a, b in itertools.pairwise(times_ns)]
    return Steady(statistics.median(intervals), statistics.quantiles(intervals, n=100)[98])


def _first_of(rig: Rig, reference: str, since: int) -> int:
    """Return the position of the first result of this release since that position."""
    version = reference.partition(":")[2]
    return next(n for n in range(since, len(rig.results)) if rig.results[n].release.version == version)


def _last_change(rig: Rig, since: int) -> int:
    """Return the position of the last result whose release is not that of the one before."""
    releases = [result.release for result in rig.results[: len(rig.results)]]
    return next(n for n in range(len(releases) - 1, since, -1) if releases[n] != releases[n - 1])


def _lost(rig: Rig, pace: Pace) -> int:
    """Return how many frames were lost; in lossless mode also those that never came, or came twice or out of order."""
    sequence = [result.frame.sequence for result in rig.results[: len(rig.times_ns)]]
    missing = 0 if pace == "live" else sum(b - a != 1 for a, b in itertools.pairwise(sequence))
    return rig.pipeline.statistics().lost + missing
