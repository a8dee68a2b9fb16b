"""Reads what the disk under the state folder is like; a file is made there and removed, if this user is the agent's."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from agent.doctor.case import Case
from agent.doctor.judge.access import User
from agent.doctor.judge.storage import Storage, Wear, read_mounts
from agent.telemetry.medium import Medium


def look(case: Case) -> Storage:
    """Return the facts. Raises OSError where not even the root of the file system can be looked at."""
    folder = case.places.state.resolve()
    nearest = _nearest(folder)
    room = os.statvfs(nearest)
    mine = case.user.uid == os.geteuid()
    writable, problem = _tried(folder) if mine and folder == nearest else (_may_write(nearest, case.user), "")
    return Storage(
        folder=str(folder),
        nearest=str(nearest),
        user=case.user.name,
        mounts=read_mounts((case.host / "proc/self/mountinfo").read_text()),
        writable=writable,
        problem=problem,
        free_bytes=room.f_bavail * room.f_frsize,
        total_bytes=room.f_blocks * room.f_frsize,
        free_files=room.f_favail,
        total_files=room.f_files,
        wanted_mb=_wanted_mb(case),
    )


def look_at_wear(case: Case) -> Wear:
    """Return what the medium says of its life."""
    medium = Medium(_nearest(case.places.state.resolve()), sys=case.host / "sys")
    return Wear(medium.name, medium.life_used_percent(), bool(medium.worn()))


def _wanted_mb(case: Case) -> float:
    if case.loaded is None:
        return 0.0
    config = case.loaded.config
    waiting = config.outbox.max_mb if config.mqtt.host is not None else 0.0
    return (config.registry.free_floor_mb if config.registry.url else 0) + waiting


def _nearest(folder: Path) -> Path:
    """Return the folder, or the first one above it that is there."""
    for one in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            if one.is_dir():
                return one
    return Path("/")


def _tried(folder: Path) -> tuple[bool | None, str]:
    """Write a file and sync it: a card that is dying says so only then."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lookout doctor\n" * 256)
            file.flush()
            os.fsync(file.fileno())
    except PermissionError:
        return False, ""
    except OSError as error:
        return None, error.strerror or str(error)
    return True, ""


def _may_write(folder: Path, user: User) -> bool | None:
    """Tell whether another user may write there, by owner, group and mode; None where those are not to be seen."""
    if user.uid == 0:
        return True
    try:
        found = folder.stat()
    except OSError:
        return None
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid in user.groups else 0
    return bool(stat.S_IMODE(found.st_mode) >> shift & 0o3 == 0o3)
