"""Pictures that leave: masks over everything, bounded in size, made beside the frames and not in their way."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.capture.geometry import polygons
from agent.capture.render import BUSY, INBOX, Renderer, make
from agent.errors import CameraError
from agent.process.messages import Overlay, OverlayBox, OverlayZone, Render, Rendered, SourceSpec, View

from .conftest import CAMERA, eventually

SECRET = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def request(**more) -> Render:
    return Render(1, CAMERA, 1, 0, **more)


def decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def frame(width: int = 640, height: int = 480) -> np.ndarray:
    return np.full((height, width, 3), 180, np.uint8)


def test_masks_lie_over_boxes_zones_and_labels_and_nothing_shines_through():
    everywhere = Overlay(
        boxes=tuple(
            OverlayBox((x, y, x + 200.0, y + 200.0), "person 99% #1", x) for x in range(0, 600, 60) for y in (0, 200)
        ),
        zones=(
            OverlayZone(((0, 0), (640, 0), (640, 480), (0, 480)), "yard"),
            OverlayZone(((0, 240), (640, 240)), "line"),
        ),
    )
    for width in (640, 320, 213):
        jpeg, size = make(
            frame(), polygons((SECRET,), 640, 480), request(overlay=everywhere, max_width=width, quality=95)
        )
        shown = decoded(jpeg)
        assert size == (shown.shape[1], shown.shape[0]) == (width, round(480 * width / 640))
        height = shown.shape[0]
        inside = shown[height // 4 + 1 : height * 3 // 4 - 1, width // 4 + 1 : width * 3 // 4 - 1]
        assert inside.max() < 40  # JPEG rings at the edge of black
        assert np.median(inside) == 0
        assert (shown[: height // 8] > 100).any()


def test_boxes_are_drawn_where_they_are_also_when_scaled_and_cut():
    overlay = Overlay(boxes=(OverlayBox((320.0, 240.0, 480.0, 360.0), "", 0),))
    plain, _ = make(frame(), (), request(quality=95))
    whole, _ = make(frame(), (), request(overlay=overlay, quality=95))
    differs = np.abs(decoded(whole).astype(int) - decoded(plain)).max(axis=2) > 40
    rows, columns = np.nonzero(differs)
    assert (columns.min(), columns.max()) == (pytest.approx(320, abs=3), pytest.approx(480, abs=3))
    assert (rows.min(), rows.max()) == (pytest.approx(240, abs=3), pytest.approx(360, abs=3))
    cut, size = make(frame(), (), request(overlay=overlay, crop=(300.0, 220.0, 500.0, 380.0), quality=95))
    assert size == (200, 160)
    assert (np.abs(decoded(cut).astype(int) - 180).max(axis=2) > 40)[20, 30]


def test_the_frame_itself_is_never_drawn_into():
    shown = frame()
    shown.setflags(write=False)
    make(shown, polygons((SECRET,), 640, 480), request(overlay=Overlay(boxes=(OverlayBox((1, 1, 99, 99), "x"),))))
    assert (shown == 180).all()


def test_a_picture_gets_worse_and_smaller_until_it_fits():
    noise = np.random.default_rng(1).integers(0, 255, (1080, 1920, 3), dtype=np.uint8)
    for bound in (300_000, 60_000, 20_000):
        jpeg, size = make(noise, (), request(max_bytes=bound))
        assert len(jpeg) <= bound
        assert decoded(jpeg).shape[1] == size[0]
    with pytest.raises(CameraError, match="no picture fits"):
        make(noise, (), request(max_bytes=500))


def test_a_crop_outside_the_frame_is_the_nearest_part_of_it():
    _, size = make(frame(), (), request(crop=(-50.0, -50.0, 9000.0, 20.0)))
    assert size == (640, 20)
    assert make(frame(), (), request(crop=(9000.0, 9000.0, 9001.0, 9001.0)))[1] == (1, 1)


def test_a_full_inbox_and_a_frame_that_is_gone_are_answered_at_once():
    sent: list[tuple[Rendered, int | None]] = []

    def send(message, fd) -> None:
        sent.append((message, fd))
        time.sleep(0.2)

    renderer = Renderer(send)
    renderer.ask(request(), None, ())
    assert "is gone" in sent[0][0].problem
    for _ in range(INBOX + 4):
        renderer.ask(request(), frame(), ())
    assert any(message.problem == BUSY for message, _ in sent)


def test_a_leased_frame_becomes_a_picture_with_the_cameras_own_masks(handle, taker):
    taker.holding = True
    view = View(masks=(SECRET,))
    handle.open(CAMERA, SourceSpec("pattern", "", width=640, height=480, fps=20.0, view=view), taker)
    assert eventually(lambda: taker.generation == 1)
    taker.grant_all()
    assert eventually(lambda: len(taker.seen) == 3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        slot = taker.seen[number % 3].message.slot
        handle.render(Render(number, CAMERA, 1, slot, max_width=320))
    assert eventually(lambda: len(taker.pictures) == 5)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before  # fewer where the collector came by
    message, jpeg = taker.pictures[-1]
    assert (message.request, message.width, message.height, message.problem) == (4, 320, 240, "")
    shown = decoded(jpeg)
    assert np.median(shown[62:178, 82:238]) == 0
    assert shown[:50].mean() > 40
    ring = taker.ring
    assert ring is not None
    assert ring.frame(taker.seen[0].message.slot)[130:350, 170:470].mean() > 40  # the model sees it all
    handle.render(Render(9, CAMERA, 7, 0))
    assert eventually(lambda: len(taker.pictures) == 6)
    assert "is gone" in taker.pictures[-1][0].problem


def test_masks_for_inference_are_black_in_the_frame_itself(handle, taker):
    view = View(rotate=90, masks=(SECRET,), mask_inference=True)
    taker.holding = True
    handle.open(CAMERA, SourceSpec("pattern", "", width=640, height=480, fps=20.0, view=view), taker)
    assert eventually(lambda: taker.generation == 1)
    assert taker.told[-1] == "need_ring 480x640"
    taker.grant_all()
    assert eventually(lambda: len(taker.seen) >= 1)
    assert taker.ring is not None
    shown = taker.ring.frame(taker.seen[0].message.slot)
    assert not shown[160:480, 120:360].any()
    assert shown[:150].mean() > 40
