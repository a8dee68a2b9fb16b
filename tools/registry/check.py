"""Checks that a release does what its manifest says, before anybody signs for it.

The same code as on the device: every variant's file is inspected, loaded by ONNX Runtime and must have the manifest's
inputs and outputs, and every golden image must show what the manifest says. An accelerator that this host lacks is
replaced by its CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from agent.deploy.golden import Sighting, Tolerance, compare
from agent.deploy.trial import expected_in
from agent.errors import ManifestError, ModelError
from agent.infer.detector import Answer, Detector
from agent.infer.session import Session
from agent.inspect.checks import inspect_file
from agent.inspect.runtime import ask_runtime
from agent.process.messages import Inspect
from agent.registry.manifest import Golden, Manifest
from tools.registry.draft import Draft

LOWEST_FLOOR = 0.1

INSPECTED_BYTES = 2**31 - 1
"""What the inspection may take a file to need: a workstation sets no bound of its own."""

OnCheck = Callable[[str], None]
"""Told what is checked next."""


def check_release(draft: Draft, *, golden: bool, on_check: OnCheck = lambda _: None) -> tuple[str, ...]:
    """Check every variant; returns warnings in words. Raises :class:`ModelError`, :class:`ManifestError`."""
    warnings: list[str] = []
    for number, variant in enumerate(draft.manifest.variants):
        on_check(f"loading {variant.file.path}")
        path = str(draft.path(variant.file))
        inspect_file(Inspect(path, variant.file.path, variant.providers, INSPECTED_BYTES), ask_runtime)
        session = Session.load(draft.path(variant.file), providers=variant.providers, threads=0, spin=False)
        warnings += [f"{variant.file.path}: {warning}" for warning in session.warnings]
        floor = min(LOWEST_FLOOR, draft.manifest.thresholds.score)
        detector = Detector(draft.manifest.spec(number, draft.digest), session, score_floor=floor)
        for position, picture in enumerate(draft.manifest.golden if golden else ()):
            on_check(f"{variant.file.path}: {picture.image.path}")
            _check_golden(draft, detector, position, picture, variant.file.path)
    return tuple(warnings)


def _check_golden(draft: Draft, detector: Detector, position: int, golden: Golden, model: str) -> None:
    frame = cv2.imread(str(draft.path(golden.image)))
    if frame is None:
        raise ManifestError(f"golden.{position}.image: {draft.path(golden.image)} is no picture that OpenCV reads")
    tolerance = Tolerance(**draft.manifest.golden_tolerance.model_dump())
    verdict = compare(
        golden.image.path,
        expected_in(golden),
        seen(detector(np.asarray(frame)), draft.manifest),
        tolerance,
        reporting_score=draft.manifest.thresholds.score,
    )
    if not verdict.ok:
        raise ModelError(f"{model}: {verdict.reason}; mend the manifest's golden.{position}, or use --no-golden")


def seen(answer: Answer, manifest: Manifest) -> list[Sighting]:
    """Return what a model answered, in the manifest's words."""
    if answer.detections is not None:
        return [
            Sighting(manifest.labels[int(row[5])], float(row[4]), (row[0], row[1], row[2], row[3]))
            for row in answer.detections.tolist()
        ]
    rows = answer.classes.tolist() if answer.classes is not None else []
    return [Sighting(manifest.labels[int(class_id)], float(score)) for score, class_id in rows]
