"""``python -m tools.demo.tether PARENT PROGRAM …``: become PROGRAM, and die when the demo does.

The kernel sends SIGTERM when the thread that started us ends, however it ends; the wish survives ``exec``. PARENT is
the demo's process id: where it is not our parent any more, the demo ended before the wish was heard.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie ourselves to the parent, then replace ourselves."""
    parent, *program = arguments
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
