"""Time, in the two kinds the agent needs.

Durations and liveness use the monotonic clock (nanoseconds): a Raspberry Pi has no battery clock and jumps at its
first NTP sync. Stamps for people use UTC, RFC 3339 with milliseconds. Linux's ``CLOCK_MONOTONIC`` is one clock for
all processes of a host, so instants may cross channels. Pure modules take ``now`` as an argument instead.
"""

from __future__ import annotations

import ctypes
import datetime
import struct
import time

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

monotonic_ns = time.monotonic_ns


def utc_ms() -> int:
    """Return milliseconds since the Unix epoch, by the system clock."""
    return time.time_ns() // NS_PER_MS


def rfc3339(at_utc_ms: int) -> str:
    """Format ``at_utc_ms`` (ms since the epoch) as ``2026-11-24T16:02:00.123Z``."""
    at = datetime.datetime.fromtimestamp(at_utc_ms / 1000, tz=datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_utc_ms % 1000:03d}Z"


_STA_UNSYNC = 0x40
_TIME_ERROR = 5
_STATUS_AT = 40  # of ``status`` in ``struct timex`` on 64-bit Linux
_TIMEX_BYTES = 512  # more than the structure has


def synchronised() -> bool:
    """Tell whether the kernel says that something (NTP, PTP, a GPS) keeps the system clock right; False if unknown.

    It asks only (``adjtimex`` without modes), which any user may.
    """
    try:
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return False
    (status,) = struct.unpack_from("i", buffer, _STATUS_AT)
    return 0 <= state < _TIME_ERROR and not status & _STA_UNSYNC
