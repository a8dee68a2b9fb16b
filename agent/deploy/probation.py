"""The verdict on a candidate that serves on probation: wait, commit or roll back.

:func:`bounds_for` turns the configuration, the manifest's budget and what the old release did into bounds, once, at
the swap; :func:`judge` compares a sample with them. Latency and detection rate are judged once enough frames were
answered, memory and faults at once. Old and new are compared only where both are releases of one model: two models
may rightly differ in speed and in what they see. Without frames (a dead camera) there is no verdict. Pure.
"""

from __future__ import annotations

import msgspec

from agent.deploy.records import DeploySettings, Latency

RATE_FLOOR = 0.5
"""Detections per frame below which a baseline says too little: an empty scene may fill up, and the reverse."""


class Baseline(msgspec.Struct, frozen=True):
    """How the old release did before the swap; ``concurrency``: frames that it computed at once."""

    latency: Latency
    detections_per_frame: float
    concurrency: int = 1


class Bounds(msgspec.Struct, frozen=True):
    """What the candidate must keep within; None: not judged. ``p95_why`` says where the bound comes from."""

    frames: int
    seconds: float
    p95_ms: float | None = None
    p95_why: str = ""
    memory_mb: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    rate_before: float = 0.0


class Sample(msgspec.Struct, frozen=True):
    """What was seen of the candidate since the swap. ``fault``: it raised, died, or answered something not finite."""

    frames: int = 0
    p95_ms: float = 0.0
    detections_per_frame: float = 0.0
    memory_mb: float | None = None
    fault: str | None = None


class Wait(msgspec.Struct, frozen=True):
    """No verdict yet; ``reason`` says what is being waited for."""

    reason: str


class Commit(msgspec.Struct, frozen=True):
    """The candidate proved itself."""


class Rollback(msgspec.Struct, frozen=True):
    """The candidate did not; ``reason`` says why."""

    reason: str


Verdict = Wait | Commit | Rollback


def bounds_for(
    settings: DeploySettings,
    *,
    budget_p95_ms: float | None,
    budget_memory_mb: float | None,
    same_model: bool,
    baseline: Baseline | None,
    concurrency: int = 1,
) -> Bounds:
    """Return the bounds of one probation. The manifest's budget wins over the comparison with the old release.

    ``concurrency``: frames that the candidate computes at once, which makes each of them later and is not held against
    it.
    """
    p95_ms, why, low, high, rate = budget_p95_ms, "the manifest's budget", None, None, 0.0
    comparable = baseline if same_model else None
    if comparable is not None and p95_ms is None:
        before_ms = comparable.latency.p95 * max(1.0, concurrency / comparable.concurrency)
        p95_ms = before_ms * settings.slow_ratio + settings.slow_extra_ms
        old = f"the old release's {comparable.latency.p95:.1f} ms"
        if before_ms > comparable.latency.p95:
            old += (
                f" ({before_ms:.1f} ms where {concurrency} frames are computed at once, not {comparable.concurrency})"
            )
        why = f"{settings.slow_ratio:g} times {old} plus {settings.slow_extra_ms:g}"
    if comparable is not None and comparable.latency.frames >= settings.rate_baseline_frames:
        rate = comparable.detections_per_frame
        high = settings.rate_explosion * max(rate, RATE_FLOOR)
        low = settings.rate_collapse * rate if rate >= RATE_FLOOR else None
    limits = [bound for bound in (settings.memory_mb, budget_memory_mb) if bound is not None]
    return Bounds(
        frames=settings.probation_frames,
        seconds=settings.probation_s,
        p95_ms=p95_ms,
        p95_why=why if p95_ms is not None else "",
        memory_mb=min(limits, default=None),
        rate_low=low,
        rate_high=high,
        rate_before=rate,
    )


def _broken_bound(sample: Sample, bounds: Bounds) -> str | None:
    """Return which bound the answered frames break, in words."""
    if bounds.p95_ms is not None and sample.p95_ms > bounds.p95_ms:
        return f"p95 {sample.p95_ms:.1f} ms is over {bounds.p95_ms:.1f} ms ({bounds.p95_why})"
    rate = sample.detections_per_frame
    if bounds.rate_low is not None and rate < bounds.rate_low:
        return f"detections collapsed from {bounds.rate_before:.2f} to {rate:.2f} a frame (bound {bounds.rate_low:.2f})"
    if bounds.rate_high is not None and rate > bounds.rate_high:
        return f"detections exploded from {bounds.rate_before:.2f} to {rate:.2f} a frame (bound {bounds.rate_high:.2f})"
    return None


def judge(sample: Sample, bounds: Bounds, elapsed_s: float) -> Verdict:
    """Judge a candidate that has served for ``elapsed_s`` seconds since its first answer."""
    if sample.fault is not None:
        return Rollback(sample.fault)
    if bounds.memory_mb is not None and sample.memory_mb is not None and sample.memory_mb > bounds.memory_mb:
        return Rollback(f"memory {sample.memory_mb:.0f} MB is over the bound of {bounds.memory_mb:.0f} MB")
    if sample.frames < bounds.frames:
        return Wait(f"probation: {sample.frames} of {bounds.frames} frames after {elapsed_s:.0f} s")
    broken = _broken_bound(sample, bounds)
    if broken is not None:
        return Rollback(broken)
    if elapsed_s < bounds.seconds:
        return Wait(f"probation: {elapsed_s:.0f} of {bounds.seconds:g} s")
    return Commit()
