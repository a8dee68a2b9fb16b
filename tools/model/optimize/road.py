"""The road from a raw file to the one that ships: one step after another, each measured against the step's own bound.

Every step is compared with the *original* file, so that small differences cannot add up unseen. A step beyond its
bound ends the road with an error that says how far it was off, and nothing is written: the target appears whole or not
at all.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnx

from agent.atomic import write_bytes
from agent.errors import InputError, ModelError, StorageError
from agent.infer.session import NUMPY_TYPES, Session
from agent.types import InputSpec
from tools.model import clean
from tools.model.optimize import parity, steps
from tools.model.optimize.parity import Outputs, Parity
from tools.model.optimize.samples import input_tensors, noise_frames, noise_tensors
from tools.model.timing import interleaved_medians_ms

Progress = Callable[[str, int, int], None]


def _nobody(what: str, done: int, total: int) -> None:
    """Tell nobody how far it is."""
    del what, done, total


@dataclass(frozen=True)
class Wishes:
    """What shall be done besides cleaning."""

    simplify: bool = True
    fuse: bool = False
    uint8_input: bool = False
    fp16: bool = False
    ort: bool = False


class Done(msgspec.Struct, frozen=True):
    """A step taken. ``parity``: against the original; ``latency_ms``: median at one thread, taking turns with the rest.

    ``latency_ms`` is None where nothing was timed.
    """

    step: str
    file: str
    size_bytes: int
    nodes: int | None
    parity: Parity | None
    latency_ms: float | None


class Optimized(msgspec.Struct, frozen=True):
    """What was made: ``model``, and the ``ort`` file if asked for. ``samples``: what the answers were compared on.

    ``variant``: how a manifest names the file, with the ``input`` that differs, if one was given.
    """

    source: str
    model: str
    ort: str | None
    samples: str
    steps: tuple[Done, ...]
    variant: dict[str, object]


@dataclass
class _Model:
    """A file on the road, and what it is fed with."""

    step: str
    path: Path
    tensors: list[np.ndarray]
    parity: Parity | None = None


def optimize(
    source: Path,
    target: Path,
    *,
    wishes: Wishes | None = None,
    spec: InputSpec | None = None,
    shape: Sequence[int] | None = None,
    frames: Sequence[np.ndarray] = (),
    rounds: int = 20,
    on_progress: Progress = _nobody,
) -> Optimized:
    """Write the optimised ``source`` to ``target``.

    ``spec`` is how pictures become the input (needed for uint8 and for ``frames``), ``shape`` overrides the file's own.
    Without ``frames`` seeded noise is compared. Raises :class:`InputError`, :class:`ModelError` (a step cannot be
    taken, or is beyond its bound), :class:`StorageError` (the target cannot be written).
    """
    wishes = wishes or Wishes()
    _check(source, target, wishes, spec)
    pinned = input_shape(source, spec, shape)
    with tempfile.TemporaryDirectory(prefix="lookout-optimize-") as folder:
        road = _Road(Path(folder), _tensors(spec, pinned, frames), spec, on_progress, _count(wishes))
        road.start(source, pinned)
        road.take("clean", partial(clean.clean, input_shape=pinned))
        if wishes.simplify:
            road.take("simplify", steps.simplify)
        if wishes.uint8_input:
            assert spec is not None, "was checked"
            pixels = input_tensors(pixel_spec(spec), frames or noise_frames(spec.width, spec.height))
            road.take("uint8 input", partial(steps.take_pixels, spec=spec), tensors=pixels)
        if wishes.fp16:
            steps.check_range(road.models[-1].path, road.models[-1].tensors)
            road.take("fp16", steps.half, bound=parity.HALF)
        if wishes.fuse:
            road.take("fuse", steps.fuse)
        final = road.models[-1].path
        if wishes.ort:
            road.take("ort", steps.to_ort, suffix=".ort")
        latencies = _latencies(road.models, rounds, on_progress)
        made = _write(final, road.models[-1].path if wishes.ort else None, target)
        return Optimized(
            source=str(source),
            model=str(target),
            ort=made,
            samples=_words(spec, frames),
            steps=tuple(_done(one, latencies.get(one.step)) for one in road.models),
            variant=variant_of(target, wishes),
        )


def pixel_spec(spec: InputSpec) -> InputSpec:
    """Return the input of a model that takes pixels as they are, otherwise as ``spec``."""
    return msgspec.structs.replace(spec, dtype="uint8", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def input_shape(source: Path, spec: InputSpec | None, shape: Sequence[int] | None) -> tuple[int, ...]:
    """Return the static shape of the one input. Raises :class:`InputError` where nobody says it."""
    model = clean.load(source)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(f"{source}: has {len(inputs)} inputs ({names}); optimize takes models with one")
    if shape is not None:
        return tuple(shape)
    if spec is not None:
        return spec.shape
    sizes = tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)
    if not sizes or min(sizes) <= 0:
        raise InputError(f"{source}: input {inputs[0].name} has an open shape; give --shape, such as 1,3,416,416")
    return sizes


def variant_of(target: Path, wishes: Wishes) -> dict[str, object]:
    """Return the file as a variant in ``manifest.json``."""
    data = target.read_bytes()
    entry: dict[str, object] = {
        "providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        if wishes.fp16
        else ["CPUExecutionProvider"],
        "precision": "fp16" if wishes.fp16 else "fp32",
        "file": {"path": target.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)},
    }
    if wishes.uint8_input:
        entry["input"] = {"dtype": "uint8", "scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    return entry


class _Road:
    """Files so far, and the original's answers."""

    def __init__(
        self, folder: Path, tensors: list[np.ndarray], spec: InputSpec | None, on_progress: Progress, total: int
    ) -> None:
        self.models: list[_Model] = []
        self._folder = folder
        self._tensors = tensors
        self._spec = spec
        self._reference: list[Outputs] = []
        self._on_progress = on_progress
        self._total = total

    def start(self, source: Path, shape: Sequence[int]) -> None:
        """Take the original's answers; its shape is pinned in a copy, and nothing else."""
        copy = self._folder / "original.onnx"
        model = clean.load(source)
        clean.drop_initializers_from_inputs(model)
        clean.pin_input(model, shape)
        onnx.save(model, copy)
        self._reference = _answers(copy, self._tensors)
        if not all(np.isfinite(output).all() for outputs in self._reference for output in outputs):
            raise ModelError(f"{source}: its answers are not finite already; no step can be compared with them")
        self.models.append(_Model("original", source if _is_static(source) else copy, self._tensors))

    def take(
        self,
        step: str,
        act: Callable[[Path, Path], None],
        *,
        bound: float = parity.EXACT,
        tensors: list[np.ndarray] | None = None,
        suffix: str = ".onnx",
    ) -> None:
        """Take one step and compare. Raises :class:`ModelError`, naming the step."""
        self._on_progress(step, len(self.models), self._total)
        last = self.models[-1]
        made = _Model(step, self._folder / f"{len(self.models)}{suffix}", tensors or last.tensors)
        try:
            act(last.path, made.path)
        except OSError as error:
            raise StorageError(f"{step}: {made.path} cannot be written: {error.strerror}; free space there") from error
        try:
            made.parity = parity.compare(self._reference, _answers(made.path, made.tensors), bound=bound)
        except ModelError as error:
            raise ModelError(f"{step}: {error.message}") from error
        if not made.parity.kept:
            raise ModelError(
                f"{step}: the answers differ by {made.parity.judged:.2g} of the output's range "
                f"({made.parity.max_abs:.3g} at most, {made.parity.mean_abs:.3g} on average), at most "
                f"{made.parity.bound:.2g} is allowed; nothing was written; leave the step out{_without(step)}"
            )
        self.models.append(made)


def _without(step: str) -> str:
    return {"simplify": " (--no-simplify)", "clean": ": the file as it is may serve"}.get(step, "")


def _check(source: Path, target: Path, wishes: Wishes, spec: InputSpec | None) -> None:
    if target.suffix != ".onnx":
        raise InputError(f"{target}: the target's name must end in .onnx; an .ort file is written beside it with --ort")
    if source.resolve() == target.resolve():
        raise InputError(f"{target}: is the source itself; name another target")
    if wishes.fp16 and (wishes.fuse or wishes.ort):
        raise InputError("--fp16 with --fuse or --ort: fused on a CPU the floats have 32 bits again; leave one out")
    if wishes.uint8_input and spec is None:
        raise InputError("--uint8-input needs to know mean, std, scale and color: give --manifest")
    if wishes.uint8_input and spec is not None and spec.dtype != "float32":
        raise InputError(f"--uint8-input: the manifest's input is {spec.dtype} already")


def _count(wishes: Wishes) -> int:
    return 2 + sum((wishes.simplify, wishes.fuse, wishes.uint8_input, wishes.fp16, wishes.ort))


def _tensors(spec: InputSpec | None, shape: Sequence[int], frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    if spec is None:
        if frames:
            raise InputError("--images needs to know how pictures become the input: give --manifest")
        return noise_tensors(shape)
    return input_tensors(spec, frames or noise_frames(spec.width, spec.height))


def _words(spec: InputSpec | None, frames: Sequence[np.ndarray]) -> str:
    if frames:
        return f"{len(frames)} pictures"
    return "seeded random pictures" if spec is not None else "seeded random tensors"


def _answers(path: Path, tensors: Sequence[np.ndarray]) -> list[Outputs]:
    session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
    wanted = NUMPY_TYPES.get(session.inputs[0].dtype)
    return [session.run(tensor if tensor.dtype == wanted else tensor.astype(wanted)) for tensor in tensors]


def _is_static(path: Path) -> bool:
    session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
    return session.first_run_ms is not None


def _latencies(models: Sequence[_Model], rounds: int, on_progress: Progress) -> dict[str, float]:
    """Time all files against one another; sessions do not spin, so that they leave the cores to each other."""
    if rounds < 1:
        return {}
    on_progress("timing", len(models), len(models) + 1)
    runs: dict[str, Callable[[], object]] = {}
    for model in models:
        session = Session.load(model.path, providers=("CPUExecutionProvider",), threads=1, spin=False)
        runs[model.step] = partial(session.run, model.tensors[0])
    return interleaved_medians_ms(runs, rounds=rounds)


def _done(model: _Model, latency_ms: float | None) -> Done:
    nodes = len(clean.load(model.path).graph.node) if model.path.suffix == ".onnx" else None
    return Done(model.step, model.path.name, model.path.stat().st_size, nodes, model.parity, latency_ms)


def _write(final: Path, ort: Path | None, target: Path) -> str | None:
    """Bring the results to their places; the model last and at once. Raises :class:`StorageError`."""
    files = [] if ort is None else [(ort, target.with_suffix(".ort"))]
    if ort is not None:
        config = ort.with_suffix(".config")
        steps.required_operators(ort, config)
        files.append((config, target.with_suffix(".required_operators.config")))
    for made, place in (*files, (final, target)):
        write_bytes(place, made.read_bytes())
    return None if ort is None else str(target.with_suffix(".ort"))
