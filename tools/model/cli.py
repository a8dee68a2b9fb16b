"""``lookout model``: one command a step, each in a package of its own, imported only when it is named.

``COMMANDS`` is the table: a command's name, where its function is, and the one line that the list of commands shows.
The functions' own modules import nothing heavy at the top: what a command needs is imported when it runs.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import typer
import typer.core
import typer.main


class Where(NamedTuple):
    """Where a command's function is, and its line in the list."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "export": Where("tools.model.export.command", "export", "PyTorch, TensorFlow or TFLite to ONNX, with parity."),
    "check": Where("tools.model.check.command", "check", "What a model holds, and a verdict per target."),
    "optimize": Where("tools.model.optimize.command", "optimize", "Clean, simplify, convert; parity after each step."),
    "quantize": Where("tools.model.quantize.command", "quantize", "INT8 within an accuracy budget."),
    "evaluate": Where("tools.model.evaluate.command", "evaluate", "mAP or top-1, float and INT8 side by side."),
    "bench": Where("tools.model.bench.command", "bench", "Latency and memory, here or on a device."),
    "debug": Where("tools.model.debug.command", "debug", "Which layers INT8 hurts, and what to leave float."),
    "manifest": Where("tools.model.manifest.command", "manifest", "Draft manifest.json from a model."),
    "ship": Where("tools.model.ship.command", "ship", "All of it: clean, quantize, evaluate, bench, publish."),
}


class Steps(typer.core.TyperGroup):
    """The commands of the table."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Return the names in the order of the road."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; for the list of commands, its stand-in."""
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        return _load(cmd_name, where) if cmd_name == getattr(ctx, "wanted_step", None) else _stand_in(cmd_name, where)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Remember which command was named, so that only that one is imported."""
        ctx.wanted_step = args[0]
        return super().resolve_command(ctx, args)


def _load(name: str, where: Where) -> Any:
    shell = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    shell.command(name)(getattr(importlib.import_module(where.module), where.function))
    return typer.main.get_command(shell)


def _stand_in(name: str, where: Where) -> Any:
    shell = typer.Typer()
    shell.command(name, help=where.summary)(lambda: None)
    return typer.main.get_command(shell)


app = typer.Typer(
    help="Take a model from training to a signed INT8 release.",
    cls=Steps,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Take a model from training to a signed INT8 release."""
