"""What a search has found out so far, on disk, so that it can be stopped at any moment and go on where it was.

One folder a question: its name is a digest of the cleaned model, the spec, the pictures and the version of this code's
measurements, so that nothing found for another question is ever taken. Entries are JSON by the digest of what they
answer; times also depend on the machine. A damaged entry is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent import atomic

MEASUREMENTS = 2
"""Raise it when the same recipe would be measured or made differently."""

_Entry = TypeVar("_Entry")


def default_cache() -> Path:
    """``lookout/quantize`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lookout" / "quantize"


def machine() -> str:
    """Name this machine, as far as times depend on it."""
    return f"{platform.node()} {platform.machine()} {os.cpu_count()}"


def digest(*parts: Any) -> str:
    """Return 24 hex digits that name ``parts`` (bytes, or what JSON can say)."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        sha256.update(len(data).to_bytes(8, "big") + data)
    return sha256.hexdigest()[:24]


class Store:
    """The entries of one question, below ``cache``. Writing raises :class:`~agent.errors.StorageError`."""

    def __init__(self, cache: Path, question: str) -> None:
        self.folder = cache / f"{MEASUREMENTS}-{question}"

    def get(self, kind: str, key: str, type_: type[_Entry]) -> _Entry | None:
        """Return an entry, None where there is no whole one."""
        try:
            return msgspec.json.decode((self.folder / f"{kind}-{key}.json").read_bytes(), type=type_)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, kind: str, key: str, entry: Any) -> None:
        """Keep an entry."""
        atomic.write_bytes(self.folder / f"{kind}-{key}.json", msgspec.json.encode(entry))
