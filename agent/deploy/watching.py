"""One probation under way: what the swap cost, what has been seen of the candidate since, and the receipt.

It gathers; ``probation.judge`` decides, ``judging`` acts. Control thread only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from agent.clock import NS_PER_S, rfc3339
from agent.deploy.loading import Loaded
from agent.deploy.ports import PipelinePort
from agent.deploy.probation import Baseline, Bounds, Sample, Verdict, bounds_for, judge
from agent.deploy.records import (
    DeploySettings,
    Latency,
    LatencyChange,
    MemoryChange,
    Receipt,
    ShadowReport,
    TrialRecord,
)
from agent.errors import LookoutError
from agent.loop.records import LatencySummary, ServedSample, SwapSeen
from agent.types import MB, ModelName


def latency(summary: LatencySummary) -> Latency:
    """Return the part of a summary that receipts hold."""
    return Latency(summary.p50_ms, summary.p95_ms, summary.count)


def memory_mb(loaded: Loaded | None) -> float | None:
    """Return the PSS of a worker, None where it cannot be read (it just died)."""
    if loaded is None:
        return None
    try:
        return loaded.worker.memory_bytes() / MB
    except (LookoutError, OSError):
        return None


@dataclass(frozen=True)
class Before:
    """What the old release did, and what it took; nothing where there was none."""

    model: ModelName | None = None
    baseline: Baseline | None = None
    memory_mb: float | None = None

    @classmethod
    def of(cls, old: Loaded | None, pipeline: PipelinePort) -> Before:
        """Take the measure of the release that serves."""
        if old is None:
            return cls()
        served = pipeline.statistics().serving
        baseline = None
        if served is not None and served.release.digest == old.slot.digest and served.frames > 0:
            concurrency = old.how.options.concurrency
            baseline = Baseline(latency(served.inference), served.detections_per_frame, concurrency)
        return cls(old.slot.model, baseline, memory_mb(old))


@dataclass
class Watching:
    """The candidate, its bounds, and the latest sample. ``ordered_ns``: when the swap was ordered."""

    loaded: Loaded
    bounds: Bounds
    ordered_ns: int
    old_latency: Latency | None
    old_memory_mb: float | None
    record: TrialRecord | None
    first_ns: int | None = None
    sample: Sample = field(default_factory=Sample)
    latency_after: Latency | None = None
    receipt: Receipt | None = None
    shadow: ShadowReport | None = None
    unload_first: bool = False

    @classmethod
    def begin(
        cls,
        loaded: Loaded,
        old: Before,
        settings: DeploySettings,
        *,
        record: TrialRecord | None,
        now_ns: int,
        shadow: ShadowReport | None = None,
        unload_first: bool = False,
    ) -> Watching:
        """Set the bounds, against what ``old`` did before it was swapped or unloaded."""
        baseline = old.baseline
        budget = loaded.stored.manifest.budget_for(settings.device_class)
        bounds = bounds_for(
            settings,
            budget_p95_ms=budget.latency_ms_p95 if budget else None,
            budget_memory_mb=budget.memory_mb if budget else None,
            same_model=old.model == loaded.slot.model,
            baseline=baseline,
            concurrency=loaded.how.options.concurrency,
        )
        old_latency = baseline.latency if baseline else None
        made = cls(loaded, bounds, now_ns, old_latency, old.memory_mb, record)
        made.shadow, made.unload_first = shadow, unload_first
        return made

    def swapped(self, seen: SwapSeen, now_ns: int, now_ms: int) -> Receipt:
        """Note the candidate's first answer; return the receipt."""
        self.first_ns = self.first_ns or now_ns
        self.receipt = Receipt(
            old=seen.old,
            new=seen.new,
            gap_ms=None if seen.old is None else seen.gap_ms,
            lost=seen.lost,
            skipped=seen.skipped,
            at=rfc3339(now_ms),
            latency_ms=LatencyChange(before=self.old_latency),
            memory_mb=MemoryChange(before=self.old_memory_mb),
            trial=self.record,
            shadow=self.shadow,
            unload_first=self.unload_first,
        )
        return self.receipt

    def served(self, seen: ServedSample, now_ns: int) -> None:
        """Take a newer sample of the candidate."""
        self.first_ns = self.first_ns or now_ns - round(seen.seconds * NS_PER_S)
        self.latency_after = latency(seen.inference)
        self.sample = Sample(seen.frames, seen.p95_ms, seen.detections_per_frame, memory_mb(self.loaded))

    def due_ns(self) -> int:
        """Return when the time asked for will have passed, counted from the first answer (or from the order)."""
        return (self.first_ns or self.ordered_ns) + round(self.bounds.seconds * NS_PER_S)

    def judge(self, now_ns: int) -> Verdict:
        """Judge what was seen until now."""
        return judge(self.sample, self.bounds, (now_ns - (self.first_ns or self.ordered_ns)) / NS_PER_S)

    def final_receipt(self) -> Receipt | None:
        """Return the receipt, completed by what the candidate did in probation."""
        if self.receipt is None:
            return None
        return msgspec.structs.replace(
            self.receipt,
            latency_ms=LatencyChange(self.old_latency, self.latency_after),
            memory_mb=MemoryChange(self.old_memory_mb, self.sample.memory_mb),
        )
