"""Which handler takes which topic, and what of it the broker was asked for.

``want`` is called by any thread, all else by the session's. The session's own topics are subscribed to besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from paho.mqtt.client import topic_matches_sub

from agent.link.wire import Incoming

Handler = Callable[[Incoming], None]


class Subscriber(Protocol):
    """The part of a connection that is needed here."""

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for what these filters match."""

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for it no more."""


class Routes:
    """See the module."""

    def __init__(self, status: str, info: str | None, routes: Mapping[str, Handler]) -> None:
        """``info`` is this device's own ``info``, where it is listened to."""
        self.info = info
        self._own = (status,) if info is None else (status, info)
        self._routes = self._wanted = dict(routes)
        self._left: set[str] = set()

    def want(self, routes: Mapping[str, Handler]) -> None:
        """Take this whole table in the place of the present one, at the next step; any thread."""
        self._wanted = dict(routes)

    def begin(self, connection: Subscriber) -> None:
        """Subscribe to everything on a new connection; the broker may remember what was left while it was away."""
        self._take()
        connection.subscribe((*self._own, *self._routes))
        self._leave(connection)

    def follow(self, connection: Subscriber) -> None:
        """Subscribe and unsubscribe what differs from what the living connection was asked for."""
        before = self._routes
        if before is self._wanted:
            return
        self._take()
        if fresh := tuple(name for name in self._routes if name not in before):
            connection.subscribe(fresh)
        self._leave(connection)

    def handler(self, topic: str) -> Handler | None:
        """Return who takes this topic."""
        for topic_filter, handler in self._routes.items():
            if topic_matches_sub(topic_filter, topic):
                return handler
        return None

    def _take(self) -> None:
        before, self._routes = self._routes, self._wanted
        self._left = (self._left | before.keys()) - self._routes.keys()

    def _leave(self, connection: Subscriber) -> None:
        if self._left:
            connection.unsubscribe(tuple(sorted(self._left)))
            self._left = set()
