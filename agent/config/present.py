"""What ``lookout check`` prints: every problem as a table or JSON, or a key explained. Returns exit codes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.config import describe
from agent.config.guarded import guards
from agent.config.layers import Loaded, load
from agent.errors import ConfigError, Problem

FINE, BAD_INPUT = 0, 2


def check(path: Path, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Check a file with the environment laid over it, and print the verdict."""
    try:
        loaded = load(path, environ)
    except ConfigError as error:
        _print_problems(path, error.problems, as_json=as_json)
        return BAD_INPUT
    if as_json:
        _print_json({"ok": True, "file": str(path), "problems": [], "environment": _variables(loaded)})
    else:
        config = loaded.config
        extra = f", {', '.join(_variables(loaded))} from the environment" if _variables(loaded) else ""
        counts = f"{_count(len(config.cameras), 'camera')}, {_count(len(config.pipelines), 'pipeline')}"
        print(f"{path}: fine ({counts}{extra})")
    return FINE


def explain(text: str, *, as_json: bool) -> int:
    """Print what a key means: its type, default, bounds, and whether and how it may change."""
    found = describe.find(text)
    if not found:
        near = describe.suggest(text)
        hint = f"did you mean {near}?" if near else "see configs/minimal.yaml"
        print(f"{text}: is no known key; {hint}", file=sys.stderr)
        return BAD_INPUT
    if as_json:
        _print_json([_explained(key) for key in found])
        return FINE
    for key in found:
        _console().print(_key_table(key))
    return FINE


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _variables(loaded: Loaded) -> list[str]:
    return sorted({origin.where for origin in loaded.sources.values() if origin.layer == "environment"})


def _explained(key: describe.Key) -> dict[str, object]:
    shown = dataclasses.asdict(key)
    del shown["place"], shown["textual"]
    guard = guards([key.place])
    shown |= {"on_probation": guard.on_probation, "needs_confirm": guard.needs_confirm}
    return {"path": key.path, **shown, "below": describe.children(key.place) if key.section else []}


def _key_table(key: describe.Key) -> Table:
    kinds = f" (kind: {', '.join(key.kinds)})" if key.kinds else ""
    table = Table(title=f"{key.path}{kinds}", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    when = {"live": "at once", "part": "at once; one part is rebuilt", "agent": "at the next start of the agent"}
    rows = {
        "what": key.description,
        "type": key.type,
        "default": key.default,
        "bounds": key.bounds or "none",
        "applies": f"{key.applies}: {when[key.applies]}",
        "remote": "yes" if key.remote else "no: only in the file or the environment",
    }
    guard = guards([key.place])
    if guard.on_probation:
        also = "; from afar it needs config/confirm over a new connection besides" if guard.needs_confirm else ""
        rows |= {"a change": f"is undone unless the device does as well as before within remote.confirm_s{also}"}
    if key.section:
        rows |= {"keys": ", ".join(describe.children(key.place) or describe.children((*key.place, "*")))}
    if key.secret:
        rows |= {"secret": "yes: never shown anywhere"}
    for name, text in rows.items():
        table.add_row(name, Text(text))
    return table


def _print_problems(path: Path, problems: tuple[Problem, ...], *, as_json: bool) -> None:
    if as_json:
        _print_json({"ok": False, "file": str(path), "problems": [dataclasses.asdict(found) for found in problems]})
        return
    table = Table(title=Text(f"{path}: {_count(len(problems), 'problem')}"), title_justify="left")
    for heading in ("key", "value", "what is wrong", "what would be right", "written in"):
        table.add_column(heading, overflow="fold")
    for found in problems:
        table.add_row(*(Text(_printable(cell)) for cell in dataclasses.astuple(found)))
    _console().print(table)


def _printable(cell: str | None) -> str:
    """Return a cell that cannot steer the terminal: the file may hold anything."""
    return "".join(char if char.isprintable() else "·" for char in cell or "")


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _console() -> Console:
    """Return a console that wraps for a person's terminal and for nobody else."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)
