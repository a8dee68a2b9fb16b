"""The input tensor, against the obvious way to compute it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import InputError, ModelError
from agent.infer.preprocess import Preprocessor
from agent.types import InputSpec

SIZES = st.integers(1, 90)


def frame(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Letterbox, colour, arithmetic, layout and type, a step at a time."""
    height, width = pixels.shape[:2]
    ratio = min(spec.width / width, spec.height / height)
    size = (spec.width, spec.height)
    if spec.resize == "letterbox":
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    left = top = 0
    if spec.resize == "letterbox" and spec.anchor == "center":
        left, top = (spec.width - size[0]) // 2, (spec.height - size[1]) // 2
    canvas = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(pixels, size)
    if spec.color == "RGB":
        canvas = canvas[:, :, ::-1]
    tensor = canvas.astype(np.float64)
    if spec.dtype != "uint8":
        tensor = (tensor * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    tensor = tensor.astype(spec.dtype)
    return (tensor.transpose(2, 0, 1) if spec.layout == "NCHW" else tensor)[np.newaxis]


@st.composite
def specs(draw) -> InputSpec:
    height, width = draw(SIZES), draw(SIZES)
    layout = draw(st.sampled_from(["NCHW", "NHWC"]))
    dtype = draw(st.sampled_from(["float32", "float16", "uint8"]))
    arithmetic = {}
    if dtype != "uint8" and draw(st.booleans()):
        arithmetic = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return InputSpec(
        name="x",
        shape=(1, 3, height, width) if layout == "NCHW" else (1, height, width, 3),
        dtype=dtype,
        layout=layout,
        color=draw(st.sampled_from(["BGR", "RGB"])),
        resize=draw(st.sampled_from(["letterbox", "stretch"])),
        anchor=draw(st.sampled_from(["top-left", "center"])),
        pad=draw(st.integers(0, 255)),
        **arithmetic,
    )


@settings(deadline=None)
@given(spec=specs(), sizes=st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=3))
def test_every_kind_of_input_is_what_the_manifest_says_also_when_a_buffer_is_reused_for_other_sizes(spec, sizes):
    preprocess = Preprocessor(spec)
    buffer = preprocess.buffer()
    tensor = buffer.tensor
    for width, height in [*sizes, sizes[0], sizes[0]]:
        pixels = frame(width, height)
        geometry = preprocess(pixels, buffer)
        assert buffer.tensor is tensor
        assert buffer.geometry is geometry
        np.testing.assert_array_equal(tensor, expected(pixels, spec))


def test_a_frame_that_is_a_view_of_something_larger_is_read_rightly():
    spec = InputSpec(name="x", shape=(1, 3, 32, 32))
    preprocess = Preprocessor(spec)
    buffer = preprocess.buffer()
    view = frame(100, 80)[10:50:2, 60:20:-1]
    preprocess(view, buffer)
    np.testing.assert_array_equal(buffer.tensor, expected(np.ascontiguousarray(view), spec))


def test_a_read_only_frame_is_fine_and_stays_as_it_is():
    spec = InputSpec(name="x", shape=(1, 32, 32, 3), dtype="uint8", layout="NHWC", color="RGB")
    preprocess, pixels = Preprocessor(spec), frame(32, 32)
    before = pixels.copy()
    pixels.setflags(write=False)
    preprocess(pixels, preprocess.buffer())
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_no_frame_is_refused_and_named(wrong):
    preprocess = Preprocessor(InputSpec(name="x", shape=(1, 3, 32, 32)))
    with pytest.raises(InputError, match=r"uint8 \(height, width, 3\) is needed"):
        preprocess(wrong, preprocess.buffer())


def test_a_buffer_without_a_frame_has_no_geometry():
    with pytest.raises(InputError, match="no frame yet"):
        _ = Preprocessor(InputSpec(name="x", shape=(1, 3, 32, 32))).buffer().geometry


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shape": (2, 3, 32, 32)}, "input.shape"),
        ({"shape": (1, 1, 32, 32)}, "input.shape"),
        ({"shape": (1, 3, 32, 32), "layout": "NHWC"}, "input.shape"),
        ({"dtype": "uint8", "scale": 0.5}, "input.dtype"),
        ({"std": (1.0, 0.0, 1.0)}, "input.std"),
        ({"pad": 256}, "input.pad"),
    ],
)
def test_an_input_that_no_tensor_can_follow_is_refused_by_its_field(fields, field):
    with pytest.raises(ModelError) as caught:
        Preprocessor(InputSpec(**{"name": "x", "shape": (1, 3, 32, 32), **fields}))
    assert caught.value.field == field
