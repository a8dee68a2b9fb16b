"""The tests a candidate must pass in its own worker before it may serve. Blocks: job lanes only.

In order: the worker loads it and compares real inputs and outputs with the manifest; golden images; at least ten timed
runs; memory. The candidate shares the cores with whoever serves, so latency is rejected here only on gross excess or a
hang: the verdict on the budget is probation's. Every call on the worker has its own deadline; whatever fails, the
worker is closed and the reason is in words.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agent.deploy.golden import Comparison, Sighting, Tolerance, compare
from agent.deploy.lanes import Cancel, Cancelled
from agent.deploy.loading import Loaded, Loader
from agent.deploy.records import DeploySettings, Latency, TrialRecord, VariantRecord
from agent.errors import LookoutError, StorageError, TrialFailed
from agent.process import rows
from agent.process.messages import Output
from agent.registry.manifest import Golden, Manifest
from agent.registry.store import StoredRelease
from agent.types import InputSpec

RUNS = 10
GROSS = 5.0
BYTES_PER_MB = 1_000_000


class Trial:
    """Runs trials on this host; ``host`` names it in the measurements (CPU, ONNX Runtime)."""

    def __init__(self, loader: Loader, settings: DeploySettings, host: str) -> None:
        self._loader = loader
        self._settings = settings
        self._host = host

    def run(
        self, stored: StoredRelease, variant: int, *, score: float | None, cancel: Cancel
    ) -> tuple[Loaded, TrialRecord]:
        """Load and test; return the warm worker and what was measured.

        Raises TrialFailed, ModelError, OutputError, ChildDied, ChildHung, or Cancelled.
        """
        cancel.check()
        loaded = self._loader.start(stored, variant, score=score, candidate=True)
        try:
            cancel.bind(loaded.worker.kill)
            record = self._test(loaded, cancel)
            cancel.bind(None)
        except LookoutError as error:
            loaded.worker.close()
            if cancel.event.is_set():
                raise Cancelled("cancelled in its trial") from error
            raise
        except BaseException:
            loaded.worker.close()
            raise
        return dataclasses.replace(loaded, p95_ms=record.variants[0].latency_ms.p95), record

    def _test(self, loaded: Loaded, cancel: Cancel) -> TrialRecord:
        manifest, variant = loaded.stored.manifest, loaded.slot.variant
        golden = [self._look(loaded, picture, cancel) for picture in manifest.golden]
        latency = self._time(loaded, cancel)
        budget = manifest.budget_for(self._settings.device_class)
        self._refuse_gross(latency, budget.latency_ms_p95 if budget else None)
        ready = loaded.worker.ready
        measured = VariantRecord(
            variant=variant,
            precision=manifest.variants[variant].precision,
            providers=ready.providers,
            load_ms=ready.load_ms,
            first_run_ms=ready.first_run_ms,
            latency_ms=latency,
            memory_mb=loaded.worker.memory_bytes() / BYTES_PER_MB,
            golden_images=len(golden),
            golden_matched=sum(one.matched for one in golden),
            golden_expected=sum(one.expected for one in golden),
            warnings=ready.warnings,
        )
        return TrialRecord(self._host, variant, (measured,))

    def _look(self, loaded: Loaded, picture: Golden, cancel: Cancel) -> Comparison:
        """Show one golden image. Raises :class:`TrialFailed` when the model does not see what it must."""
        cancel.check()
        manifest = loaded.stored.manifest
        output = loaded.worker.infer_file(loaded.stored.path(picture.image), self._settings.golden_timeout_s)
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

    def _time(self, loaded: Loaded, cancel: Cancel) -> Latency:
        """Time at least :data:`RUNS` answers, on the golden images or, without any, on a black picture."""
        manifest = loaded.stored.manifest
        with tempfile.TemporaryDirectory(prefix="lookout-trial-") as folder:
            pictures = [loaded.stored.path(one.image) for one in manifest.golden]
            if not pictures:
                spec = manifest.spec(loaded.slot.variant, loaded.slot.digest)
                pictures = [black_picture(Path(folder), spec.input)]
            times: list[float] = []
            for run in range(max(RUNS, len(pictures))):
                cancel.check()
                output = loaded.worker.infer_file(pictures[run % len(pictures)], self._settings.golden_timeout_s)
                times.append(inference_ms(output))
        return latency_of(times)

    def _refuse_gross(self, latency: Latency, budget_ms: float | None) -> None:
        """Refuse a candidate so slow that no sharing of cores explains it."""
        if budget_ms is not None and latency.p95 > GROSS * budget_ms:
            raise TrialFailed(
                f"latency p95 {latency.p95:.1f} ms is more than {GROSS:g} times the budget of {budget_ms:g} ms"
            )


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


def black_picture(folder: Path, model_input: InputSpec) -> Path:
    """Write a black picture of the model's input size (PPM: no library is needed). Raises :class:`StorageError`."""
    path = folder / "black.ppm"
    header = f"P6 {model_input.width} {model_input.height} 255\n".encode()
    try:
        path.write_bytes(header + bytes(3 * model_input.width * model_input.height))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; free disk space") from error
    return path
