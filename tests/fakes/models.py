"""Specs of the real models, and tiny real ONNX models whose answers a test can predict.

``tiny_detector`` sees colour: its input of 64 by 64 is cut into cells of 8 by 8, and each cell answers one box, exactly
its own area. Its objectness is the cell's brightest channel (mean / 255) and its class scores are the channels' means
/ 255: class 0 is blue, 1 green, 2 red. So a cell filled with pure red scores 1.0 as ``red``, and a black frame answers
nothing. With ``constant`` it answers the same rows whatever it sees. All of them fit :func:`tiny_spec`, a ``yolox``
decoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId

TINY_LABELS = ("blue", "green", "red")
TINY_SIZE = 64
STRIDES = (8, 16, 32)
CELLS = TINY_SIZE // 8
ANCHORS = sum((TINY_SIZE // stride) ** 2 for stride in STRIDES)
OPSET = 17
IR_VERSION = 8


def release_id(model: str, version: str = "1.0.0", digest: str = "0" * 64) -> ReleaseId:
    """A release's name, as far as inference cares."""
    return ReleaseId(model=ModelName(model), version=version, digest=Digest(digest))


def coco_labels(shared: Path) -> tuple[str, ...]:
    """The 80 labels of the real models, in order of their class ids."""
    return tuple((shared / "data/coco128/classes.txt").read_text().split("\n")[:80])


# --- what the real models' manifests say -----------------------------------------------------------------------------


def yolox_spec(**changes: Any) -> ModelSpec:
    """``shared/models/yolox_nano.onnx``: raw BGR pixels, letterbox at the top left."""
    spec = ModelSpec(
        release=release_id("yolox-nano"),
        task="detect",
        input=InputSpec(name="images", shape=(1, 3, 416, 416)),
        decoder=DecoderSpec(kind="yolox", params={"strides": [8, 16, 32]}),
        num_classes=80,
    )
    return msgspec.structs.replace(spec, **changes)


def nanodet_spec(**changes: Any) -> ModelSpec:
    """``shared/models/nanodet_m_320.onnx``: ImageNet's mean and deviation in 0..255, BGR, letterbox at the top left.

    The aspect ratio has to be kept: stretched, mAP 50-95 on coco128 falls from 29.1 to 26.2.
    """
    spec = ModelSpec(
        release=release_id("nanodet-m"),
        task="detect",
        input=InputSpec(
            name="input.1",
            shape=(1, 3, 320, 320),
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
        ),
        decoder=DecoderSpec(kind="nanodet", params={"strides": [8, 16, 32], "reg_max": 7}),
        num_classes=80,
    )
    return msgspec.structs.replace(spec, **changes)


def centerface_spec(width: int = 352, height: int = 288, **changes: Any) -> ModelSpec:
    """CenterFace with its dims rewritten to ``width`` by ``height`` (multiples of 32); raw RGB pixels."""
    spec = ModelSpec(
        release=release_id("faces"),
        task="detect",
        input=InputSpec(name="input.1", shape=(1, 3, height, width), color="RGB", pad=0),
        decoder=DecoderSpec(kind="centerface", params={"stride": 4}),
        num_classes=1,
        nms_iou=0.3,
    )
    return msgspec.structs.replace(spec, **changes)


def tiny_spec(**changes: Any) -> ModelSpec:
    """What :func:`tiny_detector`, :func:`nan_model` and :func:`slow_model` are."""
    spec = ModelSpec(
        release=release_id("tiny"),
        task="detect",
        input=InputSpec(name="images", shape=(1, 3, TINY_SIZE, TINY_SIZE)),
        decoder=DecoderSpec(kind="yolox", params={"strides": list(STRIDES)}),
        num_classes=len(TINY_LABELS),
    )
    return msgspec.structs.replace(spec, **changes)


def tiny_classifier_spec(**changes: Any) -> ModelSpec:
    """What :func:`tiny_classifier` is."""
    spec = ModelSpec(
        release=release_id("tiny-classes"),
        task="classify",
        input=InputSpec(name="images", shape=(1, 3, TINY_SIZE, TINY_SIZE), resize="stretch"),
        decoder=DecoderSpec(kind="classify", params={"softmax": False, "top": 2}),
        num_classes=len(TINY_LABELS),
    )
    return msgspec.structs.replace(spec, **changes)


def fragment(spec: ModelSpec, *, score: float = 0.35) -> dict[str, Any]:
    """``input``, ``decoder`` and ``thresholds`` as a manifest writes them."""
    return {
        "input": msgspec.to_builtins(spec.input),
        "decoder": {"kind": spec.decoder.kind, **spec.decoder.params},
        "thresholds": {"score": score, "nms_iou": spec.nms_iou, "max_detections": spec.max_detections},
    }


# --- tiny models -----------------------------------------------------------------------------------------------------


def tiny_detector(path: Path, *, constant: Sequence[tuple[float, ...]] | None = None) -> Path:
    """Write the colour detector to ``path``; ``constant`` rows are ``x1 y1 x2 y2 score class_id`` in input pixels."""
    if constant is None:
        return _write(path, *_seeing())
    rows = np.zeros((1, ANCHORS, 5 + len(TINY_LABELS)), np.float32)
    for anchor, (x1, y1, x2, y2, score, class_id) in enumerate(constant):
        row, column = divmod(anchor, CELLS)
        rows[0, anchor, :5] = (
            (x1 + x2) / 16 - column, (y1 + y2) / 16 - row, math.log((x2 - x1) / 8), math.log((y2 - y1) / 8), score,
        )  # fmt: skip
        rows[0, anchor, 5 + int(class_id)] = 1.0
    nodes = [*_zero_of_input(), helper.make_node("Add", ["rows", "zero"], ["output"])]
    return _write(path, nodes, {"rows": rows})


def tiny_conv_detector(path: Path) -> Path:
    """Write the colour detector with a convolution in place of the pooling: something that INT8 has work with."""
    nodes, constants = _seeing()
    nodes[0] = helper.make_node(
        "Conv", ["images", "means"], ["pooled"], name="mean", kernel_shape=[8, 8], strides=[8, 8]
    )
    means = np.zeros((3, 3, 8, 8), np.float32)
    for channel in range(3):
        means[channel, channel] = 1 / 64
    return _write(path, nodes, constants | {"means": means})


def nan_model(path: Path) -> Path:
    """Write a model that answers NaN everywhere, whatever it sees."""
    nodes, constants = _seeing("seen")
    nodes += [
        *_zero_of_input(),
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Add", ["seen", "nan"], ["output"]),
    ]
    return _write(path, nodes, constants)


def slow_model(path: Path, *, steps: int = 50) -> Path:
    """Write the colour detector with ``steps`` times about 1 ms (one thread) of useless work before its answer."""
    nodes, constants = _seeing("seen")
    size = 448
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("MatMul", ["x", "weights"], ["x_out"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, [size, size]),
        ],
    )
    constants |= {
        "weights": np.eye(size, dtype=np.float32),
        "steps": np.array(steps, np.int64),
        "always": np.array(True),
        "axes": np.array([0, 1], np.int64),
    }
    nodes += [
        *_zero_of_input(),
        helper.make_node("Add", ["weights", "zero"], ["x_first"]),
        helper.make_node("Loop", ["steps", "always", "x_first"], ["x_last"], body=body),
        helper.make_node("ReduceSum", ["x_last", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["seen", "nothing"], ["output"]),
    ]
    return _write(path, nodes, constants)


def tiny_classifier(path: Path) -> Path:
    """Write a classifier whose probabilities are the frame's mean blue, green and red, each / 255."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["means", "unit"], ["output"]),
    ]
    return _write(path, nodes, {"unit": np.array(1 / 255, np.float32)}, output=[1, len(TINY_LABELS)])


def _zero_of_input() -> list[onnx.NodeProto]:
    """Nodes that give the scalar ``zero`` in a way no optimiser may fold: it depends on the input."""
    return [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
    ]


def _seeing(output: str = "output") -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes and constants of the colour detector; rows of strides 16 and 32 are zero."""
    cells = CELLS * CELLS
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Mul", ["pooled", "unit"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["classes"], perm=[0, 2, 1]),
        helper.make_node("ReduceMax", ["classes"], ["objectness"], axes=[2], keepdims=1),
        helper.make_node("Concat", ["boxes", "objectness", "classes"], ["fine"], axis=2),
        helper.make_node("Concat", ["fine", "coarse"], [output], axis=1),
    ]
    constants: dict[str, np.ndarray] = {
        "unit": np.array(1 / 255, np.float32),
        "flat": np.array([1, len(TINY_LABELS), cells], np.int64),
        "boxes": np.tile(np.array([0.5, 0.5, 0.0, 0.0], np.float32), (1, cells, 1)),
        "coarse": np.zeros((1, ANCHORS - cells, 5 + len(TINY_LABELS)), np.float32),
    }
    return nodes, constants


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    output: Sequence[int] = (1, ANCHORS, 5 + len(TINY_LABELS)),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, TINY_SIZE, TINY_SIZE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, list(output))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
