"""RTSP cameras of a test: a server process each, that can be stopped, killed, and come back with another size."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import free_port

PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
NEEDS = "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad,ugly}"
PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("x264enc") and Gst.ElementFactory.find("rtph264pay")
"""


def require_gstreamer() -> None:
    """Skip the test where GStreamer's RTSP server is not installed."""
    try:
        found = subprocess.run([PYTHON, "-c", PROBE], capture_output=True, timeout=30, check=False)
    except OSError:
        found = None
    if found is None or found.returncode:
        pytest.skip(f"GStreamer's RTSP server is absent: {NEEDS}")


class RtspCamera:
    """One camera at an address that stays the same."""

    def __init__(self, width: int = 320, height: int = 240, fps: int = 15) -> None:
        self.port = free_port()
        self.fps = fps
        self.start(width, height)

    @property
    def url(self) -> str:
        """With credentials, which must show up nowhere."""
        return f"rtsp://operator:hunter2@127.0.0.1:{self.port}/cam"

    def start(self, width: int = 320, height: int = 240) -> None:
        """Serve; returns once it does."""
        command = [PYTHON, str(SERVER), str(self.port), str(width), str(height), str(self.fps)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"serving\n"

    def stall(self) -> None:
        """Stop it in its tracks: the connection stays, nothing comes."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stalled one run again."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once. Idempotent."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
