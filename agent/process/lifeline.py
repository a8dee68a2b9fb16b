"""The child's side of being a child: it ends when the agent ends, speaks on its channel, and logs JSON lines.

``enter`` is the first thing a child's ``main`` calls, in its main thread. Three things make sure that nothing is left
behind: the kernel kills the child when the agent's spawner thread ends (``PR_SET_PDEATHSIG``), a parent that was gone
before that call is noticed by ``getppid``, and the channel's end of file ends the child's reader loop. SIGTERM and
SIGINT are the agent's to handle: a service manager sends them to the whole group, and a child that went at once would
cost the frames in flight. A child logs from the level on that the agent says, at its start and at any time after.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from agent.clock import rfc3339, utc_ms
from agent.known_secrets import hide
from agent.process.channel import Channel, ChannelClosed
from agent.process.messages import AnyMessage, LogLevel

_PR_SET_PDEATHSIG = 1
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40}


class ChildChannel(Channel):
    """A child's end of its channel: what the agent says of logging is done here, everything else is the child's."""

    def receive(self, timeout_s: float | None = None) -> tuple[AnyMessage, int | None] | None:
        """Return as :meth:`Channel.receive` does; a level to log at is taken up and not returned."""
        while (received := super().receive(timeout_s)) is not None:
            message, _ = received
            if not isinstance(message, LogLevel):
                return received
            _gate.level = message.level
        return None


class _Gate:
    """Drops what is below the level; the level may change at any time."""

    level = "info"

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if _LEVELS.get(method, 50) < _LEVELS.get(self.level, 0):
            raise structlog.DropEvent
        return event


_gate = _Gate()


def enter(process: str) -> Channel:
    """Tie this process to the agent that started it and return the channel to it.

    ``process`` becomes the ``part`` of log lines that name none. Ends the process where the agent is gone already.
    Raises :class:`~agent.errors.ChildError` where the process was not started by an agent.
    """
    parser = argparse.ArgumentParser(description=f"Lookout's {process} process; only the agent starts it.")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--log-level", choices=tuple(_LEVELS), default="info")
    arguments = parser.parse_args()
    _die_with(arguments.parent_pid)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    _gate.level = arguments.log_level
    log_json(process)
    return ChildChannel.from_fd(arguments.channel_fd)


def run(process: str, serve: Callable[[Channel], None]) -> None:
    """Be a child that lives for one conversation: enter, serve, and end; also when the agent is gone."""
    channel = enter(process)
    try:
        serve(channel)
    except ChannelClosed:
        return
    finally:
        channel.close()


def log_json(process: str) -> None:
    """Make structlog write one JSON object a line to stderr, with ``event``, ``level``, ``part`` and ``at`` (UTC)."""

    def part(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("part", process)
        event["at"] = rfc3339(utc_ms())
        return event

    structlog.configure(
        processors=[
            _gate,
            structlog.processors.add_log_level,
            part,
            structlog.processors.format_exc_info,
            _without_credentials,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),  # the gate decides, while it runs
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


def _die_with(parent_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before prctl: no signal will come
        os._exit(0)


def _without_credentials(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = hide(value)
    return event


def _json(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)
