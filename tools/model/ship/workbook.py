"""The folder in which a ship is built, so that an interrupted one goes on where it stopped.

Each step has a folder of its own with ``step.json``: the key it was made for, its facts, and the SHA-256 of every file
it left. A step is done when its key is that of today's inputs and options and all of its files are as they were; else
its folder is emptied and it is made again. ``step.json`` is written last and atomically, so a step that was interrupted
is a step that was never done. One ship works in a folder at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import atomic
from agent.errors import InputError, StorageError
from agent.registry.store import hash_file

FORMAT = 1
"""Counts up when a step's meaning changes, so that no older result is taken for today's."""

Facts = dict[str, Any]
"""What a step found out; JSON."""


@dataclass(frozen=True)
class Done:
    """A step that is done. ``again``: it was found done, not made now; ``seconds``: what making it took."""

    name: str
    folder: Path
    facts: Facts
    seconds: float
    again: bool


class Workbook:
    """Steps of one ship; use it below :func:`opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def step(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], Facts]) -> Done:
        """Return the step's result: the one that lies there for these ``inputs`` (JSON), or what ``make`` makes now.

        ``make`` gets the step's empty folder and returns facts. Raises what it raises, and :class:`StorageError`.
        """
        folder = self.folder / name
        key = digest_of({"format": FORMAT, "step": name, "inputs": dict(inputs)})
        found = _read(folder, key)
        if found is not None:
            return Done(name, folder, found["facts"], found["seconds"], again=True)
        started = time.monotonic()
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            facts = json.loads(json.dumps(make(folder)))
            seconds = round(time.monotonic() - started, 1)
            files = {path.relative_to(folder).as_posix(): hash_file(path) for path in _files(folder)}
        except OSError as error:
            raise StorageError(
                f"{error.filename or folder}: {error.strerror or error}; free or repair the disk"
            ) from error
        record = {"key": key, "facts": facts, "files": files, "seconds": seconds}
        atomic.write_text(folder / _RECORD, json.dumps(record, indent=2) + "\n")
        return Done(name, folder, facts, seconds, again=False)


_RECORD = "step.json"


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Workbook]:
    """Open the folder for this ship alone. Raises :class:`InputError` where another one works in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror}; choose another folder with --work"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise InputError(f"{folder}: another 'lookout model ship' works here; wait for it, or give --work") from error
    try:
        yield Workbook(folder)
    finally:
        os.close(fd)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of something JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the step's record where it is done for ``key`` and whole, else None."""
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        if not isinstance(record, dict) or record["key"] != key:
            return None
        there = all(hash_file(folder / name) == sha256 for name, sha256 in record["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # absent, cut off or somebody's: not done
        return None
    return record if there else None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
