"""Announces the device to Home Assistant, keeps that in step with the configuration, and takes it back.

The thread ``lookout-homeassistant`` owns it; :meth:`HomeAssistant.reconfigure` and the handler of Home Assistant's
birth only leave word. Changes are gathered for :data:`SETTLE_S`, because Home Assistant loses entities of a message
that comes while it still works on the one before; after a birth each device waits its own part of :data:`SPREAD_S`, so
that a fleet does not answer at once. What was announced, and where, is in a small file before it is published: so a
camera, a pipeline or a prefix that vanished while the agent was off is taken back at the next start. A topic that was
taken back is forgotten once a connection has lasted :data:`SURE_S` since: until then each start takes it back again.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from agent.atomic import write_bytes
from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import StorageError
from agent.link.discovery import BORN, Facts, announcement, birth_topic, discovery_topic, remembered
from agent.link.standing import SessionStatistics
from agent.link.wire import Incoming, NoPulse, Pulse
from agent.types import Correlation, Outgoing

log = structlog.get_logger(part="homeassistant")

SETTLE_S = 1.0
SPREAD_S = 5.0

SURE_S = 30.0
"""A connection that lasts so long has carried what was published before: few things go before it."""

IDLE_S = 30.0
"""How long the thread waits at a time: only so that its heartbeat is renewed."""

PRIORITY = 10
"""That of what is retained."""

Topics = dict[str, dict[str, str]]
"""Discovery topic → the entities announced there (id → platform)."""


class HomeAssistantSettings(msgspec.Struct, frozen=True):
    """Below which prefix the device is announced, and as what; ``facts`` None: not at all."""

    prefix: str
    facts: Facts | None


class _Kept(msgspec.Struct):
    """The file."""

    topics: Topics = {}
    v: int = 1


class Announcements:
    """What stands at the broker as far as we know, in a file. One thread; a file that cannot be used is told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._topics: Topics = self._read()

    def topics(self) -> Topics:
        """Return a copy."""
        return {topic: dict(entities) for topic, entities in self._topics.items()}

    def keep(self, topics: Topics) -> None:
        """Remember these; what cannot be written is remembered until the agent ends."""
        if topics == self._topics:
            return
        self._topics = topics
        try:
            write_bytes(self._path, msgspec.json.encode(_Kept(topics)))
        except StorageError as error:
            log.error("homeassistant.not_remembered", problem=error.message)  # noqa: TRY400 - says it all

    def _read(self) -> Topics:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept).topics
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.error("homeassistant.not_read", file=str(self._path), problem=error.strerror)  # noqa: TRY400 - says it all
            return {}
        except msgspec.MsgspecError as error:
            aside = self._path.with_name(f"{self._path.name}.broken")
            log.error("homeassistant.set_aside", file=str(self._path), aside=aside.name, problem=str(error))  # noqa: TRY400
            with contextlib.suppress(OSError):  # then it is said again at the next start, or written over before
                self._path.replace(aside)
            return {}


class HomeAssistant:
    """Owns the thread ``lookout-homeassistant``; see the module."""

    def __init__(
        self,
        settings: HomeAssistantSettings,
        publish: Callable[[Outgoing], None],
        announcements: Announcements,
        *,
        pulse: Pulse | None = None,
        settle_s: float = SETTLE_S,
        spread_s: float = SPREAD_S,
        sure_s: float = SURE_S,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._announcements = announcements
        self._pulse = pulse or NoPulse()
        self._settle_s = settle_s
        self._spread_s = spread_s
        self._sure_s = sure_s
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._changed = threading.Condition()
        self._due_ns: int | None = monotonic_ns()
        self._session: int | None = None
        self._sure_ns: int | None = None
        self._taken_back: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lookout-homeassistant", daemon=True)

    def start(self) -> None:
        """Announce the device, or take back what a former start announced."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End; what was announced stays announced, as unavailable. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def reconfigure(self, settings: HomeAssistantSettings) -> None:
        """Announce this from now on; any thread. The session must then be told of :meth:`routes` anew."""
        with self._changed:
            if settings != self._settings:
                self._settings = settings
                self._set_due(self._settle_s)

    def session(self, statistics: SessionStatistics) -> None:
        """Take note of the connection; a listener of the session's, on its thread."""
        session = statistics.session if statistics.state == "connected" else None
        with self._changed:
            if session != self._session:
                self._session = session
                self._sure_ns = None if session is None else self._in(self._sure_s)
                self._changed.notify()

    def routes(self) -> dict[str, Callable[[Incoming], None]]:
        """Return what the session must subscribe to, and who takes what comes; any thread."""
        settings = self._settings
        return {} if settings.facts is None else {birth_topic(settings.prefix): self.born}

    def born(self, incoming: Incoming) -> None:
        """Take what Home Assistant says of itself; on the session's thread, never blocks."""
        incoming.acknowledge()
        if incoming.payload == BORN:
            with self._changed:
                self._set_due(self._random.random() * self._spread_s)

    def _set_due(self, delay_s: float) -> None:
        due_ns = self._in(delay_s)
        self._due_ns = due_ns if self._due_ns is None else min(self._due_ns, due_ns)
        self._changed.notify()

    @staticmethod
    def _in(delay_s: float) -> int:
        return monotonic_ns() + round(delay_s * NS_PER_S)

    # --- on the thread lookout-homeassistant -------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._take()) is not None:
            try:
                work()
            except Exception:  # the thread's last line: a bug here must not end what follows
                log.exception("homeassistant.failed")

    def _take(self) -> Callable[[], None] | None:
        """Wait until there is something to do; None when it is time to end."""
        with self._changed:
            while not self._stopping:
                now_ns = monotonic_ns()
                if self._due_ns is not None and self._due_ns <= now_ns:
                    self._due_ns = None
                    self._pulse.progress()
                    return self._bring
                if self._sure_ns is not None and self._sure_ns <= now_ns:
                    self._sure_ns = None
                    self._pulse.progress()
                    return self._forget
                due_ns = min((at for at in (self._due_ns, self._sure_ns) if at is not None), default=2**63)
                self._pulse.waiting(2 * IDLE_S)
                self._changed.wait(min((due_ns - now_ns) / NS_PER_S, IDLE_S))
            return None

    def _bring(self) -> None:
        """Announce the device where it is to be announced, and take back whatever else may stand somewhere."""
        settings, known = self._settings, self._announcements.topics()
        topic = _topic(settings)
        self._taken_back = {one for one in known if one != topic}
        for one in self._taken_back:
            log.info("homeassistant.taken_back", topic=one)
            self._publish(_retained(one, b""))
        if self._taken_back:
            with self._changed:
                self._sure_ns = None if self._session is None else self._in(self._sure_s)
        if settings.facts is not None and topic is not None:
            before = known.get(topic, {})
            self._announcements.keep({**known, topic: remembered(settings.facts, before)})
            self._publish(_retained(topic, announcement(settings.facts, before)))
            log.info("homeassistant.announced", topic=topic, cameras=len(settings.facts.cameras))

    def _forget(self) -> None:
        """Forget what was taken back: the broker has heard it."""
        known = self._announcements.topics()
        self._announcements.keep({one: entities for one, entities in known.items() if one not in self._taken_back})


def _topic(settings: HomeAssistantSettings) -> str | None:
    return None if settings.facts is None else discovery_topic(settings.prefix, settings.facts.device)


def _retained(topic: str, payload: bytes | msgspec.Struct) -> Outgoing:
    """Return a message of a topic that is not below the device's own, retained."""
    return Outgoing(
        topic="homeassistant",
        payload=payload,
        qos=1,
        retain=True,
        stream="homeassistant",
        priority=PRIORITY,
        replaces=topic,
        correlation=Correlation(topic),
    )
