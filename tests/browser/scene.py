"""A car park seen from above, drawn: a clip of it, and a real ONNX model that finds its vehicles by their colours.

For pictures of the page that show nobody. Every vehicle has a colour of its own, so that the smallest box around that
colour is the vehicle, exactly.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT, FPS, SECONDS = 960, 540, 15, 24
LABELS = ("car", "van", "cart")
NEAR = 34.0
"""How far a pixel may be from a vehicle's colour, of 255; a clip is compressed."""

# Body in BGR, class, lane (its middle, of the height), length and breadth, pixels a frame.
VEHICLES = (
    ((58, 58, 205), 0, 0.30, (92, 44), 2.6),
    ((196, 124, 34), 0, 0.43, (96, 46), -2.1),
    ((70, 150, 52), 1, 0.57, (132, 54), 1.5),
    ((30, 168, 226), 2, 0.70, (54, 34), -1.2),
    ((150, 62, 146), 0, 0.82, (90, 44), 3.1),
)


def clip(path: Path, *, shift: int = 0) -> Path:
    """Write the clip; ``shift`` sets the vehicles elsewhere on their lanes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    ground = _ground()
    for index in range(FPS * SECONDS):
        writer.write(_frame(ground, index, shift))
    writer.release()
    return path


def model(path: Path) -> Path:
    """Write the model: input half as large as a frame, output rows ``x1 y1 x2 y2 score class``."""
    height, width = HEIGHT // 2, WIDTH // 2
    constants = {
        "near": np.float32(NEAR),
        "most": np.float32(0.5),
        "right": np.arange(1, width + 1, dtype=np.float32),
        "left": np.arange(width, 0, -1, dtype=np.float32),
        "down": np.arange(1, height + 1, dtype=np.float32),
        "up": np.arange(height, 0, -1, dtype=np.float32),
        "width": np.float32(width),
        "height": np.float32(height),
        "sure": np.float32(0.93),
    }
    nodes, rows = [], []
    for number, (colour, kind, *_) in enumerate(VEHICLES):
        constants[f"colour{number}"] = np.array(colour, np.float32).reshape(1, 3, 1, 1)
        constants[f"class{number}"] = np.full(1, kind, np.float32)
        nodes += _finder(number)
        rows.append(f"row{number}")
    nodes += [helper.make_node("Concat", rows, ["flat"], axis=0)]
    nodes += [helper.make_node("Reshape", ["flat", "form"], ["output"])]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1, len(VEHICLES), 6], np.int64), "form"))
    graph = helper.make_graph(
        nodes,
        "vehicles",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, len(VEHICLES), 6])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path


def _finder(number: int) -> list[onnx.NodeProto]:
    """Nodes that make ``row<number>`` of where a colour is: pixels that are near it, with most of those around them."""

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        named = [name if name in shared else f"{name}{number}" for name in inputs]
        return helper.make_node(kind, named, [f"{output}{number}"], **attributes)

    shared = {"images", "near", "most", "right", "left", "down", "up", "width", "height", "sure"}
    return [
        node("Sub", ["images", "colour"], "off"),
        node("Abs", ["off"], "far"),
        node("ReduceMax", ["far"], "farthest", axes=[1], keepdims=1),
        node("Less", ["farthest", "near"], "is"),
        node("Cast", ["is"], "mask", to=TensorProto.FLOAT),
        node("AveragePool", ["mask"], "around", kernel_shape=[5, 5], pads=[2, 2, 2, 2], count_include_pad=1),
        node("Greater", ["around", "most"], "firm"),
        node("Cast", ["firm"], "there", to=TensorProto.FLOAT),
        node("ReduceMax", ["there"], "columns", axes=[0, 1, 2], keepdims=0),
        node("ReduceMax", ["there"], "lines", axes=[0, 1, 3], keepdims=0),
        *_edge(node, "columns", "left", "x1", "width"),
        *_edge(node, "lines", "up", "y1", "height"),
        *_edge(node, "columns", "right", "x2", None),
        *_edge(node, "lines", "down", "y2", None),
        node("ReduceMax", ["columns"], "seen", keepdims=1),
        node("Mul", ["seen", "sure"], "score"),
        node("Concat", ["x1", "y1", "x2", "y2", "score", "class"], "row", axis=0),
    ]


def _edge(node, where: str, ramp: str, output: str, size: str | None) -> list[onnx.NodeProto]:
    """The farthest place of ``where`` along ``ramp``; from the other side where ``size`` is given."""
    found = f"{output}far" if size else output
    nodes = [
        node("Mul", [where, ramp], f"{output}ramp"),
        node("ReduceMax", [f"{output}ramp"], found, axes=[0], keepdims=1),
    ]
    return [*nodes, node("Sub", [size, found], output)] if size else nodes


def _ground() -> np.ndarray:
    chance = np.random.default_rng(7)
    ground = np.full((HEIGHT, WIDTH, 3), (84, 82, 80), np.uint8)
    coarse = chance.normal(0, 6, (HEIGHT // 12, WIDTH // 12)).astype(np.float32)
    grain = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    ground = np.clip(ground + grain[:, :, None], 0, 255).astype(np.uint8)
    kerb, white = round(0.2 * HEIGHT), (206, 206, 204)
    ground[:kerb] = (ground[:kerb] * (0.72, 0.95, 0.78)).astype(np.uint8)
    for middle, radius in ((70, 34), (214, 44), (335, 28), (520, 40), (690, 34), (866, 46)):  # trees
        cv2.circle(ground, (middle + 7, 56), radius, (34, 46, 36), -1, cv2.LINE_AA)
        cv2.circle(ground, (middle, 48), radius, (56, 100, 66), -1, cv2.LINE_AA)
    cv2.rectangle(ground, (0, kerb), (WIDTH, kerb + 5), (150, 150, 148), -1)
    for top in range(kerb + 18, round(0.89 * HEIGHT), 26):  # a crossing
        cv2.rectangle(ground, (640, top), (712, top + 12), white, -1)
    for left in range(30, WIDTH, 96):
        cv2.rectangle(ground, (left, round(0.905 * HEIGHT)), (left + 5, HEIGHT), white, -1)
    for lane in (0.365, 0.5, 0.635, 0.76):
        for left in (*range(0, 610, 60), *range(730, WIDTH, 60)):
            cv2.rectangle(ground, (left, round(lane * HEIGHT)), (left + 30, round(lane * HEIGHT) + 3), white, -1)
    return ground


def _frame(ground: np.ndarray, index: int, shift: int) -> np.ndarray:
    picture = ground.copy()
    for number, (colour, _, lane, (length, breadth), speed) in enumerate(VEHICLES):
        span = WIDTH + length
        middle = (shift + 190 * number + speed * index) % span - length / 2
        x, y = round(middle - length / 2), round(lane * HEIGHT - breadth / 2)
        cv2.rectangle(picture, (x + 5, y + 6), (x + length + 5, y + breadth + 6), (48, 46, 45), -1)
        cv2.rectangle(picture, (x, y), (x + length, y + breadth), colour, -1)
        glass = round(middle + (0.16 if speed > 0 else -0.3) * length)
        cv2.rectangle(picture, (glass, y + 7), (glass + round(0.14 * length), y + breadth - 7), (60, 52, 46), -1)
    return picture
