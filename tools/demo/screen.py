"""What the viewer sees: stages, lines, one live line and tables; Rich on a terminal, plain lines elsewhere.

:meth:`Screen.live` may be called from any thread and often; everything else from the main thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

Row = tuple[str, ...]
LIVE_INTERVAL_S = 0.1


class Screen:
    """Base and plain variant: every line with the seconds since the start, no colours, no cursor movements."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self._line(f"== {title}")

    def say(self, text: str) -> None:
        """Say something that stays."""
        self._line(f"   {text}")

    def verdict(self, *, kept: bool, claimed: str, seen: str) -> None:
        """Say how a claim came out."""
        self._line(f"   {'ok  ' if kept else 'FAIL'} {claimed}: {seen}")

    def live(self, text: str) -> None:
        """Show what happens at this moment; the next one takes its place. Plain: nothing."""

    def table(self, title: str, head: Row, rows: Sequence[Row]) -> None:
        """Show a table."""
        self._line(f"== {title}")
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        for row in (head, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._line("   " + "  ".join(cells).rstrip())

    def claims(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show rows of (claimed, seen, verdict). What was seen can be long, so plain lines give it one of its own."""
        self._line(f"== {title}")
        for claimed, seen, verdict in rows:
            self._line(f"   {verdict:<6}  {claimed}")
            self._line(f"           {seen}")

    def log_tail(self, name: str, lines: Sequence[str]) -> None:
        """Show the end of a process' log."""
        self._line(f"== the last lines of the {name}'s log")
        for line in lines:
            self._line(f"   | {line}")

    def close(self) -> None:
        """Give the terminal back."""

    def _line(self, text: str) -> None:
        stamp = f"{time.monotonic() - self._started:6.1f} s  "
        self._console.print(stamp + text, markup=False, highlight=False, soft_wrap=True)


class RichScreen(Screen):
    """Colours, a spinner with the live line, and drawn tables."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._lock = threading.Lock()
        self._shown_at = 0.0
        self._status: Status | None = console.status("", spinner="dots")
        self._status.start()

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self._console.print()
        self._console.rule(f"[bold]{escape(title)}", align="left", style="blue")
        self._shown_at = 0.0
        self.live(title)

    def say(self, text: str) -> None:
        """Say something that stays."""
        self._console.print(Padding(Text(text), (0, 0, 0, 2)))

    def verdict(self, *, kept: bool, claimed: str, seen: str) -> None:
        """Say how a claim came out."""
        row = Table.grid(padding=(0, 1))
        mark = Text("✓", "green") if kept else Text("✗", "bold red")
        row.add_row(mark, Text.assemble(f"{claimed}: ", (seen, "bold")))
        self._console.print(Padding(row, (0, 0, 0, 2)))

    def live(self, text: str) -> None:
        """Show what happens at this moment."""
        now = time.monotonic()
        with self._lock:
            if self._status is None or now - self._shown_at < LIVE_INTERVAL_S:
                return
            self._shown_at = now
            self._status.update(f"[dim]{escape(text)}[/]")

    def table(self, title: str, head: Row, rows: Sequence[Row]) -> None:
        """Show a table."""
        drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold blue")
        for column in head:
            drawn.add_column(column, overflow="fold")
        for row in rows:
            drawn.add_row(*(_coloured(cell) for cell in row))
        self._console.print()
        self._console.print(drawn)

    def claims(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show rows of (claimed, seen, verdict)."""
        self.table(title, ("claimed", "seen", "verdict"), rows)

    def log_tail(self, name: str, lines: Sequence[str]) -> None:
        """Show the end of a process' log."""
        self._console.rule(f"[bold red]the last lines of the {name}'s log", align="left", style="red")
        for line in lines:
            self._console.print(Text(line, style="dim"))

    def close(self) -> None:
        """Give the terminal back."""
        with self._lock:
            status, self._status = self._status, None
        if status is not None:
            status.stop()


KEPT, BROKEN = "kept", "BROKEN"


def _coloured(cell: str) -> Text:
    return Text(cell, style={KEPT: "bold green", BROKEN: "bold red"}.get(cell, ""))


def open_screen(*, plain: bool) -> Screen:
    """Return the screen that fits standard output; ``plain`` forces plain lines."""
    console = Console()
    return RichScreen(console) if console.is_terminal and not plain else Screen(console)
