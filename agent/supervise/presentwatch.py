"""``lookout status --watch``: the status again and again, on a terminal's second screen or as a JSON object a line.

An agent that goes away is told as such, and it is asked on: one that comes back is shown at once. Returns the exit code
of what was seen last.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from agent.errors import InputError, LookoutError
from agent.supervise.local import ask
from agent.supervise.presentkeys import keys
from agent.supervise.presentscreen import Trails, screen
from agent.supervise.status import Status, read_status

FINE, FAILED, DEGRADED = 0, 1, 3
PATIENCE_S = 2.0
"""How long the agent may take to answer; for so long no key is looked at."""


@dataclass
class _Watch:
    """What was seen so far."""

    path: Path
    found: Status | None = None
    gone: LookoutError | None = None
    gone_since: float = 0.0
    trails: Trails = field(default_factory=Trails)

    def look(self) -> None:
        """Ask the agent once."""
        try:
            self.found = read_status(ask(self.path, "status", PATIENCE_S))
        except LookoutError as error:
            if self.gone is None:
                self.gone_since = time.monotonic()
            self.gone = error
            return
        self.gone = None
        self.trails.add(self.found)

    @property
    def code(self) -> int:
        """The exit code of the latest look."""
        if self.gone is not None or self.found is None:
            return FAILED
        return DEGRADED if self.found.degraded else FINE


def watch(path: Path, *, every_s: float, as_json: bool) -> int:
    """Watch until somebody leaves. Raises :class:`InputError` where there is no terminal to show it on."""
    if not as_json and not sys.stdout.isatty():
        raise InputError(
            "lookout status --watch needs a terminal to show it on; --json prints one object a line instead"
        )
    seen = _Watch(path)
    with contextlib.suppress(KeyboardInterrupt):
        _lines(seen, every_s) if as_json else _shown(seen, every_s)
    return seen.code


def _shown(seen: _Watch, every_s: float) -> None:
    console = Console(highlight=False)
    with keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen.look()
            due = time.monotonic() + every_s
            pressed = "resized"
            while pressed == "resized":  # the same again, for another size of the window
                live.update(_picture(seen, console), refresh=True)
                pressed = keyboard.wait(max(0.0, due - time.monotonic()))
            if pressed == "quit":
                return


def _picture(seen: _Watch, console: Console) -> Any:
    gone = "" if seen.gone is None else seen.gone.message
    return screen(
        seen.found,
        gone,
        time.monotonic() - seen.gone_since,
        seen.trails,
        clock=time.strftime("%H:%M:%S"),
        plain=console.options.ascii_only,
    )


def _lines(seen: _Watch, every_s: float) -> None:
    while True:
        seen.look()
        error = seen.gone
        told = (
            msgspec.to_builtins(seen.found)
            if error is None
            else {"error": {"code": error.code, "message": error.message}}
        )
        print(json.dumps(told), flush=True)
        time.sleep(every_s)
