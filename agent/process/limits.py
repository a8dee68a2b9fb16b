"""What a child may allocate. Called by the child itself, after its imports: what they took does not count.

``RLIMIT_DATA`` suits a process with ONNX Runtime, whose address space says nothing about its memory: an allocation
beyond it fails inside the library and comes back as an error in words, where it is generous; a tight one ends the
process without a word. ``RLIMIT_AS`` suits a short-lived process that only reads.
"""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def limit_data(more_bytes: int) -> None:
    """Let this process allocate ``more_bytes`` beyond what it has now; 0 lifts the limit again."""
    _limit(resource.RLIMIT_DATA, "VmData:", more_bytes)


def limit_address_space(more_bytes: int) -> None:
    """Let this process map ``more_bytes`` beyond what it has now; 0 lifts the limit again."""
    _limit(resource.RLIMIT_AS, "VmSize:", more_bytes)


def _limit(what: int, field: str, more_bytes: int) -> None:
    _, hard = resource.getrlimit(what)
    soft = resource.RLIM_INFINITY if more_bytes <= 0 else _now_bytes(field) + more_bytes
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        soft = hard
    resource.setrlimit(what, (soft, hard))


def _now_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
