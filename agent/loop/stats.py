"""Counting, on the pipeline's thread: rates, stages, and how the current worker does. Pure.

Everything here is bounded: histograms, a window of times. Reading is rare and may cost something; counting is what
every frame pays for.
"""

from __future__ import annotations

import statistics
from collections import deque

from agent.clock import NS_PER_MS, NS_PER_S
from agent.loop.records import LatencySummary, ServedSample, Stage
from agent.telemetry.histogram import Histogram, Snapshot
from agent.types import ReleaseId, Timings

WINDOW_S = 5.0
STAGES: tuple[Stage, ...] = ("capture", "wait", "preprocess", "run", "postprocess", "see", "latency")


class Rate:
    """Events a second, over the last :data:`WINDOW_S` seconds and at most 256 events; 0 when nothing happens."""

    def __init__(self) -> None:
        self._times: deque[int] = deque(maxlen=256)

    def add(self, now_ns: int) -> None:
        """Count one event."""
        self._times.append(now_ns)

    def per_second(self, now_ns: int) -> float:
        """Return the rate; it falls smoothly after the last event."""
        since = now_ns - int(WINDOW_S * NS_PER_S)
        recent = [at for at in self._times if at >= since]
        if len(recent) < 2:
            return len(recent) / WINDOW_S
        steady = (recent[-1] - recent[0]) / (len(recent) - 1)
        silent = now_ns - recent[-1]
        span = recent[-1] - recent[0] + (silent if silent > 2 * steady else 0)
        return (len(recent) - 1) * NS_PER_S / span if span > 0 else 0.0


class Intervals:
    """Times between results, to know a steady interval."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=31)

    def add(self, now_ns: int) -> None:
        """Take note of a result."""
        if self._last_ns is not None:
            self._intervals.append(now_ns - self._last_ns)
        self._last_ns = now_ns

    def gap_ms(self, now_ns: int) -> float | None:
        """Return the time since the last result less one steady interval, at least 0; None without a result."""
        if self._last_ns is None:
            return None
        steady = statistics.median(self._intervals) if self._intervals else 0
        return max(0.0, (now_ns - self._last_ns - steady) / NS_PER_MS)

    def rest(self, now_ns: int) -> None:
        """Let the time until now be no gap: there was nothing to answer."""
        if self._last_ns is not None:
            self._last_ns = now_ns

    def restart(self) -> None:
        """Forget everything: another worker has its own intervals."""
        self._intervals.clear()
        self._last_ns = None


class Stages:
    """A histogram for each stage of a frame's way."""

    def __init__(self) -> None:
        self._histograms: dict[Stage, Histogram] = {stage: Histogram() for stage in STAGES}

    def came(self, capture_ms: float) -> None:
        """Count one frame that came from capture."""
        self._histograms["capture"].add(capture_ms)

    def add(self, timings: Timings, latency_ms: float, see_ms: float) -> None:
        """Count one frame that was answered."""
        histograms = self._histograms
        histograms["wait"].add(timings.wait_ms)
        histograms["preprocess"].add(timings.preprocess_ms)
        histograms["run"].add(timings.run_ms)
        histograms["postprocess"].add(timings.postprocess_ms)
        histograms["see"].add(see_ms)
        histograms["latency"].add(latency_ms)

    def snapshot(self) -> dict[Stage, Snapshot]:
        """Return all histograms."""
        return {stage: histogram.snapshot() for stage, histogram in self._histograms.items()}


class Service:
    """How one worker has done since it began to serve. ``trial_p95_ms`` stands in for a p95 until there is one."""

    def __init__(self, release: ReleaseId, since_ns: int, trial_p95_ms: float) -> None:
        self.release = release
        self.since_ns = since_ns
        self.frames = 0
        self._found = 0
        self._inference = Histogram()
        self._p95_ms = trial_p95_ms

    def add(self, timings: Timings, found: int) -> None:
        """Count one answer with ``found`` reported detections or classes."""
        self.frames += 1
        self._found += found
        self._inference.add(timings.preprocess_ms + timings.run_ms + timings.postprocess_ms)
        if self.frames % 64 == 0:  # a percentile costs as much as many frames' counting
            self._p95_ms = self._inference.snapshot().p95_ms

    @property
    def p95_ms(self) -> float:
        """The p95 of inference, of some time in the last 64 frames; before the first 64, what its trial measured."""
        return self._p95_ms

    def inference(self) -> Snapshot:
        """Return the distribution of the time for a frame."""
        return self._inference.snapshot()

    def sample(self, now_ns: int) -> ServedSample:
        """Sum up."""
        return ServedSample(
            release=self.release,
            frames=self.frames,
            seconds=(now_ns - self.since_ns) / NS_PER_S,
            inference=LatencySummary.of(self._inference.snapshot()),
            detections_per_frame=self._found / self.frames if self.frames else 0.0,
        )
