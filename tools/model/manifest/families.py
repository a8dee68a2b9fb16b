"""The families that can be told from a graph, one row each: what the outputs must look like, and how each is fed.

A row proposes, :data:`agent.infer.decoders.table.DECODERS` disposes: a proposal counts only when the family's own
decoder expects exactly the outputs that the file has. What a graph cannot say (colours, normalisation, resizing) is
taken from how the family is usually trained, and stated as a doubt in words. A new family joins as one more function.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.types import TensorInfo
from tools.model.manifest.graph import Graph

STRIDES = (8, 16, 32)
NANODET_MEAN, NANODET_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NO_FEWER_BINS = 2


@dataclass(frozen=True)
class Proposal:
    """What a family makes of a graph. ``preprocess``: fields of ``InputSpec`` beside name, shape, dtype, layout.

    ``score`` and ``nms_iou`` are the family's usual thresholds, ``labels`` those that it always has.
    """

    kind: str
    num_classes: int
    params: dict[str, Any] = field(default_factory=dict)
    preprocess: dict[str, Any] = field(default_factory=dict)
    score: float = 0.35
    nms_iou: float = 0.5
    labels: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


Family = Callable[[Graph, "tuple[int, int]"], "Proposal | None"]
"""Looks at a graph whose sizes are known and its input's (width, height); None: it is not of this family."""


def yolox(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for one output of one row a cell: x y w h, objectness, classes."""
    total = sum(count_cells(size))
    rows = [out for out in graph.outputs if len(out.shape) == 3 and out.shape[:2] == (1, total) and out.shape[2] > 5]
    if len(rows) != 1:
        return None
    tail = graph.tail_of(rows[0].name)
    decoded = "Exp" in tail
    doubts = ["pixels are fed as BGR 0..255, as YOLOX since 0.2 is trained; older ones want RGB, ImageNet-normalised"]
    if "Sigmoid" not in tail:
        doubts.append("no sigmoid stands before the output: if scores are raw there, this decoder cannot read them")
    params: dict[str, Any] = {"strides": list(STRIDES)}
    return Proposal(
        "yolox",
        rows[0].shape[2] - 5,
        {**params, "decoded": True} if decoded else params,
        {"color": "BGR", "resize": "letterbox", "anchor": "top-left", "pad": 114},
        doubts=tuple(doubts),
    )


def nanodet(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for two outputs a stride: class scores, and distributions of the box's four sides."""
    levels = [[out for out in graph.outputs if out.shape[:2] == (1, cells)] for cells in count_cells(size)]
    if any(len(level) != 2 or any(len(out.shape) != 3 for out in level) for level in levels):
        return None
    scores, sides = _scores_and_sides(graph, levels[0])
    if sides.shape[2] % 4 or sides.shape[2] // 4 < _NO_FEWER_BINS:
        return None
    params: dict[str, Any] = {"strides": list(STRIDES), "reg_max": sides.shape[2] // 4 - 1}
    if graph.made_by(scores.name) != "Sigmoid":
        params["logits"] = True
    return Proposal(
        "nanodet",
        scores.shape[2],
        params,
        {
            **{"color": "BGR", "resize": "letterbox", "anchor": "top-left", "pad": 114},
            **unless_inside(graph, NANODET_MEAN, NANODET_STD, scale=1.0),
        },
        doubts=(
            "pixels are fed as BGR with ImageNet's mean and deviation, the aspect ratio kept, as NanoDet is trained",
        ),
    )


def _scores_and_sides(graph: Graph, level: list[TensorInfo]) -> tuple[TensorInfo, TensorInfo]:
    """Tell the two apart: a sigmoid makes scores; else the usual 32 channels are sides; else scores come first."""
    one, two = level
    first, second = (graph.made_by(output.name) == "Sigmoid" for output in level)
    swapped = second if first != second else one.shape[2] == 32 != two.shape[2]
    return (two, one) if swapped else (one, two)


def centerface(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for a heatmap, sizes and offsets over one grid, and maybe landmarks."""
    maps = [out for out in graph.outputs if len(out.shape) == 4 and out.shape[0] == 1]
    channels = sorted(out.shape[1] for out in maps)
    if len(maps) != len(graph.outputs) or channels not in ([1, 2, 2], [1, 2, 2, 10]):
        return None
    heatmap = next(out for out in maps if out.shape[1] == 1)
    stride = size[1] // heatmap.shape[2]
    logits = {} if graph.made_by(heatmap.name) == "Sigmoid" else {"logits": True}
    return Proposal(
        "centerface",
        1,
        {"stride": stride, **logits},
        {"color": "RGB", "resize": "letterbox", "anchor": "top-left", "pad": 0},
        nms_iou=0.3,
        labels=("face",),
        doubts=("pixels are fed as RGB 0..255, as CenterFace is trained; its one class is called 'face'",),
    )


def classify(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for one row of class scores."""
    del size
    if len(graph.outputs) != 1 or len(graph.outputs[0].shape) != 2 or graph.outputs[0].shape[1] < 2:
        return None
    output = graph.outputs[0]
    ending = graph.made_by(output.name)
    probable = ending in {"Softmax", "Sigmoid"}
    doubts = ["the whole picture is stretched to the input; training usually crops its centre"]
    if not probable:
        doubts.append(f"the output comes from {ending or 'the input'}: taken for logits, a softmax is applied to it")
    if graph.normalises:
        doubts.append("the graph begins with arithmetic on pixels: taken for its own normalisation, it is fed 0..255")
    else:
        doubts.append("pixels are fed as RGB, 0..1, with ImageNet's mean and deviation, as torchvision trains")
    return Proposal(
        "classify",
        output.shape[1],
        {"softmax": not probable, "top": min(5, output.shape[1])},
        {"color": "RGB", "resize": "stretch", **unless_inside(graph, IMAGENET_MEAN, IMAGENET_STD, scale=1 / 255)},
        score=0.1,
        doubts=tuple(doubts),
    )


def unless_inside(
    graph: Graph, mean: tuple[float, float, float], std: tuple[float, float, float], *, scale: float
) -> dict[str, Any]:
    """Return the normalisation, nothing where the graph does it or takes bytes."""
    if graph.normalises or graph.input.dtype == "tensor(uint8)":
        return {}
    return {"scale": scale, "mean": mean, "std": std}


def count_cells(size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> tuple[int, ...]:
    """Return the number of cells at each stride for an input of (width, height)."""
    return tuple((size[0] // stride) * (size[1] // stride) for stride in strides)


FAMILIES: tuple[Family, ...] = (yolox, nanodet, centerface, classify)


def trained_side(graph: Graph) -> int | None:
    """Return the side of the square input that the outputs were made for, where they tell it though the input does not.

    YOLOX: the number of rows is that of all cells.
    """
    for output in graph.outputs:
        if len(output.shape) != 3:
            continue
        for side in range(64, 2049, 32):
            if output.shape[1] == sum(count_cells((side, side))):
                return side
    return None


def resembles(graph: Graph, size: tuple[int, int]) -> str:
    """Say which family that cannot be read yet the outputs look like; empty where none comes to mind."""
    total = sum(count_cells(size))
    plus = sum(count_cells(size, (*STRIDES, 64)))
    for output in graph.outputs:
        if len(output.shape) != 3:
            continue
        _, first, second = output.shape
        if first == 3 * total:
            return "its rows are three a cell, as YOLOv5's and YOLOv7's"
        if second == total and first > 4:
            return "its columns are cells, as YOLOv8's and YOLO11's"
        if first in (plus, total) and second > 32:
            return "its one output holds scores and distributions together, as NanoDet-Plus's"
    pairs = itertools.permutations(graph.outputs, 2)
    if any(one.shape[-1:] == (4,) and one.shape[:2] == two.shape[:2] for one, two in pairs):
        return "it has boxes and scores apart, as SSD's and DETR's"
    return ""
