"""``lookout model check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.terminal import console, print_json, reporting


def check(
    model: Annotated[Path, typer.Argument(help="The model (.onnx).")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="raspberry-pi-4, raspberry-pi-5, jetson-orin-nano or x86; may be repeated (default: all)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what a model file holds, and whether each target runs it well.

    Looks at structure, shapes, opset, operators (CPU, CUDA, TensorRT, XNNPACK and the mobile packages), what ONNX
    Runtime fuses, multiply-adds, parameters and memory, and runs it here. A time is told only where it was measured.

    Exit codes: 0 fine on every target asked, 3 doubts (or one of several targets will not run it), 1 will not run on
    any, 2 no ONNX file.

    Example: lookout model check yolox_nano.onnx --target raspberry-pi-5 --target jetson-orin-nano
    """
    with reporting():
        import msgspec

        from tools.model.check import show
        from tools.model.check.report import check_model

        checked = check_model(model, target or ())
        if as_json:
            print_json(msgspec.to_builtins(checked))
        else:
            for table in show.tables(checked):
                console.print(table)
    raise typer.Exit(checked.exit_code)
