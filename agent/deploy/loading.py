"""From a release in the store to a warm worker: verify, choose a variant, start. Blocks: job lanes only.

Used for a candidate before its trial and for a release that is brought back, so that both are loaded in the same way.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from agent.deploy.ports import StorePort, WorkerFactory, WorkerPort
from agent.deploy.records import DeploySettings, SlotRelease
from agent.errors import ModelError
from agent.process.messages import Load
from agent.registry.store import StoredRelease
from agent.types import Digest

CPU = "CPUExecutionProvider"
SCORE_FLOOR = 0.1
"""Workers answer everything above this, or above the lowest threshold where that is lower."""


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
    offered = {*providers, CPU}
    for number, variant in enumerate(stored.manifest.variants):
        if offered & set(variant.providers):
            return number
    wanted = ", ".join(sorted({name for variant in stored.manifest.variants for name in variant.providers}))
    raise ModelError(
        f"{stored.id.model}:{stored.id.version} is made for {wanted}, this host has {', '.join(providers)}; "
        f"publish a variant for it, or name the provider in inference.providers",
        field="inference.providers",
    )


class Loader:
    """Starts workers from the store. Thread-safe."""

    def __init__(self, factory: WorkerFactory, store: StorePort, settings: DeploySettings) -> None:
        self._factory = factory
        self._store = store
        self._settings = settings
        self._numbers = itertools.count(1)

    def verify(self, digest: Digest) -> StoredRelease:
        """Re-hash every file of the release. Raises DigestMismatch, StorageError."""
        return self._store.verify(digest)

    def start(self, stored: StoredRelease, variant: int, *, score: float | None, candidate: bool) -> Loaded:
        """Start a worker with ``variant``; ``score`` is the configuration's threshold, if it has one.

        Raises ModelError, ChildDied, ChildHung.
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
        worker = self._factory.start(
            name=f"worker-{next(self._numbers)}",
            load=load,
            candidate=candidate,
            timeout_s=self._settings.load_timeout_s,
        )
        return Loaded(slot_of(stored, variant), stored, worker, manifest.labels, threshold)

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

    def _providers(self, made_for: tuple[str, ...]) -> tuple[str, ...]:
        """Return the providers to ask for, in the configuration's order."""
        wanted = tuple(name for name in self._settings.providers if name in made_for)
        return wanted or ((CPU,) if CPU in made_for else ())
