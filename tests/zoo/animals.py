"""The zoo: every bad model, where it must be caught, and what the message must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.fakes.models import TINY_LABELS, fragment, nan_model, slow_model, tiny_detector, tiny_spec
from tests.zoo import builders
from tests.zoo.builders import info, model, node

EVERYWHERE = [
    (8.0 * column, 8.0 * row, 8.0 * column + 8, 8.0 * row + 8, 0.95, 2) for row in range(8) for column in range(8)
]
RED = (8.0, 8.0, 16.0, 16.0, 1.0, 2)


@dataclass(frozen=True)
class Animal:
    """A bad model. ``make`` returns its file's bytes; ``manifest`` changes what the manifest says of it.

    ``caught``: the state in which it is; ``words``: what the reason must name. ``golden`` False: published without
    golden images, as its author meant it to slip through. ``module``: the worker's, where it is not the real one.
    """

    make: Callable[[Path], bytes]
    caught: str
    words: tuple[str, ...]
    manifest: dict[str, Any] = field(default_factory=dict)
    golden: bool = True
    module: str | None = None
    ends: str = "failed"
    sample: bool = False


def inspected(make: Callable[[], bytes], *words: str, **rest: Any) -> Animal:
    return Animal(lambda _folder: make(), "trial", words, **rest)


def tried(make: Callable[[], bytes], *words: str, **rest: Any) -> Animal:
    return Animal(lambda _folder: make(), "trial", words, **rest)


def on_probation(make: Callable[[Path], bytes], *words: str, **rest: Any) -> Animal:
    return Animal(make, "probation", words, ends="rolled_back", **rest)


def external(location: str) -> bytes:
    def change(made: onnx.ModelProto) -> None:
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return builders.edited(change)


def oversized(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].dims[:] = [1_000_000, 1_000_000]


def short(made: onnx.ModelProto) -> None:
    tensor = next(one for one in made.graph.initializer if len(one.dims) > 1)
    tensor.raw_data = tensor.raw_data[:-8]


def endless_chain() -> bytes:
    nodes = [node("Identity", [f"x{n}" if n else "images"], [f"x{n + 1}"]) for n in range(50_001)]
    return model([*nodes, node("Identity", ["x50001"], ["output"])]).SerializeToString()


def custom_domain() -> bytes:
    return builders.seeing_and([node("Magic", ["zero"], ["poison"], domain="com.acme")], {}, domains=("com.acme",))


def bomb() -> bytes:
    extra = [
        node("ConstantOfShape", ["size"], ["large"]),
        node("ReduceMax", ["large"], ["most"], keepdims=0),
        node("Add", ["most", "zero"], ["poison"]),
    ]
    return builders.seeing_and(extra, {"size": np.array([2**31], np.int64)})


def undefined() -> bytes:
    return builders.seeing_and([node("Add", ["zero", "nowhere"], ["poison"])], {})


def fixed_inside() -> bytes:
    """Any height and width, it says; inside it can do one size only, and not the manifest's."""
    nodes = [node("Reshape", ["images", "shape"], ["flat"]), node("MatMul", ["flat", "weights"], ["output"])]
    constants = {"shape": np.array([1, -1, 3 * 48 * 48]), "weights": np.zeros((3 * 48 * 48, 8), np.float32)}
    return model(
        nodes, constants, inputs=[info("images", [1, 3, "h", "w"])], outputs=[info("output", [1, "n", 8])]
    ).SerializeToString()


def flat() -> bytes:
    """A picture without a batch."""
    return model([node("Squeeze", ["images"], ["output"])], inputs=[info("images", [3, 64, 64])]).SerializeToString()


def classes_of(count: int) -> bytes:
    nodes = [*builders._zero_of_input(), node("Add", ["rows", "zero"], ["output"])]
    rows = np.zeros((1, builders.ANCHORS, 5 + count), np.float32)
    return model(nodes, {"rows": rows}, outputs=[info("output", list(rows.shape))]).SerializeToString()


def shifted(value: float) -> bytes:
    """The detector with ``value`` added to everything it answers."""
    return builders.seeing_and([node("Add", ["zero", "value"], ["poison"])], {"value": np.asarray(np.float32(value))})


def always(condition: str) -> bytes:
    when = {
        "always": [node("Equal", ["zero", "zero"], ["fatal"])],
        "light": [node("Greater", ["mean", "dark"], ["fatal"])],
    }
    return builders.crashing(when[condition], {})


TWO_INPUTS = [info("images", [1, 3, 64, 64]), info("more", [1])]
NONE: list[onnx.ValueInfoProto] = []
SLOW = {"budget": {"default": {"latency_ms_p95": 4}}}
SLOWISH = {"budget": {"default": {"latency_ms_p95": 24}}}
LEAN = {"budget": {"default": {"memory_mb": 160}}}

ZOO: dict[str, Animal] = {
    # --- the file: seen by the inspection, no worker was started ---
    "truncated": inspected(lambda: builders.good()[:-2000], "not a whole ONNX file", sample=True),
    "nearly empty: one zero byte": inspected(lambda: b"\0", "not a whole ONNX file"),
    "a photograph": inspected(lambda: b"\x89PNG\r\n\x1a\n" + bytes(900), "not a whole ONNX file"),
    "an error page of a web server": inspected(lambda: b"<html><h1>404</h1></html>\n" * 20, "not a whole ONNX file"),
    "no graph in it": inspected(
        lambda: onnx.ModelProto(ir_version=8, producer_name="x").SerializeToString(), "no ONNX graph"
    ),
    "opset too new": inspected(lambda: builders.good(opset=99), "opset 99", "takes at most", "ONNX Runtime"),
    "IR version too new": inspected(lambda: builders.good(ir_version=99), "IR version 99", "at most"),
    "an unknown operator": inspected(
        lambda: builders.seeing_and([node("Teleport", ["zero"], ["poison"])], {}), "Teleport", sample=True
    ),
    "an operator of a custom domain": inspected(custom_domain, "Magic", "com.acme"),
    "external data that is missing": inspected(lambda: external("weights.bin"), "weights.bin", "one file"),
    "external data in /etc/passwd": inspected(
        lambda: external("/etc/passwd"), "/etc/passwd", "outside its folder", sample=True
    ),
    "external data that climbs out": inspected(lambda: external("a/../../../etc/passwd"), "outside its folder"),
    "weights that declare 4 TB": inspected(lambda: builders.edited(oversized), "1000000, 1000000", "GB"),
    "weights cut short": inspected(lambda: builders.edited(short), "bytes, and holds"),
    "an input of 120 GB": inspected(
        lambda: builders.good(inputs=[info("images", [1, 3, 100_000, 100_000])]), "120 GB"
    ),
    "a constant that unfolds to 8 GB": inspected(bomb, "ConstantOfShape", "8.59 GB"),
    "50,000 nodes too many": inspected(endless_chain, "more than 50000 nodes"),
    "a node that reads what nobody makes": inspected(undefined, "nowhere"),
    "no outputs": inspected(lambda: builders.good(outputs=NONE), "0 outputs"),
    "two inputs": inspected(lambda: builders.good(inputs=TWO_INPUTS), "one input", "images, more"),
    # --- file and manifest do not fit: seen by the worker that loads it ---
    "wrong input name": tried(
        builders.good, "input.name 'picture'", "images",
        manifest={"input": {**fragment(tiny_spec())["input"], "name": "picture"}},
    ),
    "wrong input size": tried(
        builders.good, "input.shape", "[1, 3, 64, 64]",
        manifest={"input": {**fragment(tiny_spec())["input"], "shape": [1, 3, 32, 32]}},
    ),
    "wrong input rank": tried(flat, "input.shape", "[3, 64, 64]"),
    "wrong input type": tried(
        builders.good, "input.dtype uint8", "tensor(float)",
        manifest={"input": {**fragment(tiny_spec())["input"], "dtype": "uint8"}},
    ),
    "dynamic shapes that only pretend": tried(fixed_inside, "cannot run"),
    "wrong number of classes": tried(lambda: classes_of(7), "3 labels", "[1, 84, 12]"),
    "outputs of another decoder": tried(
        builders.good, "nanodet",
        manifest={"decoder": {"kind": "nanodet", "strides": [8, 16, 32], "reg_max": 7}},
    ),
    # --- it misbehaves before it has answered anything ---
    "an endless loop": tried(lambda: builders.endless(only_on_light=False), "not loaded and warm", "hangs"),
    "8 GB at its first run": tried(lambda: builders.hungry(only_on_light=False), "8589934592", sample=True),
    "a crash in native code": tried(lambda: always("always"), "SIGFPE", sample=True),
    # --- it misbehaves once it sees a picture: golden images ---
    "an endless loop on pictures with light": tried(
        lambda: builders.endless(only_on_light=True), "no answer for golden/1.png", "hangs"
    ),
    "8 GB on pictures with light": tried(
        lambda: builders.hungry(only_on_light=True), "memory grew", "deploy.trial_memory_mb"
    ),
    "a crash on pictures with light": tried(lambda: always("light"), "SIGFPE"),
    "outputs NaN": Animal(lambda f: builders.written(nan_model, f), "trial", ("not finite",), sample=True),
    "outputs infinite": tried(lambda: shifted(np.inf), "not finite"),
    "boxes infinitely large": tried(lambda: shifted(200.0), "infinitely large"),
    "raw scores where a sigmoid was due": tried(lambda: shifted(3.0), "a score is"),
    "always the same answer": Animal(
        lambda f: builders.written(tiny_detector, f, constant=[RED]), "trial", ("golden/2.png", "nothing was expected")
    ),
    "boxes everywhere": Animal(
        lambda f: builders.written(tiny_detector, f, constant=EVERYWHERE), "trial", ("golden/2.png", "red")
    ),
    "10^6 detections": tried(
        builders.million, "golden/1.png", "no red was seen",
        manifest={
            "input": {**fragment(tiny_spec())["input"], "shape": [1, 3, 1000, 1000]},
            "decoder": {"kind": "yolox", "strides": [1]},
        },
    ),
    "labels in another order": tried(
        builders.good, "golden/1.png", "expected red", manifest={"labels": list(reversed(TINY_LABELS))}, sample=True
    ),
    "wrong mean and deviation": tried(
        builders.good, "golden/1.png", "expected red",
        manifest={
            "input": {**fragment(tiny_spec())["input"], "mean": [103.5, 116.3, 123.7], "std": [57.4, 57.1, 58.4]}
        },
    ),
    "red and blue swapped": tried(
        builders.good, "golden/1.png", "expected red",
        manifest={"input": {**fragment(tiny_spec())["input"], "color": "RGB"}},
    ),
    "a good model with a lying manifest": tried(
        builders.good, "golden/1.png", "best match IoU",
        manifest={"golden_box": [30.0, 30.0, 50.0, 50.0]},
    ),
    "very slow": Animal(
        lambda f: builders.written(slow_model, f, steps=60), "trial", ("5 times the budget",), manifest=SLOW
    ),
    # --- made for somebody else ---
    "made for an accelerator that is not here": Animal(
        lambda _: builders.good(), "verifying", ("TensorrtExecutionProvider", "inference.providers"),
        manifest={"providers": ["TensorrtExecutionProvider"]},
    ),
    "made for a newer agent": Animal(
        lambda _: builders.good(), "verifying", ("requires agent >=99",), manifest={"requires": {"agent": ">=99"}}
    ),
    # --- it passes its trial, and shows itself to live frames ---
    "slower than its budget": on_probation(
        lambda f: builders.written(slow_model, f, steps=40), "p95", "the manifest's budget", manifest=SLOWISH
    ),
    "boxes everywhere, without golden images": on_probation(
        lambda f: builders.written(tiny_detector, f, constant=EVERYWHERE), "detections exploded",
        golden=False, sample=True,
    ),
    "blind, without golden images": on_probation(
        lambda f: builders.written(tiny_detector, f, constant=[]), "detections collapsed", golden=False
    ),
    "NaN at its 30th frame": on_probation(lambda _: builders.nan_at(30), "not finite"),
    "a crash at its 30th frame": on_probation(lambda _: builders.crashing_at(30), "SIGFPE"),
    "a leak of 5 MB a frame": on_probation(
        lambda _: builders.good(), "memory", "over the bound of 160 MB", manifest=LEAN, module="tests.zoo.leaking"
    ),
    # --- it passes its probation too ---
    "a crash at its 100th frame, after commit": Animal(
        lambda _: builders.crashing_at(100), "committed", ("died 3 times", "SIGFPE"), ends="rolled_back"
    ),
}  # fmt: skip
