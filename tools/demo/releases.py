"""The five releases of the demo, as folders ready to publish: two good ones and three that a device must refuse.

=====  ==========================================================================
1.0.0  float
1.1.0  INT8
1.2.0  INT8, signed and sound; after publishing, one byte of its blob is flipped
1.3.0  INT8 whose golden boxes lie about where the face is
1.4.0  float whose graph answers NaN
=====  ==========================================================================

Golden images are frames of the clip as PNG, with what the float model sees in them. A folder holds ``manifest.json``
and the files it names. Small functions, pure but for the files they are told to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx

from agent.infer.detector import Detector
from agent.registry.manifest import Manifest, dump_manifest, load_manifest
from tools.demo.assets import digest_of
from tools.demo.subject import FACES, Subject
from tools.demo.workshop import Workshop, detections
from tools.model import clean

FLOAT, INT8, TAMPERED, LYING, NAN = "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"
SCORE = FACES.score
GOLDEN_FRAMES = (6, 45, 90)
"""Of the clip; none of them a multiple of four, so none has calibrated."""
FAR_CORNER = (0.0, 0.0, 24.0, 24.0)
"""Where no frame of the clip has a face."""


@dataclass(frozen=True)
class GoldenPicture:
    """A picture and the boxes that any device must see in it: (score, box) each, pixels of the picture.

    ``labels``: one a box; empty: all are of the subject's first class.
    """

    name: str
    png: bytes
    faces: tuple[tuple[float, tuple[float, float, float, float]], ...]
    labels: tuple[str, ...] = ()


def reference(version: str) -> str:
    """Return what an operator writes to mean this release of the demo's own model."""
    return FACES.reference(version)


def golden_pictures(model: Detector, frames: Sequence[np.ndarray]) -> list[GoldenPicture]:
    """Let the float model say what is in a few frames."""
    return [_golden(model, frames[index], f"frame-{index:03d}.png") for index in GOLDEN_FRAMES if index < len(frames)]


def _golden(model: Detector, frame: np.ndarray, name: str) -> GoldenPicture:
    _, png = cv2.imencode(".png", frame)
    rows = detections(model, frame)
    faces = tuple(
        (round(float(row[4]), 3), tuple(round(float(side), 1) for side in row[:4])) for row in rows if row[4] >= SCORE
    )
    return GoldenPicture(name, png.tobytes(), faces)  # type: ignore[arg-type]  # four sides: rows have six columns


def lying(pictures: Sequence[GoldenPicture]) -> list[GoldenPicture]:
    """Claim that every face is in the top left corner."""
    return [replace(picture, faces=tuple((score, FAR_CORNER) for score, _ in picture.faces)) for picture in pictures]


def remark(source: Path, target: Path, note: str) -> Path:
    """Copy a model with a note in its metadata: the same answers from other bytes, so that a device must fetch it."""
    model = onnx.load(source)
    model.metadata_props.add(key="demo", value=note)
    onnx.save(model, target)
    return target


def blinded(source: Path, target: Path) -> Path:
    """Copy a model whose first output is multiplied by NaN: it loads, it runs, and it answers nonsense."""
    model = clean.load(source)
    output = model.graph.output[0].name
    hidden = f"{output}_before"
    for node in model.graph.node:
        node.output[:] = [hidden if name == output else name for name in node.output]
        node.input[:] = [hidden if name == output else name for name in node.input]
    nan = onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "demo_nan")
    model.graph.initializer.append(nan)
    model.graph.node.append(onnx.helper.make_node("Mul", [hidden, nan.name], [output], name="demo_blind"))
    onnx.save(model, target)
    return target


def flip_a_byte(path: Path) -> int:
    """Flip one bit in the middle of a file and return the offset: as a bad disk or a hostile mirror would."""
    data = bytearray(path.read_bytes())
    offset = len(data) // 2
    data[offset] ^= 0x01
    path.chmod(0o644)
    path.write_bytes(data)
    return offset


@dataclass(frozen=True)
class Draft:
    """A release to be published: the folder that holds its manifest, and the SHA-256 of its model file."""

    version: str
    folder: Path
    model_sha256: str


def draft(
    folder: Path,
    version: str,
    description: str,
    model: Path,
    golden: Sequence[GoldenPicture],
    subject: Subject = FACES,
    **more: Any,
) -> Draft:
    """Write a release's folder; ``more`` are further keys of the manifest. Raises ``ManifestError``."""
    home = folder / version
    (home / "golden").mkdir(parents=True, exist_ok=True)
    file = home / model.name
    file.write_bytes(model.read_bytes())
    entries = [_write_golden(home, picture, subject.labels[0]) for picture in golden]
    fields = manifest_fields(subject, version, description, _entry(home, file), entries)
    precision = "int8" if "int8" in model.name else "fp32"
    fields["variants"][0]["precision"] = precision
    manifest = checked({**fields, **more})
    (home / "manifest.json").write_bytes(dump_manifest(manifest))
    return Draft(version, home, manifest.variants[0].file.sha256)


def manifest_fields(
    subject: Subject, version: str, description: str, file: dict[str, Any], golden: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the manifest's fields, with one float variant for the CPU."""
    return {
        "schema": 1,
        "model": subject.model,
        "version": version,
        "task": "detect",
        "description": description,
        "license": subject.license,
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": file}],
        "input": msgspec.to_builtins(subject.spec.input),
        "decoder": {"kind": subject.spec.decoder.kind, **subject.spec.decoder.params},
        "labels": list(subject.labels),
        "thresholds": {"score": subject.score, "nms_iou": subject.spec.nms_iou},
        "golden": list(golden),
    }


def checked(fields: dict[str, Any]) -> Manifest:
    """Read the fields as a device would. Raises ``ManifestError``."""
    return load_manifest(msgspec.json.encode(fields))


def int8_story(made: Workshop) -> dict[str, Any]:
    """Return ``quantization`` and ``metrics`` of the manifest: how the INT8 model came about and what it cost."""
    return {
        "quantization": {
            "method": made.recipe,
            "calibration": {"images": made.calibration.images, "sha256": made.calibration.sha256},
        },
        "metrics": {
            "agreement": round(made.agreement.f1, 4),
            "images": made.compared,
            "latency_ratio": round(made.int8.latency_ms / made.fp32.latency_ms, 3),
        },
    }


def _write_golden(home: Path, picture: GoldenPicture, label: str) -> dict[str, Any]:
    path = home / "golden" / picture.name
    path.write_bytes(picture.png)
    labels = picture.labels or (label,) * len(picture.faces)
    found = [
        {"label": name, "score": score, "box": list(box)}
        for name, (score, box) in zip(labels, picture.faces, strict=True)
    ]
    return {"image": _entry(home, path), "detections": found}


def _entry(home: Path, path: Path) -> dict[str, Any]:
    return {
        "path": path.relative_to(home).as_posix(),
        "sha256": digest_of(path),
        "size": path.stat().st_size,
    }


def drafts(folder: Path, made: Workshop, golden: Sequence[GoldenPicture], subject: Subject = FACES) -> dict[str, Draft]:
    """Write all five releases; by version."""
    story = int8_story(made)
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    tampered = remark(made.int8.path, parts / "tampered.int8.onnx", "one byte of this file will be flipped")
    lies = remark(made.int8.path, parts / "lying.int8.onnx", "its golden boxes lie")
    blind = blinded(made.fp32.path, parts / "nan.fp32.onnx")

    def release(version: str, what: str, model: Path, pictures: Sequence[GoldenPicture] = golden, **more: Any) -> Draft:
        return draft(folder, version, f"{subject.title}, {what}", model, pictures, subject, **more)

    rows = [
        release(FLOAT, "float", made.fp32.path),
        release(INT8, "INT8", made.int8.path, **story),
        release(TAMPERED, "INT8, tampered with", tampered, **story),
        release(LYING, "INT8, lying golden boxes", lies, lying(golden), **story),
        release(NAN, "answers NaN", blind),
    ]
    return {row.version: row for row in rows}
