"""Turning, cutting and masking: what the view shows is what numpy would show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture.geometry import Window, before_turning, polygons, turned_size, window
from agent.capture.view import Viewed, black_out, viewed
from agent.errors import CameraError
from agent.process.messages import View
from tests.depth import examples

TURNS = st.sampled_from([0, 90, 180, 270])


class Still:
    """A source of one picture, which it writes into what it is given."""

    live, fps, patience_s = True, 5.0, 1.0

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def open(self, start_index: int) -> None: ...

    def grab(self) -> int | None:
        return 0

    def retrieve(self, into):
        if into is None or into.shape != self.picture.shape:
            return self.picture.copy()
        np.copyto(into, self.picture)
        return into

    def close(self) -> None: ...


def picture(width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(3).integers(1, 255, (height, width, 3), dtype=np.uint8)


@given(TURNS, st.integers(17, 60), st.integers(17, 60), st.data())
def test_cutting_before_turning_is_cutting_after_it(rotate, width, height, data):
    whole = picture(width, height)
    turned = np.rot90(whole, -rotate // 90 % 4) if rotate else whole
    across, down = turned_size(width, height, rotate)
    assert turned.shape[:2] == (down, across)
    left, top = data.draw(st.integers(0, across - 16)), data.draw(st.integers(0, down - 16))
    right, bottom = data.draw(st.integers(left + 16, across)), data.draw(st.integers(top + 16, down))
    crop = (float(left), float(top), float(right), float(bottom))
    shown = window(crop, across, down)
    assert shown == Window(left, top, right, bottom)
    view = Viewed(Still(whole), View(rotate, crop))
    assert np.array_equal(view.retrieve(None), turned[top:bottom, left:right])
    part = before_turning(shown, width, height, rotate)
    assert 0 <= part.left < part.right <= width
    assert 0 <= part.top < part.bottom <= height


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_the_view_is_written_into_the_slot_where_the_size_fits_and_elsewhere_else(rotate):
    view = viewed(Still(picture()), View(rotate))
    slot = np.zeros((*reversed(turned_size(64, 48, rotate)), 3), np.uint8)
    assert view.retrieve(slot) is slot
    assert np.array_equal(slot, np.rot90(picture(), -rotate // 90 % 4))
    other = np.zeros((10, 10, 3), np.uint8)
    assert view.retrieve(other) is not other
    assert not other.any()


def test_without_a_wish_the_source_itself_is_used_and_decodes_straight_into_the_slot():
    source = Still(picture())
    assert viewed(source, View()) is source
    assert viewed(source, View(masks=(((0, 0), (1, 0), (1, 1)),))) is source
    assert viewed(source, View(masks=(((0, 0), (1, 0), (1, 1)),), mask_inference=True)) is not source


def test_parts_and_pixels_name_the_same_window_and_mask():
    assert window((0.25, 0.5, 0.75, 1.0), 200, 100) == window((50, 50, 150, 100), 200, 100)
    in_parts = polygons((((0.1, 0.1), (0.5, 0.1), (0.5, 0.9)),), 200, 100)
    in_pixels = polygons((((20, 10), (100, 10), (100, 90)),), 200, 100)
    assert np.array_equal(in_parts[0], in_pixels[0])


def test_a_crop_that_leaves_nothing_of_this_camera_is_refused_in_words():
    with pytest.raises(CameraError, match="640x480"):
        window((1000, 0, 1200, 100), 640, 480)


def test_a_crop_larger_than_the_picture_is_what_there_is():
    assert window((0, 0, 4000, 4000), 640, 480) == Window(0, 0, 640, 480)


def test_masks_for_inference_are_black_in_the_slot_and_nothing_else_is():
    mask = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    view = viewed(Still(picture()), View(masks=(mask,), mask_inference=True))
    shown = view.retrieve(None)
    assert not shown[12:36, 16:48].any()
    outside = np.ones((48, 64), bool)
    outside[10:39, 14:51] = False
    assert np.array_equal(shown[outside], picture()[outside])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3, unique=True))
@settings(max_examples=examples(30))
def test_a_mask_covers_every_pixel_inside(points):
    shown = np.full((48, 64, 3), 255, np.uint8)
    black_out(shown, polygons((tuple(points),), 64, 48))
    exact = np.array([(x * 64, y * 48) for x, y in points], np.float32)
    inside = [
        (x, y) for y in range(48) for x in range(64) if cv2.pointPolygonTest(exact, (float(x), float(y)), False) >= 0
    ]
    assert not any(shown[y, x].any() for x, y in inside)


def test_a_camera_that_comes_back_with_another_size_is_measured_anew():
    source = Still(picture())
    view = viewed(source, View(90, (0.0, 0.0, 0.5, 0.5)))
    assert view.retrieve(None).shape == (32, 24, 3)
    source.picture = picture(128, 96)
    assert view.retrieve(None).shape == (64, 48, 3)
