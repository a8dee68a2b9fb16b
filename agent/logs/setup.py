"""Sets logging up for the agent process: structlog to one stream, the newest records in memory, the stdlib joined.

Called once, by the composition root, before any thread starts; a second call replaces the first. Loggers are taken
with ``structlog.get_logger(part="…")``. Children's lines come in through :func:`agent.logs.children.forward`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import structlog

from agent.logs.output import LineWriter, Render, renderer
from agent.logs.processors import LEVELS, Gate, Record, clean, stamp
from agent.logs.ring import LogRing


@dataclass(frozen=True)
class Logging:
    """What ``configure`` set up: the records in memory, the level that may change, the way out."""

    ring: LogRing
    gate: Gate
    writer: LineWriter


def configure(level: str = "info", stream: BinaryIO | None = None, environ: Mapping[str, str] | None = None) -> Logging:
    """Log records of at least ``level`` (debug, info, warning, error) to ``stream``, by default stderr.

    ``environ`` tells whether the stream is systemd's journal.
    """
    out = sys.stderr.buffer if stream is None else stream
    logs = Logging(LogRing(), Gate(level), LineWriter(out))
    structlog.configure(
        processors=[
            logs.gate,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            clean,
            _keeper(logs.ring),
            _Renderer(renderer(out, environ or {})),
        ],
        # The gate decides, not the class: levels change while the agent runs, and loggers are cached.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: logs.writer,
        cache_logger_on_first_use=False,
    )
    _join_stdlib()
    return logs


def log_unhandled() -> None:
    """Have what ends the process or a thread by an exception logged as ``crashed`` before it does."""

    def process(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            structlog.get_logger(part="agent").critical("crashed", exc_info=(kind, error, trace))

    def thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "?"
        error = args.exc_value or args.exc_type()
        info = (args.exc_type, error, args.exc_traceback)
        structlog.get_logger(part="agent").critical("crashed", thread=name, exc_info=info)

    sys.excepthook = process
    threading.excepthook = thread


def _keeper(ring: LogRing) -> Any:
    def keep(_: Any, __: str, record: Record) -> Record:
        ring.append(record)
        return record

    return keep


class _Renderer:
    """The last step: makes the line of the record."""

    def __init__(self, render: Render) -> None:
        self._render = render

    def __call__(self, _: Any, __: str, record: Record) -> bytes:
        return self._render(record)


class _Bridge(logging.Handler):
    """Hands warnings and worse of libraries that use the stdlib (paho, watchdog) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the library's record under its own name."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # the library's format does not fit its arguments
            text = str(record.msg)
        level = next((name for name, number in LEVELS.items() if record.levelno <= number), "critical")
        log = structlog.get_logger(part=record.name.split(".")[0])
        getattr(log, level)("library.said", text=text, exc_info=record.exc_info)


def _join_stdlib() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge(logging.WARNING))
    logging.captureWarnings(True)
