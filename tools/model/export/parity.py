"""Does the ONNX graph answer as the framework does? Both get the same inputs, and every output is compared.

The inputs are photographs from a folder, made as large as the model takes them, or else seeded noise; the report says
which. Differences are absolute, and relative to the largest magnitude that the framework's own output reaches: a value
near zero would make any other quotient meaningless.

A detector that merges its own boxes answers rows, best first, as many as it finds. Scores that differ in the seventh
digit change places there, which is no difference that matters: outputs of such rows are compared row by nearest row,
all outputs of a row together, and the report says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import cv2
import numpy as np
import onnxruntime

from agent.errors import InputError
from agent.infer import reasons
from tools.model.export.source import Port, Source
from tools.model.export.troubles import CannotExport

if TYPE_CHECKING:
    import onnx

Pixels = Literal["unit", "imagenet", "raw"]
"""How a photograph becomes numbers: 0..1, ImageNet's mean and deviation, or 0..255 as it is. Always RGB."""

TOLERANCE = 1e-4
COUNT = 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHANNELS = (1, 3)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})


@dataclass(frozen=True)
class OutputParity:
    """One output over all inputs. ``compared`` counts values; ``reason`` says why it cannot be compared."""

    name: str
    shape: tuple[int, ...]
    compared: int
    max_abs: float
    mean_abs: float
    max_rel: float
    mean_rel: float
    reason: str | None = None


@dataclass(frozen=True)
class Parity:
    """All outputs. ``on`` says in words what the inputs were; ``moved_rows`` counts rows found in another place."""

    on: str
    tolerance: float
    outputs: tuple[OutputParity, ...]
    moved_rows: int = 0

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(one.reason is None and one.max_rel <= self.tolerance for one in self.outputs)


Feed = tuple[np.ndarray, ...]


def compare(source: Source, model: onnx.ModelProto, feeds: Sequence[Feed], *, on: str, tolerance: float) -> Parity:
    """Run both on every feed. Raises :class:`CannotExport` (ONNX Runtime refuses), :class:`InputError`."""
    session = load(model)
    names = [output.name for output in session.get_outputs()]
    theirs, ours = [], []
    for feed in feeds:
        theirs.append(source.run(feed))
        ours.append(_run(session, feed))
    if (count := len(theirs[0])) != len(names):
        raise CannotExport(f"the graph has {len(names)} outputs ({', '.join(names)}), the framework's model {count}")
    rows = [i for i, one in enumerate(session.get_outputs()) if one.shape and not isinstance(one.shape[0], int)]
    moved = 0
    if len(rows) > 1 and all(isinstance(one.shape[0], int) for one in session.get_inputs() if one.shape):
        moved = sum(align_rows(a, b, rows) for a, b in zip(theirs, ours, strict=True))
    outputs = (_one(name, [a[i] for a in theirs], [b[i] for b in ours]) for i, name in enumerate(names))
    return Parity(on, tolerance, tuple(outputs), moved)


def align_rows(theirs: Sequence[np.ndarray], ours: list[np.ndarray], rows: Sequence[int]) -> int:
    """Put the rows of ``ours[i]`` for ``i`` in ``rows`` in the order of theirs; return how many moved; in place.

    Nothing is done where the numbers of rows differ. Each of their rows, in order, takes the nearest that is left.
    """
    counts = {len(side[i]) for side in (theirs, ours) for i in rows}
    if len(counts) != 1 or not (count := counts.pop()):
        return 0
    one, two = _columns(theirs, rows), _columns(ours, rows)
    if one.shape != two.shape:
        return 0
    scale = np.maximum(np.abs(one).max(axis=0), 1e-30)
    one, two = one / scale, two / scale
    left, order = np.ones(count, bool), np.empty(count, np.intp)
    for row in range(count):
        distance = np.where(left, np.abs(two - one[row]).max(axis=1), np.inf)
        order[row] = row if left[row] and distance[row] <= distance.min() else int(distance.argmin())
        left[order[row]] = False
    for i in rows:
        ours[i] = ours[i][order]
    return int((order != np.arange(count)).sum())


def _columns(side: Sequence[np.ndarray], rows: Sequence[int]) -> np.ndarray:
    return np.concatenate([side[i].reshape(len(side[i]), -1).astype(np.float64) for i in rows], axis=1)


def load(model: onnx.ModelProto) -> Any:
    """Return ONNX Runtime's session of a graph, as a device would run it. Raises :class:`CannotExport`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except reasons.ORT_ERRORS as error:
        raise CannotExport(f"ONNX Runtime cannot load what was exported: {reasons.explain(error)}") from error


def _run(session: Any, feed: Feed) -> list[np.ndarray]:
    inputs = session.get_inputs()
    if len(inputs) != len(feed):
        names = ", ".join(one.name for one in inputs) or "none"
        raise CannotExport(f"the graph's inputs are {names}, the framework's model takes {len(feed)}")
    try:
        answer = session.run(None, {one.name: array for one, array in zip(inputs, feed, strict=True)})
    except reasons.ORT_ERRORS as error:
        raise CannotExport(f"ONNX Runtime cannot run what was exported: {reasons.explain(error)}") from error
    return [np.asarray(one) for one in answer]


def _one(name: str, theirs: list[np.ndarray], ours: list[np.ndarray]) -> OutputParity:
    shape = tuple(theirs[0].shape)
    for a, b in zip(theirs, ours, strict=True):
        if a.shape != b.shape:
            reason = f"has shape {list(b.shape)}, the framework's {list(a.shape)}"
            return OutputParity(name, shape, 0, np.inf, np.inf, np.inf, np.inf, reason)
    differences = [_difference(a, b) for a, b in zip(theirs, ours, strict=True) if a.size]
    if not differences:
        return OutputParity(name, shape, 0, 0.0, 0.0, 0.0, 0.0)
    scale = max(float(np.max(np.abs(_finite(a)), initial=0.0)) for a in theirs)
    worst = max(float(one.max()) for one in differences)
    count = sum(one.size for one in differences)
    mean = sum(float(one.sum()) for one in differences) / count
    return OutputParity(name, shape, count, worst, mean, _quotient(worst, scale), _quotient(mean, scale))


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |a - b|; the same infinity, or no number on both sides, is no difference, on one side an infinite one."""
    one, two = a.astype(np.float64), b.astype(np.float64)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - two)
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def _finite(array: np.ndarray) -> np.ndarray:
    wide = array.astype(np.float64)
    return wide[np.isfinite(wide)]


def _quotient(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale else float("inf")


# --- inputs ----------------------------------------------------------------------------------------------------------


def noise(ports: Sequence[Port], *, seed: int, count: int) -> list[Feed]:
    """Return ``count`` feeds of seeded noise: 0..1 for floats, bytes for uint8, 0 or 1 for other whole numbers."""
    source = np.random.default_rng(seed)
    return [tuple(_noise(port, source) for port in ports) for _ in range(count)]


def _noise(port: Port, source: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f":
        return source.random(port.shape).astype(dtype)
    top = 256 if port.dtype == "uint8" else 2
    return source.integers(0, top, port.shape).astype(dtype)


def photographs(folder: Path, ports: Sequence[Port], *, pixels: Pixels, count: int) -> list[Feed]:
    """Return up to ``count`` pictures of ``folder`` as feeds. Raises :class:`InputError`."""
    port = ports[0]
    if len(ports) != 1 or (layout := _layout(port)) is None:
        what = ", ".join(f"{one.name} {list(one.shape)}" for one in ports)
        raise InputError(f"--images {folder}: the model does not take one picture ({what}); leave --images out")
    if not folder.is_dir():
        raise InputError(f"--images {folder}: there is no such folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)[:count]
    if not files:
        raise InputError(f"--images {folder}: holds no picture ({', '.join(sorted(_SUFFIXES))})")
    return [(_picture(path, port, layout, pixels),) for path in files]


def _layout(port: Port) -> Literal["NCHW", "NHWC"] | None:
    if len(port.shape) != 4:
        return None
    if port.shape[1] in _CHANNELS:
        return "NCHW"
    return "NHWC" if port.shape[3] in _CHANNELS else None


def _picture(path: Path, port: Port, layout: Literal["NCHW", "NHWC"], pixels: Pixels) -> np.ndarray:
    batch, *rest = port.shape
    channels, height, width = rest if layout == "NCHW" else (rest[2], rest[0], rest[1])
    read = cv2.imread(str(path), cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE)
    if read is None:
        raise InputError(f"{path}: is not a picture that OpenCV can read")
    sized = cv2.resize(read, (width, height), interpolation=cv2.INTER_LINEAR)
    image: np.ndarray = sized[..., ::-1] if channels == 3 else sized[..., None]
    if np.dtype(port.dtype).kind == "f":
        image = _numbers(image.astype(np.float32), pixels).astype(port.dtype)
    if layout == "NCHW":
        image = image.transpose(2, 0, 1)
    return np.ascontiguousarray(np.repeat(image[None], batch, axis=0).astype(port.dtype))


def _numbers(image: np.ndarray, pixels: Pixels) -> np.ndarray:
    if pixels == "raw":
        return image
    unit: np.ndarray = image / np.float32(255)
    if pixels == "unit" or image.shape[2] != 3:
        return unit
    scaled: np.ndarray = (unit - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return scaled
