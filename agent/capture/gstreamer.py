"""GStreamer pipelines through OpenCV, where OpenCV was built with GStreamer; the one from PyPI was not.

This is how a Jetson's CSI camera is reached (``nvarguscamerasrc``): JetPack's OpenCV has GStreamer, and the virtual
environment must see it (``python3 -m venv --system-site-packages``). A pipeline is a program, so it is written on the
device only, never from afar. It must end in BGR; an ``appsink`` that drops old frames is put at its end if missing.
"""

from __future__ import annotations

import re

import cv2

from agent.capture.opencv import LiveSource
from agent.errors import CameraError

SINK = "appsink drop=true max-buffers=1 sync=false"
NO_GSTREAMER = (
    "this OpenCV was built without GStreamer, as every one from PyPI: use the system's (JetPack's, or Debian's "
    "python3-opencv) in a virtual environment made with --system-site-packages, with opencv-python-headless removed"
)


def has_gstreamer(build: str) -> bool:
    """Tell from OpenCV's build information whether it can run pipelines."""
    found = re.search(r"GStreamer:\s*(\w+)", build)
    return found is not None and found.group(1) == "YES"


def whole(pipeline: str) -> str:
    """Return the pipeline with a sink that OpenCV can read from."""
    return pipeline if "appsink" in pipeline else f"{pipeline.rstrip().rstrip('!').rstrip()} ! videoconvert ! {SINK}"


class GstreamerSource(LiveSource):
    """A pipeline as a live source."""

    def open(self, start_index: int) -> None:
        """Build and start the pipeline. Raises :class:`CameraError`."""
        if not has_gstreamer(cv2.getBuildInformation()):
            raise CameraError(NO_GSTREAMER)
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._spec.open_timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._spec.read_timeout_ms,
        ]  # fmt: skip
        capture = cv2.VideoCapture(whole(self.name), cv2.CAP_GSTREAMER, parameters)
        self._opened(capture, "does not start: try it with gst-launch-1.0, with fakesink at its end")
        self._next = start_index
