"""Sets logging up for the agent process: structlog to the desk, the desk to its sinks, the stdlib joined.

Called once, by the composition root, before any thread starts; a second call replaces the first. Loggers are taken
with ``structlog.get_logger(part="…")``. Children's lines come in through :func:`agent.logs.children.forward`. Lines go
to the agent's stderr: to a terminal for people, to systemd's journal with fields, else as JSON; and to ``logs.file``
besides, where one is configured.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from agent.config.schema import Logs
from agent.logs import journald
from agent.logs.desk import LogDesk, LogStatistics, Pulse
from agent.logs.entry import Sink
from agent.logs.file import FileSink
from agent.logs.fold import Fold
from agent.logs.levels import OTHER_PARTS, PARTS, Levels
from agent.logs.output import goes_to_journal, stream_sink
from agent.logs.processors import LEVELS, clean, stamp
from agent.logs.ring import LogRing

MB = 1024 * 1024


@dataclass(frozen=True)
class Logging:
    """What ``configure`` set up: the records in memory, the levels, the desk that writes."""

    ring: LogRing
    levels: Levels
    desk: LogDesk

    def start(self, pulse: Pulse | None = None) -> None:
        """Have a thread of its own write from now on."""
        self.desk.start(pulse)

    def stop(self) -> None:
        """Write what waits; from now on whoever logs writes."""
        self.desk.stop()

    def reconfigure(self, section: Logs) -> None:
        """Take up another configuration's levels and folding; any thread. The file stays until the next start."""
        self.levels.configure(section.level, section.parts)
        self.desk.fold_for(section.fold_s)
        _tell_unknown(section)

    def statistics(self) -> LogStatistics:
        """Return the counters."""
        return self.desk.statistics()


def configure(
    section: Logs | None = None,
    stream: BinaryIO | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    file: Path | None = None,
    journal: Path = journald.SOCKET,
) -> Logging:
    """Log as ``section`` says to ``stream``, by default stderr, and to ``file``, where one is given.

    ``environ`` tells whether the stream is systemd's journal, which then listens at ``journal``.
    """
    section = section or Logs()
    ring, levels = LogRing(), Levels(section.level, section.parts)
    sinks = _sinks(section, sys.stderr.buffer if stream is None else stream, environ or {}, file, journal)
    logs = Logging(ring, levels, LogDesk(ring, levels, Fold(section.fold_s), sinks))
    structlog.configure(
        processors=[
            levels,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            clean,
            _hand_over,
        ],
        # The levels decide, not the class: they change while the agent runs, and loggers are cached.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: logs.desk,
        cache_logger_on_first_use=False,
    )
    _join_stdlib()
    _tell_unknown(section)
    return logs


def log_unhandled(logs: Logging) -> None:
    """Have what ends the process or a thread by an exception logged as ``crashed``, and written, before it does."""

    def crashed(info: Any, **fields: str) -> None:
        structlog.get_logger(part="agent").critical("crashed", exc_info=info, **fields)
        logs.desk.flush()

    def process(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            crashed((kind, error, trace))

    def thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        crashed((args.exc_type, error, args.exc_traceback), thread=args.thread.name if args.thread else "?")

    sys.excepthook = process
    threading.excepthook = thread


def _sinks(section: Logs, stream: BinaryIO, environ: Mapping[str, str], file: Path | None, journal: Path) -> list[Sink]:
    first: Sink = stream_sink(stream, environ)
    if goes_to_journal(stream, environ):
        first = journald.JournalSink(first, journal)
    if file is None:
        return [first]
    return [first, FileSink(file, max_bytes=round(section.file_max_mb * MB), keep=section.file_keep)]


def _hand_over(_: Any, __: str, record: Any) -> tuple[tuple[Any], dict[str, Any]]:
    """Give the desk the record itself: what becomes of it is the desk's business."""
    return (record,), {}


def _tell_unknown(section: Logs) -> None:
    unknown = sorted(set(section.parts) - {*PARTS, *OTHER_PARTS})
    if unknown:
        known = ", ".join(PARTS)
        structlog.get_logger(part="logs").warning("logs.part_unknown", key="logs.parts", names=unknown, known=known)


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
