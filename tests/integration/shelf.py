"""The registry of the integration tests: good releases of tiny and real models, and some that no device may run.

``tiny`` answers the coloured cells of a frame (see :mod:`tests.fakes.models`); all of its versions answer alike.
``steady`` is the same with about 10 ms of work a frame, so that a lossless file runs at a rate that can be reported
whole. The releases with a fault are published without a look at their golden images, as a hostile publisher would.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.fakes.models import (
    coco_labels,
    fragment,
    nan_model,
    nanodet_spec,
    slow_model,
    tiny_detector,
    yolox_spec,
)
from tests.fakes.registry import Shop
from tools.demo.releases import flip_a_byte
from tools.registry.publish import Published
from tools.registry.repository import Repository, utc_now

TINY, NEWER, NEWEST = "tiny:1.0.0", "tiny:1.1.0", "tiny:1.2.0"
STEADY, STEADIER = "steady:1.0.0", "steady:1.1.0"
LYING, NAN, DAZZLED, DAMAGED, YANKED = "lying:1.0.0", "nan:1.0.0", "dazzled:1.0.0", "damaged:1.0.0", "yanked:1.0.0"
YOLOX, NANODET = "yolox-nano:1.0.0", "nanodet:1.0.0"
DAZZLING = 10.0
"""Mean of a frame's pixels above which ``dazzled`` answers NaN; that of its golden image is 1.3."""
STEPS = 10

OLDER = "registry-of-yesterday"
"""Beside the registry: what it was before the last releases came, for a mirror that is behind, or a hostile one."""


def dazzled_model(path: Path) -> Path:
    """Write the colour detector, blinded by a bright frame: its golden image it answers rightly."""
    model = onnx.load(tiny_detector(path))
    graph = model.graph
    last = next(node for node in graph.node if "output" in node.output)
    last.output[0] = "seen"
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["limit", "mean"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),  # NaN below 0
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["seen", "nothing"], ["output"]),
        ]
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(DAZZLING, np.float32), "limit"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ]
    )
    onnx.save(model, path)
    return path


def stock(shop: Shop) -> None:
    """Publish everything that needs no shared material."""
    for reference in (TINY, NEWER, NEWEST):
        publish(shop, reference, tiny_detector)
    shutil.copytree(shop.registry, shop.folder / OLDER)
    for reference in (STEADY, STEADIER):
        publish(shop, reference, partial(slow_model, steps=STEPS))
    publish(shop, LYING, partial(tiny_detector, constant=[(40, 40, 48, 48, 1.0, 2)]))
    publish(shop, NAN, nan_model)
    publish(shop, DAZZLED, dazzled_model)
    publish(shop, YANKED, tiny_detector)
    yank(shop, YANKED, "it sees ghosts")
    flip_a_byte(shop.blob(publish(shop, DAMAGED, partial(slow_model, steps=1))))


def publish(shop: Shop, reference: str, write: Callable[[Path], object], **changes: Any) -> Published:
    """Publish one release, without a look at its golden image."""
    model, _, version = reference.partition(":")
    return shop.publish(version, model=model, write=write, **changes)


def yank(shop: Shop, reference: str, reason: str) -> None:
    """Sign an index that says that a release must not be used any more."""
    model, _, version = reference.partition(":")
    repository = Repository.load(shop.registry)
    index = repository.index(model)
    assert index is not None
    repository.add_index(index.with_yanked(version, reason))
    repository.sign_targets(shop.keys, shop.lifetimes, utc_now())


def stock_real(shop: Shop, shared: Path) -> None:
    """Publish the real models, without golden images."""
    labels = list(coco_labels(shared))
    for reference, spec, file in (
        (YOLOX, yolox_spec(), "yolox_nano.onnx"),
        (NANODET, nanodet_spec(), "nanodet_m_320.onnx"),
    ):
        copy = partial(shutil.copyfile, shared / "models" / file)
        publish(shop, reference, copy, labels=labels, golden=False, **fragment(spec))
