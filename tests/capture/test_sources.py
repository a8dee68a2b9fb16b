"""Sources behind the protocol: what is asked of OpenCV, in what order, and what is said where something is missing."""

from __future__ import annotations

import concurrent.futures
import importlib
import itertools
import os
import sys
import threading
import time
import types

import cv2
import numpy as np
import pytest
import structlog

from agent.capture import opencv, transport
from agent.capture.opencv import DeviceSource, UrlSource
from agent.capture.pattern import PatternSource
from agent.capture.picamera import PicameraSource
from agent.capture.source import CameraStalled
from agent.errors import CameraError
from agent.process.messages import SourceSpec

# --- V4L2: the seam is cv2.VideoCapture ------------------------------------------------------------------------------


class FakeCapture:
    """Stands in for cv2.VideoCapture: remembers what was asked, in order; gives what ``given`` says."""

    made: list[FakeCapture]
    given: dict[int, float]

    def __init__(self, *arguments) -> None:
        self.arguments = arguments
        self.asked: list[tuple[int, float]] = []
        type(self).made.append(self)

    def isOpened(self) -> bool:
        return True

    def set(self, prop: int, value: float) -> bool:
        self.asked.append((prop, value))
        return True

    def get(self, prop: int) -> float:
        wished = dict(self.asked).get(prop, 0.0)
        return type(self).given.get(prop, wished)

    def grab(self) -> bool:
        return True

    def release(self) -> None: ...


@pytest.fixture
def fake_capture(monkeypatch):
    FakeCapture.made, FakeCapture.given = [], {}
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(opencv, "_check_device", lambda name: None)
    return FakeCapture


def test_the_pixel_format_is_asked_for_before_the_size_and_the_size_before_the_rate(fake_capture):
    by_id = "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0"
    source = DeviceSource(SourceSpec("device", by_id, fps=30.0, width=1280, height=720, fourcc="MJPG"))
    source.open(0)
    (made,) = fake_capture.made
    assert made.arguments == (by_id, cv2.CAP_V4L2)
    assert [prop for prop, _ in made.asked] == [
        cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS,
    ]  # fmt: skip
    assert made.asked[0][1] == cv2.VideoWriter.fourcc(*"MJPG")
    assert source.fps == 30.0


def test_what_was_not_wished_for_is_not_asked(fake_capture):
    DeviceSource(SourceSpec("device", "2", width=640)).open(0)
    (made,) = fake_capture.made
    assert made.arguments == (2, cv2.CAP_V4L2)
    assert made.asked == [(cv2.CAP_PROP_FRAME_WIDTH, 640)]


def test_a_device_that_refuses_a_size_or_a_format_is_used_as_it_is_and_that_is_said(fake_capture):
    fake_capture.given = {cv2.CAP_PROP_FRAME_WIDTH: 800.0, cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV"))}
    with structlog.testing.capture_logs() as said:
        DeviceSource(SourceSpec("device", "0", width=1280, fourcc="MJPG")).open(0)
    assert [(one["event"], one["key"], one["given"]) for one in said] == [
        ("capture.wish_refused", "width", 800.0), ("capture.wish_refused", "fourcc", "YUYV"),
    ]  # fmt: skip


# --- RTSP's transport ------------------------------------------------------------------------------------------------


def test_each_camera_opens_with_its_own_transport_however_many_open_at_once(monkeypatch):
    seen: list[tuple[str, str]] = []

    class Connecting(FakeCapture):
        made, given = [], {}

        def __init__(self, url, *arguments) -> None:
            super().__init__(url, *arguments)
            seen.append((url, os.environ[transport.VARIABLE]))
            time.sleep(0.5)

    monkeypatch.setenv(transport.VARIABLE, "")
    monkeypatch.setattr(cv2, "VideoCapture", Connecting)
    monkeypatch.setattr(UrlSource, "_drain", lambda self: None)
    kinds = ["tcp", "udp"] * 4
    sources = [UrlSource(SourceSpec("url", f"rtsp://cam/{kind}/{n}", transport=kind)) for n, kind in enumerate(kinds)]
    threads = [threading.Thread(target=source.open, args=(0,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(option == f"rtsp_transport;{url.split('/')[3]}" for url, option in seen)


# --- picamera2, which is not here: a stand-in with the part of its interface that is used -----------------------------


class FakeJob:
    def __init__(self, picture) -> None:
        self.picture = picture

    def get_result(self, timeout=None):
        if self.picture is None:
            raise concurrent.futures.TimeoutError
        return self.picture


class FakePicamera2:
    pictures: list = []
    made: list[FakePicamera2] = []

    def __init__(self, number: int) -> None:
        if number > 1:
            raise IndexError("list index out of range")
        self.closed = False
        type(self).made.append(self)

    def create_video_configuration(self, main, controls, buffer_count):
        return {"main": main, "controls": controls, "buffer_count": buffer_count}

    def configure(self, wish) -> None:
        self.wish = wish

    def start(self) -> None: ...

    def capture_array(self, name, wait=None) -> FakeJob:
        assert (name, wait) == ("main", False)
        return FakeJob(type(self).pictures.pop(0))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def picamera2(monkeypatch):
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2
    FakePicamera2.made, FakePicamera2.pictures = [], []
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return FakePicamera2


def test_without_picamera2_the_message_says_how_the_environment_comes_to_see_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match=r"python3-picamera2.*--system-site-packages"):
        PicameraSource(SourceSpec("picamera2", "0")).open(0)


def test_picamera2_is_asked_for_bgr_of_the_size_and_its_frames_land_in_the_slot(picamera2):
    source = PicameraSource(SourceSpec("picamera2", "0", width=64, height=48, fps=20.0))
    picamera2.pictures = [np.full((48, 64, 3), 7, np.uint8), np.full((48, 64, 4), 9, np.uint8)]
    source.open(5)
    assert picamera2.made[0].wish["main"] == {"size": (64, 48), "format": "RGB888"}
    assert picamera2.made[0].wish["controls"] == {"FrameRate": 20.0}
    slot = np.zeros((48, 64, 3), np.uint8)
    assert source.grab() == 5
    assert source.retrieve(slot) is slot
    assert (slot == 7).all()
    assert source.grab() == 6
    assert (source.retrieve(None) == 9).all()
    source.close()
    assert picamera2.made[0].closed


def test_a_picamera2_that_does_not_deliver_is_stalled_and_one_that_is_not_there_is_said(picamera2):
    source = PicameraSource(SourceSpec("picamera2", "0"))
    picamera2.pictures = [None]
    source.open(0)
    with pytest.raises(CameraStalled):
        source.grab()
    with pytest.raises(CameraError, match="--list-cameras"):
        PicameraSource(SourceSpec("picamera2", "4")).open(0)


# --- the pattern -----------------------------------------------------------------------------------------------------


def frames(spec: SourceSpec, start: int, count: int) -> list[np.ndarray]:
    source = PatternSource(spec)
    source.open(start)
    found = []
    for _ in range(count):
        source.grab()
        found.append(source.retrieve(None))
    return found


def test_a_pattern_is_the_same_for_the_same_seed_wherever_it_starts_and_each_frame_differs():
    spec = SourceSpec("pattern", "pattern", width=320, height=240, fps=10.0, seed=3)
    whole_run = frames(spec, 0, 40)
    assert all(picture.shape == (240, 320, 3) for picture in whole_run)
    assert all(np.array_equal(one, other) for one, other in zip(frames(spec, 25, 15), whole_run[25:], strict=True))
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(whole_run))
    other = SourceSpec("pattern", "", width=320, height=240, seed=4)
    assert not np.array_equal(frames(other, 0, 1)[0], whole_run[0])


def test_a_pattern_runs_at_its_rate_and_lossless_as_fast_as_it_is_taken(handle, taker):
    from .conftest import CAMERA, eventually

    handle.open(CAMERA, SourceSpec("pattern", "", width=320, height=240, fps=40.0), taker)
    assert eventually(lambda: len(taker.seen) > 60)
    stamps = [seen.message.at_ns for seen in taker.seen]
    assert (stamps[-1] - stamps[1]) / 1e9 == pytest.approx((len(stamps) - 2) / 40, rel=0.15)
    assert taker.states()[:2] == ["opening", "streaming"]
    handle.close_camera(CAMERA)


def test_picamera2_beside_a_newer_numpy_says_what_to_install(monkeypatch):
    def load(name):
        raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")

    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(CameraError, match=r"pip install simplejpeg \(numpy\.dtype size changed"):
        PicameraSource(SourceSpec("picamera2", "0")).open(0)
