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

from agent.deploy.machine import TERMINAL, State
from agent.types import Digest, ModelName, PipelineName, ReleaseId, RunOptions


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
    """What the trial measured of one variant on this host; ``options``: those with which it was run on the CPU."""

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
    options: RunOptions | None = None


class PassedOver(msgspec.Struct, frozen=True):
    """A variant that failed its trial while another passed; ``problem`` says why, in words."""

    variant: int
    problem: str


class TrialRecord(msgspec.Struct, frozen=True):
    """A trial that was passed: one record for each variant that did; ``chosen`` is the variant that serves.

    ``remembered``: the figures are those of an earlier trial on this host, only the answers were looked at again.
    """

    host: str
    chosen: int
    variants: tuple[VariantRecord, ...]
    passed_over: tuple[PassedOver, ...] = ()
    remembered: bool = False


class LatencyChange(msgspec.Struct, frozen=True):
    """Latency before and after a swap; None where it was not measured (``after`` until commit)."""

    before: Latency | None = None
    after: Latency | None = None


class MemoryChange(msgspec.Struct, frozen=True):
    """PSS of the worker before and after a swap, MB."""

    before: float | None = None
    after: float | None = None


class LabelCounts(msgspec.Struct, frozen=True):
    """How often each of two releases saw a label, over the frames that both answered."""

    current: int
    candidate: int


class ShadowReport(msgspec.Struct, frozen=True):
    """How far a candidate agreed with current on live frames that both answered.

    ``agreement`` is what ``min_agreement`` is held against: ``f1`` of a detector, ``top1`` of a classifier.
    ``score_shift`` is the candidate's score less current's, over matched boxes (or equal first classes).
    ``latency_ratio`` compares medians inside the workers, with the candidate at low priority: it flatters nobody but
    current. ``stopped`` says why fewer than ``wanted`` frames were compared; None where all were.
    """

    frames: int
    wanted: int
    seconds: float
    agreement: float | None = None
    f1: float | None = None
    top1: float | None = None
    mean_iou: float | None = None
    score_shift: float | None = None
    counts: dict[str, LabelCounts] = {}
    latency_ratio: float | None = None
    stopped: str | None = None


class Receipt(msgspec.Struct, frozen=True, rename={"old": "from", "new": "to"}):
    """Proof of one swap.

    ``gap_ms`` is None for the first model ever: nothing was interrupted. ``at``: RFC 3339. ``unload_first``: memory was
    too short for both, current was closed before the candidate was loaded, and the gap holds that time.
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
    shadow: ShadowReport | None = None
    unload_first: bool = False


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
    shadow: ShadowReport | None = None
    """How far the latest candidate agreed with current, where it was asked for and has ended."""
    yanked: str | None = None
    """Why the publisher withdrew the current release; None where the registry says nothing of the kind."""
    not_before: str | None = None
    """When a deferred deployment begins, RFC 3339; its part of a spread is in it."""
    latest: str | None = None
    """The version that ``reference`` meant when the registry was last asked; None where that is not known."""

    @property
    def under_way(self) -> bool:
        """Whether something is being done now, rather than ended or waited for."""
        return self.state not in TERMINAL | {State.DEFERRED, State.WAITING_FOR_CLOCK}


class DeployOptions(msgspec.Struct, frozen=True):
    """What one deploy asks for beside its reference; None: as configured.

    ``not_before_ms``: UTC, the deployment is deferred until then. ``spread_ms``: and for so long besides.
    """

    shadow_frames: int | None = None
    min_agreement: float | None = None
    not_before_ms: int | None = None
    spread_ms: int | None = None


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
    """What the configuration says of one pipeline, as far as deployment needs it. ``labels``: report only these.

    ``factory``: the folder of a release that serves where nothing else can. ``fps``: the frames a second that its
    cameras give together, None: as many as can be answered.
    """

    name: PipelineName
    model: str | None = None
    score: float | None = None
    labels: tuple[str, ...] | None = None
    factory: str | None = None
    fps: float | None = None


class DeploySettings(msgspec.Struct, frozen=True):
    """What the configuration says of deployments and inference.

    ``device_class`` chooses a manifest's budget. ``threads``, ``spin`` and ``concurrency`` hold unless a tuning has
    shown which of ``options`` are best; fewer than two: nothing is left to choose, and nothing is tuned.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int = 1
    spin: bool = False
    concurrency: int = 1
    options: tuple[RunOptions, ...] = ()
    device_class: str | None = None
    load_timeout_s: float = 60.0
    golden_timeout_s: float = 30.0
    variant: Literal["fastest", "first"] = "fastest"
    trial_timeout_s: float = 300.0
    trial_memory_mb: float | None = None
    keep_previous_warm: Literal["probation", "always"] = "probation"
    probation_frames: int = 60
    probation_s: float = 10.0
    memory_mb: float | None = None
    slow_ratio: float = 2.0
    slow_extra_ms: float = 20.0
    rate_baseline_frames: int = 100
    rate_collapse: float = 0.2
    rate_explosion: float = 5.0
    shadow_frames: int = 0
    min_agreement: float | None = None
    shadow_max_slowdown: float = 0.2
    shadow_timeout_s: float = 300.0
    memory_floor_mb: float = 64.0
    safe_mode_s: float = 600.0
    safe_mode_after: int = 3
    poll_s: float = 0.0
    """How often the registry is asked what is new; 0: never."""
    on_yank: Literal["warn", "rollback"] = "warn"
    min_versions: dict[str, str] = {}
    """Model → the oldest version that this device takes."""
