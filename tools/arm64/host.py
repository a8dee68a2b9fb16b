"""What this machine must have, and how it gets it: Debian's packages, by themselves where we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping

from agent.errors import SurroundingsError

Say = Callable[[str], None]

EMULATION = {"mmdebstrap": "mmdebstrap", "proot": "proot", "qemu-aarch64-static": "qemu-user-static"}
"""Programs that running ARM code needs, and the package of each."""

BUILDING = {**EMULATION, "buildah": "buildah"}
"""The same for building the image where there is no Docker."""

LAST_WORDS = 12


def require(programs: Mapping[str, str], say: Say) -> None:
    """Return once every program is there. Raises :class:`SurroundingsError` with the command that brings them."""
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if not missing:
        return
    install = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SurroundingsError(f"{', '.join(missing)}: not installed, and only root may do that; run: sudo {install}")
    say(f"installing {', '.join(missing)}")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], "apt-get update", env=environ)
    patience = ["-o", "DPkg::Lock::Timeout=600"]
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *patience, *missing], install, env=environ)


def run(command: list[str], what: str, *, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; return what it printed. Raises :class:`SurroundingsError` with its last words."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            check=False,
        )
    except OSError as error:
        raise SurroundingsError(f"{what}: {command[0]} cannot be run: {error.strerror}; install it") from error
    if done.returncode:
        last = "\n  ".join(done.stdout.strip().splitlines()[-LAST_WORDS:]) or "it said nothing"
        raise SurroundingsError(f"{what} failed with status {done.returncode}:\n  {last}")
    return done.stdout
