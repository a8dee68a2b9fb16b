"""What ``lookout logs`` prints: the agent's records as lines for people, in colour on a terminal, or as JSON lines.

A text that a record quotes may come from anywhere; it cannot steer the terminal. Returns exit codes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from agent.errors import LookoutError
from agent.supervise.local import ask, follow

FINE, FAILED = 0, 1

_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "bold red", "critical": "bold white on red"}
_AHEAD = ("at", "level", "part", "child", "event", "exception", "repeated")


@dataclass(frozen=True)
class Asked:
    """What is asked for, as the agent's socket takes it."""

    lines: int
    level: str
    part: str | None
    grep: str | None
    follow: bool


def logs(path: Path, asked: Asked, *, as_json: bool) -> int:
    """Ask the agent, and print what it answers; to follow, until the agent ends."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        if not asked.follow:
            _print(console, ask(path, "logs", **asdict(asked))["records"], as_json=as_json)
            return FINE
        answers = follow(path, "logs", **asdict(asked))
        _print(console, next(answers)["records"], as_json=as_json)
        for record in answers:
            _print(console, [record], as_json=as_json)
    except LookoutError as error:
        print(error.message, file=sys.stderr)
        return FAILED
    print("the agent has ended", file=sys.stderr)
    return FAILED


def _print(console: Console, records: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    for record in records:
        if as_json:
            print(json.dumps(record, ensure_ascii=False))
        else:
            console.print(shown(record))
    sys.stdout.flush()


def shown(record: Mapping[str, Any]) -> Text:
    """Return a record as a line: the time of day (UTC), level, part, event and the rest; a traceback below."""
    if set(record) == {"dropped"}:
        return Text(f"... {record['dropped']} lines were left out: they came faster than they were read", "yellow")
    level = _plain(record.get("level", "info"))
    line = Text()
    line.append(_plain(record.get("at", ""))[11:23].ljust(13), "dim")
    line.append(level.ljust(9), _STYLES.get(level, ""))
    line.append(f"{_who(record)} ".ljust(11), "cyan")
    line.append(_plain(record.get("event", "")), "bold")
    for key, value in record.items():
        if key not in _AHEAD:
            line.append(f" {_plain(key)}=", "dim")
            line.append(_plain(value))
    if record.get("repeated"):
        line.append(f" (again {record['repeated']} times)", "yellow")
    if record.get("exception"):
        line.append("\n" + "\n".join(map(_printable, str(record["exception"]).splitlines())), "red")
    return line


def _who(record: Mapping[str, Any]) -> str:
    part, child = record.get("part"), record.get("child")
    who = _plain(part if part is not None else "-")
    return f"{who}/{_plain(child)}" if child is not None and child != part else who


def _plain(value: Any) -> str:
    return _printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)
