"""Models for the peers that do not read ONNX: converted once, kept in the cache."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tools.bench.peers.launch import RunnerFailed

TIMEOUT_S = 300.0
BLOCK = 2


def to_ncnn(pnnx: Path, source: Path, shape: tuple[int, ...], target: Path) -> dict[str, str]:
    """Convert with pnnx, ncnn's own tool; return the files. Raises :class:`RunnerFailed` with pnnx's words."""
    files = {"param": target.with_suffix(".ncnn.param"), "bin": target.with_suffix(".ncnn.bin")}
    if not all(path.is_file() for path in files.values()):
        with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
            given = Path(folder) / "model.onnx"
            model = onnx.load(source)
            fold_focus(model)
            onnx.save(model, given)
            _call(pnnx, given, shape)
            for kind, path in files.items():
                made = given.with_suffix(f".ncnn.{kind}")
                if not made.is_file():
                    raise RunnerFailed(f"pnnx made no {made.name} of {source.name}")
                shutil.move(made, path)
    return {kind: str(path.resolve()) for kind, path in files.items()}


def _call(pnnx: Path, given: Path, shape: tuple[int, ...]) -> None:
    sizes = ",".join(str(size) for size in shape)
    command = [str(pnnx.absolute()), str(given), f"inputshape=[{sizes}]", "fp16=0"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=given.parent)
    except OSError as error:
        raise RunnerFailed(f"{pnnx}: cannot be started: {error.strerror}") from error
    except subprocess.SubprocessError as error:
        raise RunnerFailed(f"pnnx cannot convert {given.name}: {error}") from error


def fold_focus(model: onnx.ModelProto) -> None:
    """Make YOLOX's first three nodes one convolution of the same result, since pnnx mistakes their channels.

    SpaceToDepth, a Gather of channels and a 3x3 convolution with padding 1 are a 6x6 convolution with stride 2 and
    padding 2. A model that does not begin so is left alone.
    """
    graph = model.graph
    depth, gather, convolution = graph.node[0], graph.node[1], graph.node[2]
    if [depth.op_type, gather.op_type, convolution.op_type] != ["SpaceToDepth", "Gather", "Conv"]:
        return
    tensors = {one.name: one for one in graph.initializer}
    order = numpy_helper.to_array(tensors[gather.input[1]])
    small = numpy_helper.to_array(tensors[convolution.input[1]])
    outputs, inputs, height, width = small.shape
    colours = inputs // BLOCK**2
    large = np.zeros((outputs, colours, height * BLOCK, width * BLOCK), small.dtype)
    for place, channel in enumerate(order):
        cell, colour = divmod(int(channel), colours)
        large[:, colour, cell // BLOCK :: BLOCK, cell % BLOCK :: BLOCK] = small[:, place]
    name = f"{convolution.input[1]}_folded"
    graph.initializer.append(numpy_helper.from_array(large, name))
    folded = helper.make_node(
        "Conv",
        [depth.input[0], name, *convolution.input[2:]],
        list(convolution.output),
        name=convolution.name,
        kernel_shape=large.shape[2:],
        strides=[BLOCK, BLOCK],
        pads=[BLOCK] * 4,
    )
    for node in (depth, gather, convolution):
        graph.node.remove(node)
    graph.node.insert(0, folded)
