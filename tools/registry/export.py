"""A copy of a registry for a USB stick: the same trust, signed to live as long as the journey takes.

The stick's snapshot and timestamp take the next version numbers, and the registry is signed once more after it, with
its usual lifetimes. So no version number is ever used twice, a device that took the stick accepts the registry again,
and one that has seen the registry since refuses the stick as older. ``timestamp.json`` is written last, so a stick that
was pulled out too early is the older registry or none; files have hashes for names, so a second export copies only
what is new.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agent import atomic
from agent.errors import InputError, StorageError, TrustError
from agent.registry import layout
from agent.registry.manifest import load_manifest
from agent.registry.store import hash_file
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, utc_now

OFFLINE = ("root", "targets")
_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])\Z", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True)
class Exported:
    """What lies on the stick; ``copied_bytes`` counts what was not there before."""

    folder: Path
    valid_until: datetime
    releases: int
    files: int
    copied_bytes: int


def parse_duration(text: str) -> timedelta:
    """Read ``60d``, ``12h`` or ``4w``. Raises :class:`InputError`."""
    found = _DURATION.match(text.strip())
    if found is None:
        raise InputError(f"{text!r} is no duration; write hours, days or weeks such as 12h, 60d or 8w")
    return int(found[1]) * _UNITS[found[2]]


def export(
    registry: Path,
    keys: Keys,
    folder: Path,
    valid_for: timedelta,
    *,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
    on_file: Callable[[Path], None] = lambda _: None,
) -> Exported:
    """Copy what ``registry`` lists to ``folder``, valid for ``valid_for``; needs the keys of snapshot and timestamp.

    Raises :class:`InputError` where root or targets end sooner, or ``folder`` holds something else;
    :class:`StorageError`, :class:`TrustError`.
    """
    now = now or utc_now()
    with exclusive(registry):
        repository = Repository.load(registry)
        until = _checked_end(repository, now + valid_for)
        _check_folder(folder, registry)
        files = sorted(_wanted(repository))
        copied = 0
        for path in files:
            on_file(path)
            copied += _copy(registry / path, folder / path)
        stick = Lifetimes(snapshot=valid_for, timestamp=valid_for)
        Repository(folder, repository.root, repository.timestamp, repository.snapshot, repository.targets).sign_online(
            keys, stick, now
        )
        used = Repository.load(registry)
        used.snapshot.version += 1
        used.timestamp.version += 1
        used.sign_online(keys, lifetimes, now)
    return Exported(folder, until, sum(path.name.endswith(".manifest.json") for path in files), len(files), copied)


def _checked_end(repository: Repository, until: datetime) -> datetime:
    for role in OFFLINE:
        expires: datetime = getattr(repository, role).expires
        if expires < until:
            remedy = "rotate" if role == "root" else "publish (or channel)"
            raise InputError(
                f"the role {role!r} ends at {expires:%Y-%m-%d %H:%M} UTC, before the stick would "
                f"({until:%Y-%m-%d %H:%M} UTC): choose a shorter --valid-for, or renew it with "
                f"'lookout registry {remedy}' and its offline key first"
            )
    return until


def _check_folder(folder: Path, registry: Path) -> None:
    if folder.resolve() == registry.resolve():
        raise InputError(f"{folder} is the registry itself; give another folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    ours, theirs = (each / layout.METADATA / "1.root.json" for each in (registry, folder))
    if not theirs.is_file() or theirs.read_bytes() != ours.read_bytes():
        raise InputError(f"{folder} is neither empty nor an earlier export of {registry}; give another folder")


def _wanted(repository: Repository) -> Iterator[Path]:
    """Yield every file that readers of the stick need but snapshot and timestamp, relative to the registry."""
    metadata = Path(layout.METADATA)
    yield Path(layout.ROOT)
    yield metadata / f"{repository.targets.version}.targets.json"
    for path in (repository.folder / metadata).glob("*.root.json"):
        yield metadata / path.name
    for target, info in repository.targets.targets.items():
        yield Path(layout.TARGETS) / layout.hashed(target, info.hashes["sha256"])
        data = repository.read_target(target) if target.endswith("/manifest.json") else None
        if data is not None:
            yield from (Path(layout.blob(entry.sha256)) for entry in load_manifest(data).files)


def _copy(source: Path, target: Path) -> int:
    """Copy a file unless it is there already; returns the bytes copied."""
    try:
        size, digest = source.stat().st_size, hash_file(source)
        if source.parent.name == "sha256" and digest != source.name:
            raise TrustError(f"{source} is not what its name says: damaged; publish its release again")
        if target.is_file() and target.stat().st_size == size and hash_file(target) == digest:
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        atomic.install(partial, target)
    except OSError as error:
        raise StorageError(f"{error.filename or target}: cannot be copied: {error.strerror}") from error
    return size
