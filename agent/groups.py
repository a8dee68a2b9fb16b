"""The command's further groups (``registry``, ``bench``, …): found by entry point, loaded only when named.

``lookout run`` and ``lookout status`` must load none of them: they bring TUF, ONNX and worse. So the names of entry
points are read only when a name is not one of the agent's own, or for the list in the help, whose one-line summaries
are read from the modules' source without importing them.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import typer.core
import typer.main

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "lookout.commands"


class LazyGroup(typer.core.TyperGroup):
    """The root command: its own commands, and the groups of the entry points ``lookout.commands``."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Return all names: the agent's own first."""
        own = list(self.commands)
        return own + sorted(name for name in entry_points() if name not in own)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; for the help, a group's stand-in that was not loaded."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        found = entry_points().get(cmd_name)
        if found is None:
            return None
        return load(found) if cmd_name in getattr(ctx, "wanted_groups", ()) else stand_in(found)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was named, or name the nearest."""
        if args[0] not in self.commands:
            if args[0] not in self.list_commands(ctx):
                ctx.fail(unknown(args[0], self.list_commands(ctx)))
            ctx.wanted_groups = (args[0],)
        return super().resolve_command(ctx, args)


def entry_points() -> dict[str, EntryPoint]:
    """Return the entry points by name, without loading them."""
    from importlib import metadata  # here, because the agent's process never needs it

    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def load(point: EntryPoint) -> Any:
    """Import a group and return its command."""
    try:
        found = point.load()
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error)
        said = f"lookout {point.name} needs {missing}, which is not installed: pip install 'lookout-agent[workshop]'"
        typer.echo(said, err=True)
        raise typer.Exit(1) from error
    except AttributeError as error:
        typer.echo(f"lookout {point.name}: {point.value} names nothing; install lookout-agent again", err=True)
        raise typer.Exit(1) from error
    return typer.main.get_command(found) if isinstance(found, typer.Typer) else found


def stand_in(point: EntryPoint) -> Any:
    """Return a command of the group's name and summary that runs nothing."""
    shell = typer.Typer(help=summary(point.value.partition(":")[0]))
    shell.callback(invoke_without_command=True)(lambda: None)
    command = typer.main.get_command(shell)
    command.name = point.name
    return command


def summary(module: str) -> str:
    """Return what a group's module gives its Typer as ``help``, read from the source; empty where it gives none."""
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(spec.origin).read_bytes() if spec and spec.origin else b"")
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and "Typer" in ast.dump(node.func))
    helps = (word.value for call in calls for word in call.keywords if word.arg == "help")
    return next((str(word.value) for word in helps if isinstance(word, ast.Constant)), "")


def unknown(name: str, known: list[str]) -> str:
    """Return what to say of a command that does not exist."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"No such command '{name}'. " + (f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}.")
