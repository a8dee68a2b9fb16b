"""Start the agent again in its own place: the same process id, arguments and environment, nothing else of it left.

No service manager is needed, and one that watches sees the process that it started. Everything must have been let go
of before: nothing that waits for the end of the interpreter is run.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from agent.errors import SurroundingsError


def start_again() -> NoReturn:
    """Take this process over with a new agent. Raises :class:`SurroundingsError` where Python is not there any more."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own, as we were started
    except OSError as error:
        raise SurroundingsError(
            f"the agent ended in order and cannot start again: {sys.executable}: {error.strerror}; start it"
        ) from error
