"""What the deployment part says to others: frozen records, free to cross threads.

They are also the wire's shape: ``msgspec.json.encode`` of a :class:`DeploymentStatus` is what
``deploy/<pipeline>`` holds (beside its ``v``), and a :class:`Receipt` lies in the journal as that JSON. So
field names here are constants of the wire: add, never rename. Memory is PSS in MB (10^6 bytes); latency is
the time inside the worker (preprocess, run, postprocess), milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from agent.deploy.machine import State
from agent.types import Digest, ModelName, PipelineName, ReleaseId


class SlotRelease(msgspec.Struct, frozen=True):
    """What a slot holds: a release, and which of its variants runs."""

    model: ModelName
    version: str
    digest: Digest
    variant: int = 0

    @property
    def id(self) -> ReleaseId:
        """The release, without the variant."""
        return ReleaseId(self.model, self.version, self.digest)

    def __str__(self) -> str:
        return f"{self.model}:{self.version} ({self.digest[:12]})"


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds inside the worker, over ``frames`` frames or runs."""

    p50: float
    p95: float
    frames: int


class VariantRecord(msgspec.Struct, frozen=True):
    """What the trial measured of one variant on this host."""

    variant: int
    precision: str
    providers: tuple[str, ...]
    load_ms: float
    first_run_ms: float
    latency_ms: Latency
    memory_mb: float
    golden_images: int
    golden_matched: int
    golden_expected: int
    warnings: tuple[str, ...] = ()


class TrialRecord(msgspec.Struct, frozen=True):
    """A trial that was passed: one record for each variant tried; ``chosen`` is the variant that serves."""

    host: str
    chosen: int
    variants: tuple[VariantRecord, ...]


class LatencyChange(msgspec.Struct, frozen=True):
    """Latency before and after a swap; None where it was not measured (``after`` until commit)."""

    before: Latency | None = None
    after: Latency | None = None


class MemoryChange(msgspec.Struct, frozen=True):
    """PSS of the worker before and after a swap, MB."""

    before: float | None = None
    after: float | None = None


class Receipt(msgspec.Struct, frozen=True, rename={"old": "from", "new": "to"}):
    """Proof of one swap.

    ``gap_ms`` is None for the first model ever: nothing was interrupted. ``at``: RFC 3339.
    """

    old: ReleaseId | None
    new: ReleaseId
    gap_ms: float | None
    lost: int
    skipped: int
    at: str
    latency_ms: LatencyChange = LatencyChange()
    memory_mb: MemoryChange = MemoryChange()
    trial: TrialRecord | None = None


class FetchProgress(msgspec.Struct, frozen=True):
    """How far a fetch has come; ``total_bytes`` is 0 until it is known."""

    done_bytes: int
    total_bytes: int


class DeploymentStatus(msgspec.Struct, frozen=True):
    """Where one pipeline stands.

    ``current`` is the release that was last committed, ``candidate`` the one on its way; ``serving`` is
    what answers frames at this moment (the candidate in probation, None when no model runs: the device is
    ``degraded``). ``reason`` says in words why the state is what it is, or what is being waited for.
    """

    pipeline: PipelineName
    state: State
    reference: str | None = None
    progress: FetchProgress | None = None
    reason: str | None = None
    receipt: Receipt | None = None
    current: SlotRelease | None = None
    previous: SlotRelease | None = None
    candidate: SlotRelease | None = None
    serving: SlotRelease | None = None
    degraded: str | None = None
    """Why no model, or not the wanted one, serves; None when all is well."""
    at: str = ""
    """When the state was entered, RFC 3339."""


class Accepted(msgspec.Struct, frozen=True):
    """A deploy or rollback was journalled and is under way; ``supersedes`` is the reference that it pushed aside."""

    pipeline: PipelineName
    reference: str | None
    supersedes: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How a deploy or rollback ended; ``state`` is one of ``machine.TERMINAL``. ``code`` is the error's, if one."""

    pipeline: PipelineName
    reference: str | None
    ok: bool
    state: State
    reason: str | None = None
    code: str | None = None
    receipt: Receipt | None = None
    current: SlotRelease | None = None


OnDone = Callable[[Outcome], None]
"""Told once how an order ended; called on the control thread: it must neither block nor give an order itself."""


class StoredModel(msgspec.Struct, frozen=True):
    """A release in the store, and the pipelines that hold it."""

    release: ReleaseId
    current_of: tuple[PipelineName, ...] = ()
    previous_of: tuple[PipelineName, ...] = ()
    candidate_of: tuple[PipelineName, ...] = ()
    quarantined: str | None = None
    """Why it is not deployed again by itself; None when it may be."""


class PipelineSettings(msgspec.Struct, frozen=True):
    """What the configuration says of one pipeline, as far as deployment needs it. ``labels``: report only these."""

    name: PipelineName
    model: str | None = None
    score: float | None = None
    labels: tuple[str, ...] | None = None


class DeploySettings(msgspec.Struct, frozen=True):
    """What the configuration says of deployments and inference.

    ``device_class`` chooses a manifest's budget.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int = 1
    spin: bool = False
    device_class: str | None = None
    load_timeout_s: float = 60.0
    golden_timeout_s: float = 30.0
    keep_previous_warm: Literal["probation", "always"] = "probation"
    probation_frames: int = 60
    probation_s: float = 10.0
    memory_mb: float | None = None
    slow_ratio: float = 2.0
    slow_extra_ms: float = 20.0
    rate_baseline_frames: int = 100
    rate_collapse: float = 0.2
    rate_explosion: float = 5.0
