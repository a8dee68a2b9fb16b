"""From a release in the store to a warm worker: verify, choose a variant, start. Blocks: job lanes only.

Used for a candidate before its trial and for a release that is brought back, so that both are loaded in the same way.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from agent.deploy.memorywatch import is_bounded
from agent.deploy.optimised import OptimisedCache
from agent.deploy.ports import StorePort, WorkerFactory, WorkerPort
from agent.deploy.records import DeploySettings, SlotRelease
from agent.deploy.tunings import Tunings
from agent.errors import ChildDied, ModelError
from agent.infer.tuning import Need, choose, gain
from agent.process.messages import Load
from agent.registry.store import StoredRelease
from agent.types import Digest, RunOptions

T = TypeVar("T")

log = structlog.get_logger(part="deploy")

CPU = "CPUExecutionProvider"
SCORE_FLOOR = 0.1
"""Workers answer everything above this, or above the lowest threshold where that is lower."""


AIR = 2
AIR_BYTES = 256 * 1024 * 1024
"""How generous the limit on a candidate's allocations is: arenas grow by doubling, and stacks count."""


class How(msgspec.Struct, frozen=True):
    """The way in which a worker runs its model. ``floor``: it answers everything above that score."""

    providers: tuple[str, ...] = ()
    options: RunOptions = RunOptions(1)
    floor: float = 0.0

    def serves_for(self, wanted: How) -> bool:
        """Return whether a worker that runs so need not be replaced by one that runs as ``wanted``."""
        return self.floor <= wanted.floor and self == msgspec.structs.replace(wanted, floor=self.floor)


UNKNOWN = How()


@dataclass(frozen=True)
class Loaded:
    """A release in a warm worker, and what a pipeline must know of it. ``p95_ms``: what its trial measured."""

    slot: SlotRelease
    stored: StoredRelease
    worker: WorkerPort
    labels: tuple[str, ...]
    p95_ms: float | None = None
    how: How = UNKNOWN

    def threshold(self, score: float | None) -> float:
        """Return the least score that is reported; ``score``: what the configuration says, if it does."""
        return threshold(self.stored, score)


def threshold(stored: StoredRelease, score: float | None) -> float:
    """Return the least score that is reported: the configuration's, else the manifest's."""
    return stored.manifest.thresholds.score if score is None else score


def slot_of(stored: StoredRelease, variant: int) -> SlotRelease:
    """Return what a slot holds when it holds this variant."""
    return SlotRelease(stored.id.model, stored.id.version, stored.id.digest, variant)


def choose_variant(stored: StoredRelease, providers: tuple[str, ...]) -> int:
    """Return the first variant made for one of the host's ``providers``. Raises :class:`ModelError`."""
    return usable_variants(stored, providers)[0]


def usable_variants(stored: StoredRelease, providers: tuple[str, ...]) -> tuple[int, ...]:
    """Return the variants made for one of the host's ``providers``, at least one. Raises :class:`ModelError`."""
    offered = {*providers, CPU}
    usable = [number for number, one in enumerate(stored.manifest.variants) if offered & set(one.providers)]
    if usable:
        return tuple(usable)
    wanted = ", ".join(sorted({name for variant in stored.manifest.variants for name in variant.providers}))
    raise ModelError(
        f"{stored.id.model}:{stored.id.version} is made for {wanted}, this host has {', '.join(providers)}; "
        f"publish a variant for it, or name the provider in inference.providers",
        field="inference.providers",
    )


def variant_for(stored: StoredRelease, present: int, providers: tuple[str, ...], fresh: Set[str]) -> int:
    """Return the variant to load under these ``providers``: ``present``, which was chosen once by its trial, goes on.

    Another one takes its place where the host lost all that ``present`` is made for, or where a provider in ``fresh``,
    which was named just now and is wanted more than those, has a variant. Raises :class:`ModelError` where none is.
    """
    usable = usable_variants(stored, providers)
    variants = stored.manifest.variants
    ranked = [
        next((place for place, name in enumerate(providers) if name in variants[number].providers), len(providers))
        for number in usable
    ]
    best = usable[ranked.index(min(ranked))]
    if present not in usable:
        return best
    wanted_more = providers[: ranked[usable.index(present)]]
    return best if fresh & set(wanted_more) and ranked[usable.index(best)] < len(wanted_more) else present


class Loader:
    """Starts workers from the store, in one way; :meth:`under` gives one for another. Thread-safe."""

    def __init__(
        self,
        factory: WorkerFactory,
        store: StorePort,
        settings: DeploySettings,
        cache: OptimisedCache | None = None,
        tunings: Tunings | None = None,
    ) -> None:
        self._factory = factory
        self._cache = cache
        self._tunings = tunings
        self._store = store
        self._settings = settings
        self._numbers = itertools.count(1)

    def under(self, settings: DeploySettings) -> Loader:
        """Return a loader that goes by other settings, and shares all else."""
        other = copy.copy(self)
        other._settings = settings
        return other

    def how(self, stored: StoredRelease, variant: int, score: float | None, fps: float | None = None) -> How:
        """Return how a worker of ``variant`` is run.

        ``score`` is the configuration's threshold, if it has one; ``fps`` what its cameras give together, None: as much
        as can be had.
        """
        least = min(SCORE_FLOOR, threshold(stored, score), stored.manifest.thresholds.score)
        return How(self.providers_of(stored, variant), self._options(stored, variant, fps), least)

    def need(self, stored: StoredRelease, fps: float | None) -> Need:
        """Return what is asked of the release on this device."""
        budget = stored.manifest.budget_for(self._settings.device_class)
        return Need(fps, budget.latency_ms_p95 if budget else None, lean=is_bounded(self._settings, budget))

    def _options(self, stored: StoredRelease, variant: int, fps: float | None) -> RunOptions:
        """Return what was measured to serve best, of what the configuration leaves open; else what it says."""
        settings = self._settings
        if self._tunings is not None and len(settings.options) > 1:
            tuning = self._tunings.find(stored.id.digest, variant)
            costs = tuning.among(settings.options) if tuning is not None else ()
            if costs:
                return choose(costs, self.need(stored, fps)).options
        return RunOptions(settings.threads, settings.spin, concurrency=settings.concurrency)

    def gain(self, stored: StoredRelease, variant: int, options: RunOptions | None) -> float:
        """Return how many times more frames a second ``options`` give than a run alone tells; see the tuning."""
        if self._tunings is None or options is None or options.concurrency == 1:
            return 1.0
        tuning = self._tunings.find(stored.id.digest, variant)
        return 1.0 if tuning is None else gain(tuning.costs, options)

    def verify(self, digest: Digest) -> StoredRelease:
        """Re-hash every file of the release. Raises DigestMismatch, StorageError."""
        return self._store.verify(digest)

    def start(
        self,
        stored: StoredRelease,
        variant: int,
        *,
        score: float | None,
        candidate: bool,
        fps: float | None = None,
        memory_bytes: int | None = None,
    ) -> Loaded:
        """Start a worker with ``variant``; see :meth:`how`.

        ``memory_bytes`` is what loading and the first run may allocate, well-meant: None where the release has shown
        what it needs. Raises ModelError, ChildDied, ChildHung.
        """
        load = self.order(stored, variant, score=score, fps=fps, memory_bytes=memory_bytes)

        def start(load: Load) -> WorkerPort:
            name, timeout_s = f"worker-{next(self._numbers)}", self._settings.load_timeout_s
            return self._factory.start(name=name, load=load, candidate=candidate, timeout_s=timeout_s)

        worker = self.with_copy(stored, variant, load, start)
        how = How(load.providers, load.options, load.score_floor)
        return Loaded(slot_of(stored, variant), stored, worker, stored.manifest.labels, how=how)

    def order(
        self,
        stored: StoredRelease,
        variant: int,
        *,
        score: float | None,
        fps: float | None,
        memory_bytes: int | None,
    ) -> Load:
        """Return what a worker of ``variant`` is told; see :meth:`start`."""
        how, manifest = self.how(stored, variant, score, fps), stored.manifest
        limited = memory_bytes is not None and how.providers == (CPU,)  # an accelerator's driver maps what it likes
        return Load(
            spec=manifest.spec(variant, stored.id.digest),
            path=str(stored.path(manifest.variants[variant].file)),
            providers=how.providers,
            options=how.options,
            score_floor=how.floor,
            data_limit_bytes=AIR * (memory_bytes or 0) + AIR_BYTES if limited else 0,
        )

    def providers_of(self, stored: StoredRelease, variant: int) -> tuple[str, ...]:
        """Return the providers that a worker of ``variant`` is asked to use."""
        return self._providers(stored.manifest.variants[variant].providers)

    def collect(self, keep: Set[Digest]) -> None:
        """Remove the optimised copies of every release but those in ``keep``."""
        if self._cache is not None:
            self._cache.collect(keep)

    def with_copy(self, stored: StoredRelease, variant: int, load: Load, use: Callable[[Load], T]) -> T:
        """Have ``use`` load the optimised copy of the model, or leave one behind; return what it returns."""
        if self._cache is None or load.providers != (CPU,):  # other providers keep caches of their own
            return use(load)
        key = self._cache.key(stored.id.digest, variant, CPU)
        found = self._cache.find(key)
        if found is not None:
            try:
                return use(msgspec.structs.replace(load, optimized=str(found)))
            except ChildDied as error:  # whether it is the copy that it died of is not worth finding out
                log.warning("cache.doubted", release=str(stored.id), reason=error.message)
                self._cache.forget(key)
        written = self._cache.reserve(key, stored.manifest.variants[variant].file.size)
        if written is None:
            return use(load)
        try:
            result = use(msgspec.structs.replace(load, optimize_to=str(written)))
        except BaseException:
            self._cache.drop(written)
            raise
        self._cache.keep(key, written)
        return result

    def bring_back(
        self, slot: SlotRelease, *, score: float | None, fps: float | None = None, beside: bool = False
    ) -> Loaded:
        """Verify and load a release that was committed before, for serving at once; ``beside`` one that serves: slowly.

        A variant whose providers the host lost gives way to one that it has. Raises the errors of :meth:`verify` and
        :meth:`start`.
        """
        stored = self._store.verify(slot.digest)
        variants = stored.manifest.variants
        usable = slot.variant < len(variants) and self._providers(variants[slot.variant].providers)
        variant = slot.variant if usable else choose_variant(stored, self._settings.providers)
        return self.start(stored, variant, score=score, fps=fps, candidate=beside)

    def factory(self, folder: str, *, score: float | None, fps: float | None = None) -> Loaded:
        """Take the factory release in ``folder`` into the store and load it, for serving at once."""
        stored = self._store.take_in(Path(folder))
        variant = choose_variant(stored, self._settings.providers)
        return self.start(stored, variant, score=score, fps=fps, candidate=False)

    def _providers(self, made_for: tuple[str, ...]) -> tuple[str, ...]:
        """Return the providers to ask for, in the configuration's order."""
        wanted = tuple(name for name in self._settings.providers if name in made_for)
        return wanted or ((CPU,) if CPU in made_for else ())
