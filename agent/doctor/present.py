"""What ``lookout doctor`` prints: a table with a line for what to do, or JSON; progress on stderr while it looks.

Everything goes through the redactor, and cannot steer the terminal: a finding may quote anything.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.clock import rfc3339, utc_ms
from agent.doctor.findings import Finding, Verdict, counted, exit_code, state
from agent.doctor.rounds import Progress
from agent.known_secrets import hide, hide_in
from agent.versions import agent_version

STYLES: dict[Verdict, str] = {"ok": "green", "warning": "bold yellow", "failed": "bold red", "skipped": "dim"}
WIDTH = 140


def table(findings: Sequence[Finding]) -> None:
    """Print findings for people."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    shown = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.verdict]
        shown.add_row(Text(finding.verdict, style), Text(_line(finding.name)), _told(finding))
    console.print(shown)
    numbers = ", ".join(f"{number} {verdict}" for verdict, number in counted(findings).items() if number)
    console.print(Text(f"\n{numbers}", "bold"))


def _told(finding: Finding) -> Text:
    told = Text(_line(finding.found), "dim" if finding.verdict == "skipped" else "")
    if finding.remedy:
        told.append("\n→ ", STYLES[finding.verdict])
        told.append(_line(finding.remedy), "bold" if finding.degrades else "")
    return told


def as_json(findings: Sequence[Finding], *, usable: bool, device: str | None) -> None:
    """Print findings for programs."""
    found: dict[str, Any] = {
        "v": 1,
        "at": rfc3339(utc_ms()),
        "device": device,
        "version": agent_version(),
        "state": state(findings, usable=usable),
        "exit": exit_code(findings, usable=usable),
        "counts": counted(findings),
        "checks": [_plain(finding) for finding in findings],
    }
    print(json.dumps(hide_in(found), ensure_ascii=False, indent=2))


def _plain(finding: Finding) -> dict[str, Any]:
    shown = {
        "name": finding.name,
        "status": finding.verdict,
        "found": finding.found,
        "remedy": finding.remedy,
        "degrades": finding.degrades,
        "values": dict(finding.values),
    }
    return {**shown, "broken": True} if finding.broken else shown


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Say on a terminal what is still being looked at."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _done, _all, _waiting: None
        return
    with console.status("looking") as spinner:

        def tell(done: int, number: int, waiting: tuple[str, ...]) -> None:
            more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
            spinner.update(Text(f"{done} of {number} looked at; {', '.join(waiting[:3])}{more}", overflow="ellipsis"))

        yield tell


def _line(text: str) -> str:
    """Return a text in one line, without secrets, that cannot steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in hide(text))
