"""The verbs ``logs/tail`` and ``logs/level``, and the followers of the local socket: who asks for the log, and gets it.

Called by the thread that takes commands, and by that of the local socket; nothing here blocks for longer than one batch
of lines takes to write.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from agent.clock import NS_PER_S, monotonic_ns, rfc3339, utc_ms
from agent.errors import CommandError
from agent.link.forms import Arguments, Level, LogsLevel, LogsTail
from agent.logs.desk import LogDesk
from agent.logs.entry import Wanted
from agent.logs.levels import OTHER_PARTS, PARTS
from agent.logs.setup import Logging
from agent.logs.tail import LocalFollower, RemoteTail
from agent.types import Outgoing

MAX_FOLLOWERS = 8
"""People at the local socket who follow at a time."""

MAX_LOCAL_LINES = 1000

log = structlog.get_logger(part="logs")


class Tailing(msgspec.Struct, frozen=True):
    """Answer of ``logs/tail``: lines come on ``logs`` until then (None: it ended), ``lines`` kept ones first."""

    until: str | None
    lines: int


class Levelled(msgspec.Struct, frozen=True):
    """Answer of ``logs/level``: ``part`` (None: all) is logged at ``level`` until then, then as configured again."""

    part: str | None
    level: str
    until: str


class LocalLogs(Arguments, frozen=True, kw_only=True):
    """What ``lookout logs`` asks: the newest ``lines`` of what is wanted, and, to ``follow``, those to come."""

    lines: int = 50
    level: Level = "debug"
    part: str | None = None
    grep: str | None = None
    follow: bool = False


class Kept(msgspec.Struct, frozen=True):
    """Answer to it: records as they are logged, the oldest first; ``dropped`` are no longer in memory."""

    records: tuple[msgspec.Raw, ...]
    dropped: int


class Followed:
    """The answer to who follows: ``result`` is sent first, then the peer's socket is handed over, or it is gone."""

    def __init__(self, result: Kept, follower: LocalFollower, desk: LogDesk) -> None:
        self.result = result
        self._follower, self._desk = follower, desk

    def go(self, peer: socket.socket) -> None:
        """Take the socket over."""
        self._follower.go(peer)
        self._desk.wake()

    def abandon(self) -> None:
        """Forget the peer: it did not take the answer."""
        self._desk.unfollow(self._follower)


class AskedLogs:
    """See the module. At most one remote tail at a time: a new one takes the former's place."""

    def __init__(self, logs: Logging, publish: Callable[[Outgoing], None]) -> None:
        self._logs = logs
        self._publish = publish
        self._lock = threading.Lock()
        self._tail: RemoteTail | None = None

    def tail(self, args: LogsTail) -> Tailing:
        """Do what ``logs/tail`` asks. Raises :class:`CommandError` for a part that does not exist."""
        self._check(args.part)
        now_ns = monotonic_ns()
        wanted = Wanted(args.level, args.part, args.grep)
        until_ns = now_ns + round(args.seconds * NS_PER_S)
        tail = RemoteTail(self._publish, wanted, until_ns=until_ns, per_second=args.per_second, now_ns=now_ns)
        told: list[int] = []
        with self._lock:
            if self._tail is not None:
                self._logs.desk.unfollow(self._tail)
            self._tail = tail if args.seconds else None
            if self._tail is None:
                return Tailing(None, 0)
            # Within, so that no record falls between those that were kept and those to come.
            self._logs.desk.follow(tail, lambda: told.append(tail.begin(self._logs.ring.newest(args.lines, wanted))))
        return Tailing(rfc3339(utc_ms() + round(args.seconds * 1000)), told[0])

    def level(self, args: LogsLevel) -> Levelled:
        """Do what ``logs/level`` asks. Raises :class:`CommandError` for a part that does not exist."""
        self._check(args.part)
        self._logs.levels.set_for(args.level, args.part, monotonic_ns() + round(args.seconds * NS_PER_S))
        self._logs.desk.wake()
        log.info("logs.level_set", of=args.part or "all", to=args.level, seconds=args.seconds)
        return Levelled(args.part, args.level, rfc3339(utc_ms() + round(args.seconds * 1000)))

    def answer(self, asked: Mapping[str, Any]) -> Kept | Followed:
        """Do what the local socket asks, see :class:`LocalLogs`. Raises :class:`CommandError`."""
        try:
            args = msgspec.convert({key: value for key, value in asked.items() if key != "op"}, LocalLogs)
        except msgspec.ValidationError as error:
            raise CommandError(f"logs cannot be asked so: {error}") from error
        return self.local(args)

    def local(self, args: LocalLogs) -> Kept | Followed:
        """Return what is kept, and, to follow, who tells of what comes. Raises :class:`CommandError`."""
        self._check(args.part)
        wanted = Wanted(args.level, args.part, args.grep)
        lines = max(0, min(args.lines, MAX_LOCAL_LINES))
        if not args.follow:
            return self._kept(lines, wanted)
        if len([one for one in self._logs.desk.followers() if isinstance(one, LocalFollower)]) >= MAX_FOLLOWERS:
            raise CommandError(f"{MAX_FOLLOWERS} others follow the log already; end one of them")
        follower, found = LocalFollower(wanted), []
        self._logs.desk.follow(follower, lambda: found.append(self._kept(lines, wanted)))
        return Followed(found[0], follower, self._logs.desk)

    def _kept(self, lines: int, wanted: Wanted) -> Kept:
        entries = self._logs.ring.newest(lines, wanted)
        return Kept(tuple(msgspec.Raw(entry.json) for entry in entries), self._logs.ring.dropped)

    def _check(self, part: str | None) -> None:
        if part is None or part in PARTS or part in OTHER_PARTS:
            return
        seen = self._logs.ring.parts()
        if part not in seen:
            known = ", ".join(sorted({*PARTS, *seen}))
            raise CommandError(f"args.part: nothing of the agent is called {part!r}; it has {known}", field="args.part")
