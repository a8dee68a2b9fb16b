"""From frame to input and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.infer.geometry import Geometry
from agent.types import InputSpec

SIDES = st.integers(1, 8192)
SPECS = st.builds(
    lambda height, width, resize, anchor: InputSpec(
        name="x", shape=(1, 3, height, width), resize=resize, anchor=anchor
    ),
    st.integers(1, 1280),
    st.integers(1, 1280),
    st.sampled_from(["letterbox", "stretch"]),
    st.sampled_from(["top-left", "center"]),
)
UNIT = st.floats(0, 1, width=32)


@settings(deadline=None)
@given(width=SIDES, height=SIDES, spec=SPECS, corners=st.tuples(UNIT, UNIT, UNIT, UNIT))
def test_a_box_of_any_frame_comes_back_within_a_thousandth_of_a_pixel(width, height, spec, corners):
    geometry = Geometry.fit(width, height, spec)
    x1, x2 = sorted(np.float32(corners[:2]) * width)
    y1, y2 = sorted(np.float32(corners[2:]) * height)
    boxes = np.array([[x1, y1, x2, y2]])
    assert np.abs(geometry.inverse(geometry.forward(boxes)) - boxes).max() < 1e-3


@settings(deadline=None)
@given(width=SIDES, height=SIDES, spec=SPECS)
def test_the_content_lies_inside_the_input_and_has_at_least_one_pixel(width, height, spec):
    geometry = Geometry.fit(width, height, spec)
    assert 1 <= geometry.content_width <= spec.width - geometry.offset_x
    assert 1 <= geometry.content_height <= spec.height - geometry.offset_y
    assert min(geometry.offset_x, geometry.offset_y) >= 0


@settings(deadline=None)
@given(width=SIDES, height=SIDES, spec=SPECS)
def test_a_letterbox_fills_one_side_and_keeps_the_aspect_ratio_to_half_a_pixel(width, height, spec):
    geometry = Geometry.fit(width, height, spec)
    if spec.resize == "stretch":
        assert (geometry.content_width, geometry.content_height) == (spec.width, spec.height)
        return
    ratio = min(spec.width / width, spec.height / height)
    assert geometry.content_width == spec.width or geometry.content_height == spec.height
    assert abs(geometry.content_width - width * ratio) <= 0.5 or geometry.content_width == 1
    assert abs(geometry.content_height - height * ratio) <= 0.5 or geometry.content_height == 1


@settings(deadline=None)
@given(width=SIDES, height=SIDES, spec=SPECS, box=st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_whatever_the_model_answers_a_box_is_clipped_to_the_frame(width, height, spec, box):
    x1, y1, x2, y2 = Geometry.fit(width, height, spec).inverse(np.array([box]))[0]
    assert 0 <= x1 <= width
    assert 0 <= x2 <= width
    assert 0 <= y1 <= height
    assert 0 <= y2 <= height


def test_a_known_letterbox():
    spec = InputSpec(name="x", shape=(1, 3, 416, 416), anchor="center")
    geometry = Geometry.fit(1280, 720, spec)
    assert (geometry.content_width, geometry.content_height) == (416, 234)
    assert (geometry.offset_x, geometry.offset_y) == (0, 91)
    assert geometry.forward(np.array([[0, 0, 1280, 720]])).tolist() == [[0, 91, 416, 325]]
