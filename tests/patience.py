"""How long tests wait for anything: on a machine that is slower than most, so many times longer.

``make test-arm64`` sets ``LOOKOUT_TEST_PATIENCE``, since an emulated processor takes some twenty times as long.
"""

from __future__ import annotations

import os

TIMES = float(os.environ.get("LOOKOUT_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return what ``seconds`` on a usual machine are on this one."""
    return seconds * TIMES
