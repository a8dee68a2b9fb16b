"""Cameras of a Raspberry Pi through picamera2, which comes with Raspberry Pi OS and not from PyPI.

It is imported when such a camera is opened, never before. libcamera delivers frames by itself; ``grab`` waits for one
in picamera2's own thread, bounded by the read timeout. picamera2 calls "RGB888" what OpenCV calls BGR.
"""

from __future__ import annotations

import concurrent.futures
import importlib
from typing import Any

import numpy as np

from agent.capture.source import CameraStalled, Picture
from agent.errors import CameraError
from agent.process.messages import SourceSpec

HOW_TO = (
    "picamera2 is not to be found: apt-get install python3-picamera2, and let the virtual environment see the system's "
    "packages (python3 -m venv --system-site-packages, or include-system-site-packages = true in its pyvenv.cfg; it "
    "must be of the system's own Python)"
)
NUMPY = (
    "picamera2 does not load beside this NumPy: the system's simplejpeg was built for an older one; install another "
    "into this environment: pip install simplejpeg"
)
WIDTH, HEIGHT, FPS = 1280, 720, 15.0
_BUFFERS = 3
_MARGIN_S = 5.0


class PicameraSource:
    """A camera by its number, 0 for the first."""

    live = True

    def __init__(self, spec: SourceSpec) -> None:
        self.name = f"picamera2 {spec.location}"
        self.fps = 0.0
        self._spec = spec
        self._camera: Any = None
        self._picture: Picture | None = None
        self._next = 0

    @property
    def patience_s(self) -> float:
        """Opening and a read, and a margin: libcamera takes its time to start."""
        return (self._spec.open_timeout_ms + self._spec.read_timeout_ms) / 1000 + _MARGIN_S

    def open(self, start_index: int) -> None:
        """Configure and start the camera. Raises :class:`CameraError`."""
        make = _picamera2()
        number, spec = int(self._spec.location), self._spec
        rate = spec.fps or FPS
        try:
            self._camera = make(number)
            size = (spec.width or WIDTH, spec.height or HEIGHT)
            wish = self._camera.create_video_configuration(
                main={"size": size, "format": "RGB888"}, controls={"FrameRate": rate}, buffer_count=_BUFFERS
            )
            self._camera.configure(wish)
            self._camera.start()
        except (RuntimeError, IndexError, ValueError, OSError) as error:  # what picamera2 and libcamera raise
            self.close()
            raise CameraError(
                f"{self.name}: cannot be opened: {error}; is it connected (rpicam-hello --list-cameras), "
                "and does no other program use it?"
            ) from error
        self.fps = rate
        self._next = start_index

    def grab(self) -> int | None:
        """Wait for the next frame. Raises :class:`CameraStalled` where it does not come in time."""
        timeout_s = self._spec.read_timeout_ms / 1000
        try:
            self._picture = self._camera.capture_array("main", wait=False).get_result(timeout=timeout_s)
        except concurrent.futures.TimeoutError as error:
            raise CameraStalled(f"{self.name}: no frame for {timeout_s:g} s") from error
        except (RuntimeError, OSError) as error:
            raise CameraError(f"{self.name}: the stream broke off: {error}") from error
        index, self._next = self._next, self._next + 1
        return index

    def retrieve(self, into: Picture | None) -> Picture:
        """Return the frame; copied into ``into`` where the size fits."""
        picture = self._picture
        if picture is None or picture.ndim != 3 or picture.shape[2] < 3:
            raise CameraError(f"{self.name}: delivers no colour pictures")
        picture = picture[:, :, :3]
        if into is None or into.shape != picture.shape:
            return np.ascontiguousarray(picture)
        np.copyto(into, picture)
        return into

    def close(self) -> None:
        """Stop the camera and let it go."""
        camera, self._camera, self._picture = self._camera, None, None
        if camera is not None:
            camera.close()


def _picamera2() -> Any:
    """Return picamera2's class. Raises :class:`CameraError` that says how to come by it."""
    try:
        return importlib.import_module("picamera2").Picamera2
    except ImportError as error:
        raise CameraError(f"{HOW_TO} ({error})") from error
    except ValueError as error:  # "numpy.dtype size changed": github.com/raspberrypi/picamera2/issues/1211
        raise CameraError(f"{NUMPY} ({error})") from error
