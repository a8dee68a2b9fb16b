"""How the workstation's commands speak: tables and progress on a terminal, JSON where asked for, errors in one line."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.clock import rfc3339
from agent.errors import InputError, LookoutError

_WARNING = 30

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def log_to_stderr() -> None:
    """Keep logs apart from facts: warnings and worse on stderr."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(_WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn an error of the field into one message and its exit code: 2 for bad input, 1 for everything else."""
    try:
        yield
    except LookoutError as error:
        errors.print(f"error: {error.message}", style="red", markup=False)
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from error


def print_json(facts: Any) -> None:
    """Print facts for a program."""
    console.print(json.dumps(facts, indent=2, ensure_ascii=False, default=_plain), markup=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(int(value.timestamp() * 1000))
    raise TypeError(f"{type(value).__name__} cannot be told in JSON")


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done, how much of it is done and how long it may take; nothing without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=quiet or not errors.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def show(doing: str, done: int, total: int) -> None:
            bar.update(task, description=doing, completed=done, total=total or None)

        yield show
