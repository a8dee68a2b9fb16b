"""How RTSP carries its pictures: FFmpeg takes the choice as an option, and OpenCV options from the environment only.

The environment is one for all cameras of the process, and OpenCV reads it as the first thing of opening. So whoever
opens with another transport than the last one waits until that one has surely begun; the same one never waits.
"""

from __future__ import annotations

import os
import threading
import time

VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
BEGUN_S = 0.2

_lock = threading.Lock()
_last_s = 0.0


def choose(transport: str) -> None:
    """Let the next opening, right after this, use ``transport`` (tcp or udp). Waits :data:`BEGUN_S` at most."""
    global _last_s
    wish = f"rtsp_transport;{transport}"
    with _lock:
        if os.environ.get(VARIABLE) != wish:
            time.sleep(max(0.0, _last_s + BEGUN_S - time.monotonic()))
            os.environ[VARIABLE] = wish
        _last_s = time.monotonic()
