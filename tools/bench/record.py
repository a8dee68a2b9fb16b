"""What ``bench-out/<case>.json`` holds: one schema for every case. Reading and writing it.

The file is the truth: ``docs/performance.md`` is written from these files alone (:mod:`tools.bench.performance`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from agent.atomic import write_bytes
from agent.errors import InputError
from tools.bench.case import Figure, TextTable
from tools.bench.host import Host

SCHEMA = 1


class Record(msgspec.Struct, frozen=True):
    """One run of one case.

    ``at``: UTC, RFC 3339. ``load``: the host's load average of the minute before. ``others_cores``: what processes
    other than the benchmark's used meanwhile. ``lacking``: why the case could not run on this host, ``failed``: why it
    broke off; it has no figures then. ``report``: the case's own record.
    """

    schema: int
    case: str
    title: str
    at: str
    took_s: float
    quick: bool
    host: Host
    load: float
    others_cores: float
    settings: Any
    figures: tuple[Figure, ...]
    tables: tuple[TextTable, ...] = ()
    remarks: tuple[str, ...] = ()
    lacking: str | None = None
    failed: str | None = None
    report: Any = None

    @property
    def missed(self) -> tuple[Figure, ...]:
        """Return the figures that did not keep what was promised, where it was promised for this host."""
        return tuple(one for one in self.figures if one.kept is False and self.promised(one))

    def promised(self, figure: Figure) -> bool:
        """Return whether a figure's bound was promised for a host like this one."""
        return figure.wanted is not None and figure.wanted.where in ("", *self.host.features)


def encode(record: Record) -> bytes:
    """Return the file's text."""
    return msgspec.json.format(msgspec.json.encode(record, enc_hook=str), indent=2) + b"\n"  # paths, as text


def keep(record: Record, out: Path) -> Path:
    """Write a record into the folder, over an earlier one of its case; return the file."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{record.case}.json"
    write_bytes(target, encode(record))
    return target


def read(path: Path) -> Record:
    """Read one. Raises :class:`~agent.errors.InputError` for what is none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{path}: is no report of lookout bench: {error}; remove it, or measure that case again"
        ) from error
    if found.schema != SCHEMA:
        raise InputError(f"{path}: has schema {found.schema}, this lookout reads {SCHEMA}: measure that case again")
    return found


def read_all(out: Path, names: Iterable[str]) -> tuple[Record, ...]:
    """Return the records of these cases that are there, in this order. Raises :class:`~agent.errors.InputError`."""
    return tuple(read(path) for name in names if (path := out / f"{name}.json").is_file())
