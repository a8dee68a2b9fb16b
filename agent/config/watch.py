"""Tells when the configuration file may have changed: however it is replaced, and without looking at rest.

Editors and configuration managers write in place, rename a new file over the old one, swap a symbolic link on the way
to it (as Kubernetes does with config maps), or replace the whole folder. So the way to the file is walked, and those
folders are watched (watchdog, inotify) whose entries decide what the path leads to: the file's own, its parent's, and
every one that holds a symbolic link; where a folder is missing, the nearest one above it, until it comes back. Events
of other entries are passed over.

The thread ``lookout-config-watch`` waits until the entries were quiet for :data:`SETTLE_S`, walks anew, and calls
``changed`` if the file (device, inode, size, times) is another one than last time, or gone. What is in it, the caller
looks at. Nothing is polled. Where the kernel gives no watch, ``problem`` says so, and the next event tries again.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from agent.errors import ProgrammingError
from agent.link.wire import NoPulse, Pulse

log = structlog.get_logger(part="config")

SETTLE_S = 0.3
MAX_SETTLE_S = 3.0
"""A file that is written all the time is looked at nevertheless."""

WAIT_S = 600.0
STOP_S = 5.0
MAX_LINKS = 40

_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
_INOTIFY_LIMITS = {
    errno.ENOSPC: "raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "raise the sysctl fs.inotify.max_user_instances",
}

Entry = tuple[str, str]
"""A folder's real path, and a name in it."""

Identity = tuple[int, ...] | None


def deciding_entries(path: Path) -> tuple[Entry, ...]:
    """Return the entries that decide what ``path`` leads to: symbolic links, and the last two, or the missing one."""
    waiting = list(reversed(path.absolute().parts[1:]))
    at, links = "/", 0
    walked: list[Entry] = []
    linked: list[Entry] = []
    while waiting:
        name = waiting.pop()
        if name in (".", ".."):
            at = os.path.dirname(at) if name == ".." else at  # noqa: PTH120 - at is real: no link is left in it
            continue
        here = os.path.join(at, name)  # noqa: PTH118
        target = _target(here)
        if target is None or links >= MAX_LINKS:
            walked.append((at, name))
            at = here
            if not os.path.lexists(here):
                break
        else:
            linked.append((at, name))
            links += 1
            at = "/" if target.startswith("/") else at
            waiting += reversed([part for part in target.split("/") if part])
    return tuple(dict.fromkeys((*linked, *walked[-2:])))


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - a text, not a path of its own
    except OSError:
        return None


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _inode(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


class FileWatch(FileSystemEventHandler):
    """Watches one file; see the module. ``changed`` is called on the thread ``lookout-config-watch``."""

    def __init__(self, path: Path, changed: Callable[[], None], *, pulse: Pulse | None = None) -> None:
        self._path = path.absolute()
        self._changed = changed
        self._pulse = pulse or NoPulse()
        self._condition = threading.Condition()
        self._events = 0
        self._stopping = False
        self._deciding: frozenset[str] = frozenset()
        self._watches: dict[str, tuple[tuple[int, int], ObservedWatch]] = {}
        self._identity: Identity = None
        self._observer: BaseObserver | None = None
        self._thread = threading.Thread(target=self._run, name="lookout-config-watch")
        self.problem: str | None = None

    def start(self) -> None:
        """Watch from now on: what was changed before, the caller looks at."""
        if self._thread.ident is not None:
            raise ProgrammingError("a watch of the configuration file is started once")
        self._begin()
        self._identity = _identity(self._path)
        self._thread.start()

    def stop(self) -> None:
        """Stop; idempotent. ``changed`` is not called any more once it returned."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(STOP_S)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take an event of a watched folder; watchdog's thread."""
        paths = {os.fsdecode(event.src_path), os.fsdecode(event.dest_path)}
        if paths & self._deciding:
            with self._condition:
                self._events += 1
                self._condition.notify_all()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        seen = 0
        while self._await_more(seen, WAIT_S):
            if self._events == seen:
                continue
            seen = self._settled()
            self._arm()
            identity = _identity(self._path)
            if identity != self._identity and not self._stopping:
                self._identity = identity
                self._changed()
            self._pulse.progress()

    def _await_more(self, seen: int, bound_s: float) -> bool:
        """Wait for an event beyond ``seen`` ones, ``bound_s`` at most; False where it is time to stop."""
        with self._condition:
            self._pulse.waiting(bound_s)
            self._condition.wait_for(lambda: self._stopping or self._events > seen, bound_s)
            return not self._stopping

    def _settled(self) -> int:
        """Wait until there are no more events for a while; return how many there were."""
        for _ in range(int(MAX_SETTLE_S / SETTLE_S)):
            seen = self._events
            if not self._await_more(seen, SETTLE_S) or self._events == seen:
                return seen
        return self._events

    # --- watches ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._observer = Observer()
            self._observer.name = "lookout-config-events"
            self._observer.start()
        except OSError as error:
            self._tell(error)
        self._arm()

    def _arm(self) -> None:
        """Watch the folders on the way to the file as it is now. Once more where the way changed meanwhile."""
        if self._observer is None:
            return
        self.problem = None
        entries = deciding_entries(self._path)
        for _ in range(MAX_LINKS):
            folders = {folder for folder, _ in entries}
            self._deciding = frozenset((*(os.path.join(*entry) for entry in entries), *folders))  # noqa: PTH118
            self._watch(self._observer, folders)
            before, entries = entries, deciding_entries(self._path)
            if entries == before:
                return

    def _watch(self, observer: BaseObserver, folders: set[str]) -> None:
        for folder in {*folders, *self._watches}:
            inode = _inode(folder) if folder in folders else None
            known = self._watches.get(folder)
            if known is not None and known[0] != inode:
                del self._watches[folder]
                observer.unschedule(known[1])
                known = None
            if known is None and inode is not None:
                self._schedule(observer, folder, inode)

    def _schedule(self, observer: BaseObserver, folder: str, inode: tuple[int, int]) -> None:
        try:
            self._watches[folder] = (inode, observer.schedule(self, folder, event_filter=_EVENTS))
        except OSError as error:
            self._tell(error)
            return
        for thread in threading.enumerate():  # watchdog's own: one of them has no public handle
            if type(thread).__module__.startswith("watchdog."):
                thread.name = "lookout-config-events"

    def _tell(self, error: OSError) -> None:
        remedy = _INOTIFY_LIMITS.get(error.errno or 0, "changes are taken up at the next start")
        self.problem = f"{self._path}: changes of the file cannot be noticed: {error.strerror or error}; {remedy}"
        log.warning("config.not_watched", problem=self.problem)
