"""Video files, network streams and V4L2 devices through OpenCV.

OpenCV's ``ok`` is not to be trusted (a stalled RTSP read returns True once), so a live source that took longer than
its read timeout is stalled whatever it returned. The end of a file is where reading ends, never where its container
says. OpenCV gives no reason when it cannot open something; the messages here say what can be found out without it.
Messages may hold a URL's credentials: whoever passes them on redacts them.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any, cast

import cv2
import structlog

from agent.capture.pace import HIGHEST_FPS
from agent.capture.source import CameraStalled, Picture
from agent.capture.transport import choose
from agent.errors import CameraError
from agent.process.messages import SourceSpec

log = structlog.get_logger(part="capture")

_DECODER_THREADS = 1  # more would buffer a frame each: latency and memory; one thread decodes 1080p on a Pi 4
_DRAIN_FRAMES = 100
_DRAIN_S = 2.0
_MARGIN_S = 2.0


class _Video:
    """What the three have in common. ``name`` is how messages call the source."""

    live = True

    def __init__(self, spec: SourceSpec) -> None:
        self.name = spec.location
        self.fps = 0.0
        self._spec = spec
        self._capture: Any = None
        self._next = 0

    def grab(self) -> int | None:
        """Bring the next frame in; None at the end."""
        if not self._capture.grab():
            return None
        index, self._next = self._next, self._next + 1
        return index

    def retrieve(self, into: Picture | None) -> Picture:
        """Convert the grabbed frame to BGR, into ``into`` where the size fits."""
        try:
            ok, picture = self._capture.retrieve(into)
        except cv2.error as error:
            raise CameraError(f"{self.name}: a frame cannot be converted: {error}") from error
        if not ok or picture is None:
            raise CameraError(f"{self.name}: a frame cannot be decoded")
        return _bgr(picture, self.name)

    def close(self) -> None:
        """Release the handle."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _opened(self, capture: Any, hint: str) -> None:
        if not capture.isOpened():
            capture.release()
            raise CameraError(f"{self.name}: {hint}")
        self._capture = capture
        self._next = 0
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.0 < fps <= HIGHEST_FPS else 0.0


class FileSource(_Video):
    """A video file. ``start_index`` is sought where frames need not be exact, else the grabber reads up to it."""

    live = False
    patience_s = 20.0

    def open(self, start_index: int) -> None:
        """Open the file. Raises :class:`CameraError` that says what is wrong with it."""
        _check_file(self.name)
        parameters = [cv2.CAP_PROP_N_THREADS, _DECODER_THREADS]
        capture = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG, parameters)
        self._opened(capture, "is no video that OpenCV can read; check it with ffprobe")
        if start_index and self._spec.pace == "realtime":
            capture.set(cv2.CAP_PROP_POS_FRAMES, start_index)
            self._next = max(0, int(capture.get(cv2.CAP_PROP_POS_FRAMES)))


class LiveSource(_Video):
    """A source that is judged by the time between its frames. It counts frames on across connections."""

    @property
    def patience_s(self) -> float:
        """The longer of both timeouts, the draining, and a margin."""
        return max(self._spec.open_timeout_ms, self._spec.read_timeout_ms) / 1000 + _DRAIN_S + _MARGIN_S

    def grab(self) -> int | None:
        """Bring the next frame in. Raises :class:`CameraStalled` when it came too late, CameraError when none came."""
        before = time.monotonic()
        index = super().grab()
        timeout_s = self._spec.read_timeout_ms / 1000
        if time.monotonic() - before >= timeout_s:
            raise CameraStalled(f"{self.name}: no frame for {timeout_s:g} s")
        if index is None:
            raise CameraError(f"{self.name}: the stream broke off")
        return index


class UrlSource(LiveSource):
    """RTSP, HTTP and whatever else FFmpeg opens by URL."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        self._drained = False

    def open(self, start_index: int) -> None:
        """Connect and throw away what the camera had buffered. Raises :class:`CameraError`."""
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._spec.open_timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._spec.read_timeout_ms,
            cv2.CAP_PROP_N_THREADS, _DECODER_THREADS,
        ]  # fmt: skip
        choose(self._spec.transport)
        capture = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG, parameters)
        timeout_s = self._spec.open_timeout_ms / 1000
        self._opened(capture, f"cannot be opened within {timeout_s:g} s: check address, path, user name and password")
        self._drained = False
        self._drain()
        self._next = start_index

    def grab(self) -> int | None:
        """Bring the next frame in; the first one was brought by draining already."""
        if self._drained:
            self._drained = False
            index, self._next = self._next, self._next + 1
            return index
        return super().grab()

    def _drain(self) -> None:
        """Grab until a frame had to be waited for: that one is now, those before it are the camera's past."""
        wait_s = 0.5 / (self.fps or 25.0)
        end = time.monotonic() + _DRAIN_S
        for dropped in range(_DRAIN_FRAMES):
            before = time.monotonic()
            super().grab()
            now = time.monotonic()
            if now - before >= wait_s or now >= end:
                log.info("capture.drained", source=self.name, frames=dropped)
                break
        self._drained = True


class DeviceSource(LiveSource):
    """A V4L2 device by path or index."""

    def open(self, start_index: int) -> None:
        """Open the device and ask for what the configuration wants. Raises :class:`CameraError`."""
        _check_device(self.name)
        target = int(self.name) if self.name.isdecimal() else self.name
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
        self._opened(capture, "cannot be opened as a camera; is another program using it, and is this user in `video`?")
        self._ask()
        self._next = start_index

    def _ask(self) -> None:
        """Set the wished-for format, the pixel format first: sizes and rates depend on it. A device may refuse."""
        spec = self._spec
        if spec.fourcc is not None:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*spec.fourcc))
        for key, wish, prop in (
            ("width", spec.width, cv2.CAP_PROP_FRAME_WIDTH),
            ("height", spec.height, cv2.CAP_PROP_FRAME_HEIGHT),
            ("fps", spec.fps, cv2.CAP_PROP_FPS),
        ):
            if wish is None:
                continue
            self._capture.set(prop, wish)
            given = float(self._capture.get(prop))
            if abs(given - wish) > 0.5:
                log.warning("capture.wish_refused", device=self.name, key=key, wish=wish, given=given)
        if spec.fourcc is not None:
            given_format = _fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
            if given_format != spec.fourcc:
                log.warning(
                    "capture.wish_refused", device=self.name, key="fourcc", wish=spec.fourcc, given=given_format
                )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.0 < fps <= HIGHEST_FPS else 0.0


def _fourcc(code: float) -> str:
    """Return a pixel format's four letters."""
    return int(code).to_bytes(4, "little", signed=code < 0).decode("ascii", "replace")


def _bgr(picture: Any, name: str) -> Picture:
    """Make three channels of one or four; refuse 16 bits. What is BGR already is returned as it is."""
    if picture.dtype != "uint8":
        raise CameraError(f"{name}: delivers {picture.dtype} pixels; choose an 8-bit format by `fourcc`")
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    elif picture.shape[2] == 4:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR)
    return cast("Picture", picture)


def _check_file(name: str) -> None:
    path = Path(name)
    try:
        if path.is_dir():
            raise CameraError(f"{name}: is a folder; for images use `kind: images`")
        with path.open("rb") as file:
            if not file.read(1):
                raise CameraError(f"{name}: is empty")
    except OSError as error:
        raise CameraError(f"{name}: cannot be read: {error.strerror}") from error


def _check_device(name: str) -> None:
    path = Path(f"/dev/video{name}" if name.isdecimal() else name)
    try:
        if not stat.S_ISCHR(path.stat().st_mode):
            raise CameraError(f"{path}: is no device")
    except OSError as error:
        raise CameraError(f"{path}: no such camera: {error.strerror}; is it plugged in?") from error
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(f"{path}: may not be opened by this user; add it to the group `video`")
