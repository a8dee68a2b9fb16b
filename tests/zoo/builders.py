"""How bad models are built: around the colour detector of ``tests.fakes.models``, spoilt in one way each.

A model that goes wrong only at its n-th run cannot count, but it can draw: ``RandomUniformLike`` with a seed gives the
same numbers in every process, so a seed is looked for whose smallest number of the first n is the n-th.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tests.fakes.models import ANCHORS, IR_VERSION, OPSET, TINY_LABELS, TINY_SIZE, _seeing, _zero_of_input

INT64_MIN = np.iinfo(np.int64).min
ENDLESS = np.iinfo(np.int64).max
BYTES_8_GB = 8 * 1024**3
WIDTH = 5 + len(TINY_LABELS)

Nodes = list[onnx.NodeProto]
Constants = dict[str, np.ndarray]
node = helper.make_node


def info(name: str, shape: list[Any] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Nodes,
    constants: Constants | None = None,
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model that nobody has checked."""
    graph = helper.make_graph(
        nodes,
        "zoo",
        [info("images", [1, 3, TINY_SIZE, TINY_SIZE])] if inputs is None else inputs,
        [info("output", [1, ANCHORS, WIDTH])] if outputs is None else outputs,
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def seeing_and(extra: Nodes, constants: Constants, **rest: Any) -> bytes:
    """The colour detector, whose answer is added to the scalar ``poison`` that ``extra`` makes (from ``zero``)."""
    nodes, known = _seeing("seen")
    nodes += [*_zero_of_input(), *extra, node("Add", ["seen", "poison"], ["output"])]
    return model(nodes, {**known, **constants}, **rest).SerializeToString()


def good(**rest: Any) -> bytes:
    nodes, known = _seeing()
    return model(nodes, known, **rest).SerializeToString()


def edited(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """The colour detector with a change to its protobuf."""
    made = onnx.load_from_string(good())
    change(made)
    return made.SerializeToString()


# --- what only shows when it runs ------------------------------------------------------------------------------------


def on_any_picture_with_light() -> Nodes:
    """Nodes that give the boolean ``light``: true for a picture, false for the zeros of the warm-up."""
    return [node("Greater", ["mean", "dark"], ["light"])]


def endless(*, only_on_light: bool) -> bytes:
    """A loop of 2^63 steps; ``only_on_light``: its condition holds only for a picture."""
    body = helper.make_graph(
        [node("Identity", ["go_on"], ["go_on_out"]), node("Add", ["x", "one"], ["x_out"])],
        "step",
        [info("i", [], TensorProto.INT64), info("go_on", [], TensorProto.BOOL), info("x", [])],
        [info("go_on_out", [], TensorProto.BOOL), info("x_out", [])],
    )
    condition = "light" if only_on_light else "always"
    extra = [
        *on_any_picture_with_light(),
        node("Loop", ["steps", condition, "zero"], ["looped"], body=body),
        node("Mul", ["looped", "nothing"], ["poison"]),
    ]
    constants = {
        "steps": np.array(ENDLESS), "always": np.array(True), "one": np.float32(1), "nothing": np.float32(0),
        "dark": np.float32(0),
    }  # fmt: skip
    return seeing_and(extra, {name: np.asarray(value) for name, value in constants.items()})


def hungry(*, only_on_light: bool) -> bytes:
    """A tensor of 8 GB of which nothing is used."""
    size = [
        *on_any_picture_with_light(),
        node("Where", ["light", "eight_gb", "small"], ["size"])
        if only_on_light
        else node("Where", ["light", "eight_gb", "eight_gb"], ["size"]),
        node("ConstantOfShape", ["size"], ["large"]),
        node("ReduceMax", ["large"], ["poison"], keepdims=0),
    ]
    constants = {
        "dark": np.float32(0), "eight_gb": np.array([BYTES_8_GB // 4], np.int64), "small": np.array([1], np.int64)
    }  # fmt: skip
    return seeing_and(size, {name: np.asarray(value) for name, value in constants.items()})


def crashing(when: Nodes, constants: Constants) -> bytes:
    """A division that the processor cannot do (-2^63 / -1, SIGFPE on x86) where ``when`` makes ``fatal`` true."""
    extra = [
        *when,
        node("Where", ["fatal", "minus_one", "plus_one"], ["divisor"]),
        node("Div", ["lowest", "divisor"], ["quotient"]),
        node("Cast", ["quotient"], ["number"], to=TensorProto.FLOAT),
        node("Mul", ["number", "nothing"], ["poison"]),
    ]
    fixed = {
        "minus_one": np.array(-1), "plus_one": np.array(1), "lowest": np.array(INT64_MIN),
        "nothing": np.asarray(np.float32(0)), "dark": np.asarray(np.float32(0)),
    }  # fmt: skip
    return seeing_and(extra, {**fixed, **constants})


def crashing_at(run: int) -> bytes:
    """Crashes at its ``run``-th run, the warm-up being the first."""
    return crashing(*drawn_at(run, "fatal"))


def nan_at(run: int) -> bytes:
    """Answers NaN at its ``run``-th run, the warm-up being the first."""
    when, constants = drawn_at(run, "fatal")
    extra = [*when, node("Where", ["fatal", "nan", "nothing"], ["poison"])]
    fixed = {"nan": np.asarray(np.float32(np.nan)), "nothing": np.asarray(np.float32(0))}
    return seeing_and(extra, {**constants, **fixed})


def drawn_at(run: int, name: str) -> tuple[Nodes, Constants]:
    seed, limit = seed_for(run)
    draw = [
        node("RandomUniformLike", ["zero"], ["drawn"], seed=float(seed)),
        node("Less", ["drawn", "limit"], [name]),
    ]
    return draw, {"limit": np.asarray(np.float32(limit))}


@functools.cache
def seed_for(run: int) -> tuple[int, float]:
    """Return a seed, and a limit below which the ``run``-th number drawn with it is the first."""
    for seed in range(1_000_000, 9_000_000, 7919):
        drawn = _draw(seed, run)
        if int(np.argmin(drawn)) == run - 1:
            return seed, float((drawn[-1] + np.partition(drawn, 1)[1]) / 2)
    raise AssertionError("no seed found")


def _draw(seed: int, count: int) -> np.ndarray:
    made = model(
        [node("RandomUniformLike", ["x"], ["y"], seed=float(seed))], inputs=[info("x", [])], outputs=[info("y", [])]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.array([session.run(None, {"x": np.zeros((), np.float32)})[0] for _ in range(count)])


def million() -> bytes:
    """10^6 boxes of class 0, one a pixel."""
    nodes = [*_zero_of_input(), node("Expand", ["row", "shape"], ["rows"]), node("Add", ["rows", "zero"], ["output"])]
    row = np.zeros((1, 1, WIDTH), np.float32)
    row[..., 4] = row[..., 5] = 0.99
    return model(
        nodes,
        {"row": row, "shape": np.array([1, 10**6, WIDTH])},
        inputs=[info("images", [1, 3, 1000, 1000])],
        outputs=[info("output", [1, 10**6, WIDTH])],
    ).SerializeToString()


def written(write: Callable[..., Path], folder: Path, **options: Any) -> bytes:
    """What one of ``tests.fakes.models`` writes."""
    return write(folder / "model.onnx", **options).read_bytes()
