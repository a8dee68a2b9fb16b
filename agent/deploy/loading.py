"""From a release in the store to a warm worker: verify, choose a variant, start. Blocks: job lanes only.

Used for a candidate before its trial and for a release that is brought back, so that both are loaded in the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog

from agent.deploy.optimised import OptimisedCache
from agent.deploy.ports import StorePort, WorkerFactory, WorkerPort
from agent.deploy.records import DeploySettings, SlotRelease
from agent.errors import ChildDied, ModelError
from agent.process.messages import Load
from agent.registry.store import StoredRelease
from agent.types import Digest

log = structlog.get_logger(part="deploy")

CPU = "CPUExecutionProvider"
SCORE_FLOOR = 0.1
"""Workers answer everything above this, or above the lowest threshold where that is lower."""


AIR = 2
AIR_BYTES = 256 * 1024 * 1024
"""How generous the limit on a candidate's allocations is: arenas grow by doubling, and stacks count."""


@dataclass(frozen=True)
class Loaded:
    """A release in a warm worker, and what a pipeline must know of it. ``p95_ms``: what its trial measured."""

    slot: SlotRelease
    stored: StoredRelease
    worker: WorkerPort
    labels: tuple[str, ...]
    score: float
    p95_ms: float | None = None


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


class Loader:
    """Starts workers from the store. Thread-safe."""

    def __init__(
        self,
        factory: WorkerFactory,
        store: StorePort,
        settings: DeploySettings,
        cache: OptimisedCache | None = None,
    ) -> None:
        self._factory = factory
        self._cache = cache
        self._store = store
        self._settings = settings
        self._numbers = itertools.count(1)

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
        memory_bytes: int | None = None,
    ) -> Loaded:
        """Start a worker with ``variant``; ``score`` is the configuration's threshold, if it has one.

        ``memory_bytes`` is what loading and the first run may allocate, well-meant: None where the release has shown
        what it needs. Raises ModelError, ChildDied, ChildHung.
        """
        manifest = stored.manifest
        threshold = manifest.thresholds.score if score is None else score
        load = Load(
            spec=manifest.spec(variant, stored.id.digest),
            path=str(stored.path(manifest.variants[variant].file)),
            providers=self._providers(manifest.variants[variant].providers),
            threads=self._settings.threads,
            spin=self._settings.spin,
            score_floor=min(SCORE_FLOOR, threshold, manifest.thresholds.score),
        )
        if memory_bytes is not None and load.providers == (CPU,):  # an accelerator's driver maps what it likes
            load = msgspec.structs.replace(load, data_limit_bytes=AIR * memory_bytes + AIR_BYTES)
        worker = self._start(load, candidate, stored, variant)
        return Loaded(slot_of(stored, variant), stored, worker, manifest.labels, threshold)

    def providers_of(self, stored: StoredRelease, variant: int) -> tuple[str, ...]:
        """Return the providers that a worker of ``variant`` is asked to use."""
        return self._providers(stored.manifest.variants[variant].providers)

    def collect(self, keep: Set[Digest]) -> None:
        """Remove the optimised copies of every release but those in ``keep``."""
        if self._cache is not None:
            self._cache.collect(keep)

    def _start(self, load: Load, candidate: bool, stored: StoredRelease, variant: int) -> WorkerPort:
        """Start the worker, from the optimised copy of its model or leaving one behind."""
        start = partial(
            self._factory.start,
            name=f"worker-{next(self._numbers)}",
            candidate=candidate,
            timeout_s=self._settings.load_timeout_s,
        )
        if self._cache is None or load.providers != (CPU,):  # other providers keep caches of their own
            return start(load=load)
        key = self._cache.key(stored.id.digest, variant, CPU)
        found = self._cache.find(key)
        if found is not None:
            try:
                return start(load=msgspec.structs.replace(load, optimized=str(found)))
            except ChildDied as error:  # whether it is the copy that it died of is not worth finding out
                log.warning("cache.doubted", release=str(stored.id), reason=error.message)
                self._cache.forget(key)
        written = self._cache.reserve(key, stored.manifest.variants[variant].file.size)
        if written is None:
            return start(load=load)
        try:
            worker = start(load=msgspec.structs.replace(load, optimize_to=str(written)))
        except BaseException:
            self._cache.drop(written)
            raise
        self._cache.keep(key, written)
        return worker

    def bring_back(self, slot: SlotRelease, *, score: float | None) -> Loaded:
        """Verify and load a release that was committed before, for serving at once.

        A variant whose providers the host lost gives way to one that it has. Raises the errors of :meth:`verify` and
        :meth:`start`.
        """
        stored = self._store.verify(slot.digest)
        variants = stored.manifest.variants
        usable = slot.variant < len(variants) and self._providers(variants[slot.variant].providers)
        variant = slot.variant if usable else choose_variant(stored, self._settings.providers)
        return self.start(stored, variant, score=score, candidate=False)

    def factory(self, folder: str, *, score: float | None) -> Loaded:
        """Take the factory release in ``folder`` into the store and load it, for serving at once."""
        stored = self._store.take_in(Path(folder))
        return self.start(stored, choose_variant(stored, self._settings.providers), score=score, candidate=False)

    def _providers(self, made_for: tuple[str, ...]) -> tuple[str, ...]:
        """Return the providers to ask for, in the configuration's order."""
        wanted = tuple(name for name in self._settings.providers if name in made_for)
        return wanted or ((CPU,) if CPU in made_for else ())
