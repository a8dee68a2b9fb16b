"""The tests that one variant must pass in its own worker before it may serve. Blocks: job lanes only.

In order: inspection of the file in a process of its own; on a host that has not run it, tuning in another one (which
judges nothing); the worker loads it and compares real inputs and outputs with
the manifest; golden images; at least ten timed runs; memory all along. The candidate shares the cores with whoever
serves, so latency is rejected here only on gross excess or a hang: the verdict on the budget is probation's. Every step
has a deadline, and so has the whole; whatever fails, the worker is killed and the reason is in words. Which of several
variants serves is :mod:`agent.deploy.ranking`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.deploy.golden import Comparison, Sighting, Tolerance, compare
from agent.deploy.lanes import Cancel, Cancelled
from agent.deploy.loading import CPU, Loaded, Loader
from agent.deploy.memorywatch import MemoryWatch, memory_bound
from agent.deploy.pictures import timing_pictures
from agent.deploy.ports import InspectPort
from agent.deploy.records import DeploySettings, Latency, VariantRecord
from agent.deploy.tuning import Tuner
from agent.errors import ChildDied, ChildHung, LookoutError, ModelError, TrialFailed
from agent.process import rows
from agent.process.messages import Output
from agent.registry.manifest import Golden, Manifest
from agent.registry.store import StoredRelease
from agent.types import MB

RUNS = 10
GROSS = 5.0

log = structlog.get_logger(part="deploy")


@dataclass(frozen=True)
class Passed:
    """A variant that passed, warm in its worker and still watched; whoever has it retires or keeps it."""

    loaded: Loaded
    record: VariantRecord
    watch: MemoryWatch

    def keep(self) -> Loaded:
        """Stop watching and return what will serve."""
        self.watch.stop()
        return self.loaded

    def retire(self) -> None:
        """End its worker."""
        self.watch.stop()
        self.loaded.worker.close()


class Deadline:
    """What is left of a trial's time. Raises :class:`TrialFailed` when that is nothing."""

    def __init__(self, settings: DeploySettings) -> None:
        self._step_s = settings.golden_timeout_s
        self._whole_s = settings.trial_timeout_s
        self._ends_ns = monotonic_ns() + round(settings.trial_timeout_s * NS_PER_S)

    def step_s(self) -> float:
        """Return how long the next picture may take."""
        left_s = (self._ends_ns - monotonic_ns()) / NS_PER_S
        if left_s <= 0:
            raise TrialFailed(
                f"the trial took longer than {self._whole_s:g} s (deploy.trial_timeout_s); publish a faster model"
            )
        return min(self._step_s, left_s)


class Trial:
    """Tries single variants on this host. ``inspect`` None: files are not inspected; ``tuner``: nor tuned (tests)."""

    def __init__(
        self,
        loader: Loader,
        settings: DeploySettings,
        inspect: InspectPort | None = None,
        tuner: Tuner | None = None,
    ) -> None:
        self._loader = loader
        self._settings = settings
        self._inspect = inspect
        self._tuner = tuner

    def run(
        self,
        stored: StoredRelease,
        variant: int,
        *,
        score: float | None,
        cancel: Cancel,
        fps: float | None = None,
        known: VariantRecord | None = None,
    ) -> Passed:
        """Inspect, tune (once on a host), load and test; return the warm worker and what was measured.

        ``known``: what was measured on this host before; then only the answers are looked at. Raises TrialFailed,
        ModelError, OutputError, ChildDied, ChildHung, or Cancelled; nothing is left running then.
        """
        cancel.check()
        budget = stored.manifest.budget_for(self._settings.device_class)
        bound_bytes, why = memory_bound(self._settings, budget)
        notes = self._look_at_file(stored, variant, bound_bytes, cancel)
        if self._tuner is not None:
            self._tuner.tune(stored, variant, fps=fps, memory_bytes=bound_bytes, cancel=cancel)
        loaded = self._load(stored, variant, score, fps, bound_bytes)
        watch = MemoryWatch(loaded.worker, bound_bytes, why)
        with ended_on_failure(loaded, watch, cancel):
            cancel.bind(loaded.worker.kill)
            record = self._test(loaded, watch, notes, cancel, known)
            cancel.bind(None)
        return Passed(loaded, record, watch)

    def _look_at_file(self, stored: StoredRelease, variant: int, bound_bytes: int, cancel: Cancel) -> tuple[str, ...]:
        """Have the file inspected before any worker loads it; return what is worth knowing of it."""
        if self._inspect is None:
            return ()
        file = stored.manifest.variants[variant].file
        try:
            found = self._inspect.inspect(
                stored.path(file),
                name=file.path,
                providers=self._loader.providers_of(stored, variant),
                memory_bytes=bound_bytes,
                cancel=cancel.event,
            )
        except LookoutError as error:
            if cancel.event.is_set():
                raise Cancelled("cancelled in its inspection") from error
            raise
        return found.notes

    def _load(
        self, stored: StoredRelease, variant: int, score: float | None, fps: float | None, bound_bytes: int
    ) -> Loaded:
        file = stored.manifest.variants[variant].file
        try:
            return self._loader.start(stored, variant, score=score, fps=fps, candidate=True, memory_bytes=bound_bytes)
        except ChildHung as error:
            raise ChildHung(
                f"{error.message} (deploy.load_timeout_s): it hangs or is far too slow for this device; "
                "publish a lighter model"
            ) from error
        except ChildDied as error:
            raise ChildDied(f"{error.message}{CRASHED}") from error
        except ModelError as error:  # in the store a file is called by its digest
            raise type(error)(error.message.replace(file.sha256, file.path), field=error.field) from error

    def _test(
        self, loaded: Loaded, watch: MemoryWatch, notes: tuple[str, ...], cancel: Cancel, known: VariantRecord | None
    ) -> VariantRecord:
        manifest, variant = loaded.stored.manifest, loaded.slot.variant
        deadline = Deadline(self._settings)
        golden = [self._look(loaded, picture, deadline, cancel) for picture in manifest.golden]
        options = loaded.how.options if loaded.how.providers == (CPU,) else None
        if known is not None:
            return msgspec.structs.replace(known, options=options)
        with timing_pictures(loaded.stored, variant) as pictures:
            times = [
                self.ask(loaded, pictures[run % len(pictures)], deadline, cancel)
                for run in range(max(RUNS, len(pictures)))
            ]
        latency = latency_of(times)
        budget = manifest.budget_for(self._settings.device_class)
        self._refuse_gross(latency, budget.latency_ms_p95 if budget else None)
        ready = loaded.worker.ready
        return VariantRecord(
            variant=variant,
            precision=manifest.variants[variant].precision,
            providers=ready.providers,
            load_ms=ready.load_ms,
            first_run_ms=ready.first_run_ms,
            latency_ms=latency,
            memory_mb=max(loaded.worker.memory_bytes(), watch.peak_bytes) / MB,
            golden_images=len(golden),
            golden_matched=sum(one.matched for one in golden),
            golden_expected=sum(one.expected for one in golden),
            warnings=(*ready.warnings, *notes),
            options=options,
        )

    def _look(self, loaded: Loaded, picture: Golden, deadline: Deadline, cancel: Cancel) -> Comparison:
        """Show one golden image. Raises :class:`TrialFailed` when the model does not see what it must."""
        cancel.check()
        manifest = loaded.stored.manifest
        output = _answer(loaded, loaded.stored.path(picture.image), picture.image.path, deadline)
        comparison = compare(
            picture.image.path,
            expected_in(picture),
            seen_in(output, manifest),
            Tolerance(**manifest.golden_tolerance.model_dump()),
            reporting_score=manifest.thresholds.score,
        )
        if not comparison.ok:
            raise TrialFailed(comparison.reason)
        return comparison

    def ask(self, loaded: Loaded, picture: Path, deadline: Deadline, cancel: Cancel) -> float:
        """Return how long one answer took inside the worker, milliseconds."""
        cancel.check()
        return inference_ms(_answer(loaded, picture, "a picture", deadline))

    def _refuse_gross(self, latency: Latency, budget_ms: float | None) -> None:
        """Refuse a candidate so slow that no sharing of cores explains it."""
        if budget_ms is not None and latency.p95 > GROSS * budget_ms:
            raise TrialFailed(
                f"latency p95 {latency.p95:.1f} ms is more than {GROSS:g} times the budget of {budget_ms:g} ms; "
                "publish a faster model"
            )


CRASHED = "; the model crashes its worker: publish one that runs on this device"


def _answer(loaded: Loaded, path: Path, name: str, deadline: Deadline) -> Output:
    timeout_s = deadline.step_s()
    try:
        return loaded.worker.infer_file(path, timeout_s)
    except ChildHung as error:
        raise ChildHung(
            f"no answer for {name} within {timeout_s:.3g} s (deploy.golden_timeout_s): the model hangs or is far too "
            "slow for this device; publish a lighter one"
        ) from error
    except ChildDied as error:
        raise ChildDied(f"{error.message}{CRASHED}") from error


@contextmanager
def ended_on_failure(loaded: Loaded, watch: MemoryWatch, cancel: Cancel) -> Iterator[None]:
    """Run the block; where it fails the worker is killed, and the reason is the one that counts."""
    try:
        yield
    except LookoutError as error:
        watch.stop()
        loaded.worker.kill(error.message)  # it may hang in native code: asking it to end would take its time
        loaded.worker.close()
        if cancel.event.is_set():
            raise Cancelled("cancelled in its trial") from error
        if watch.reason is not None:
            raise TrialFailed(watch.reason) from error
        raise
    except BaseException:
        watch.stop()
        loaded.worker.close()
        raise


def inference_ms(output: Output) -> float:
    """Return the time inside the worker, waiting left out."""
    timings = output.timings
    return timings.preprocess_ms + timings.run_ms + timings.postprocess_ms


def latency_of(times: Sequence[float]) -> Latency:
    """Return the median and the 95th percentile (nearest rank, so never better than was seen)."""
    ranked = sorted(times)
    return Latency(ranked[math.ceil(0.5 * len(ranked)) - 1], ranked[math.ceil(0.95 * len(ranked)) - 1], len(ranked))


def expected_in(picture: Golden) -> tuple[Sighting, ...]:
    """Return what the manifest says must be seen in a golden image."""
    if picture.detections is not None:
        return tuple(Sighting(one.label, one.score, one.box) for one in picture.detections)
    return tuple(Sighting(one.label, one.score) for one in picture.classes or ())


def seen_in(output: Output, manifest: Manifest) -> tuple[Sighting, ...]:
    """Return what a worker answered, in words. Raises :class:`TrialFailed` for a class without a label."""
    if output.detections is not None:
        return tuple(
            Sighting(_label(manifest, class_id), score, (x1, y1, x2, y2))
            for x1, y1, x2, y2, score, class_id in rows.boxes(output.detections)
        )
    return tuple(Sighting(_label(manifest, class_id), score) for score, class_id in rows.classes(output.classes or b""))


def _label(manifest: Manifest, class_id: float) -> str:
    if not 0 <= class_id < len(manifest.labels):
        raise TrialFailed(f"the model answered class {class_id:.0f}; the manifest names {len(manifest.labels)} labels")
    return manifest.labels[int(class_id)]
