"""Asks a program of the host, and waits no longer than is said. No shell; only ``lookout doctor`` ever comes here."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

ASK_S = 3.0


def ask(*words: str, timeout_s: float = ASK_S) -> str | None:
    """Return what a program says on stdout; None where it is absent, fails, or is not done in time."""
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        return done.stdout.decode(errors="replace")
    return None
