"""Which retained topics of cameras and pipelines may stand at the broker, remembered over restarts in a small file.

A camera that was removed is taken back at the broker at once; where the agent ends before the broker has heard it, or
where the camera went while the agent was off, it is taken back at the next start. What was taken back is kept for one
more start, and then forgotten. One thread at a time; a file that cannot be used is told, and costs no more than that.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec
import structlog

from agent.atomic import write_bytes
from agent.errors import StorageError

log = structlog.get_logger(part="config")


class _Kept(msgspec.Struct, frozen=True):
    """The file."""

    topics: frozenset[str] = frozenset()
    taken_back: frozenset[str] = frozenset()
    v: int = 1


class Standing:
    """See the module."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = self._read()

    def begin(self, wanted: Set[str]) -> frozenset[str]:
        """Return what a former start may have left at the broker; from now on there are the ``wanted`` topics."""
        former = self._kept
        self._keep(_Kept(frozenset(wanted), former.topics - wanted))
        return (former.topics | former.taken_back) - wanted

    def change(self, wanted: Set[str]) -> None:
        """Remember that there are other topics now; the former ones were taken back."""
        former = self._kept
        self._keep(_Kept(frozenset(wanted), (former.topics | former.taken_back) - wanted))

    def _keep(self, kept: _Kept) -> None:
        if kept == self._kept:
            return
        self._kept = kept
        try:
            write_bytes(self._path, msgspec.json.encode(kept))
        except StorageError as error:
            log.warning("standing.not_remembered", problem=error.message)

    def _read(self) -> _Kept:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.MsgspecError) as error:  # nothing is lost by it but what is to be taken back
            log.warning("standing.not_read", file=str(self._path), problem=str(error))
            return _Kept()
