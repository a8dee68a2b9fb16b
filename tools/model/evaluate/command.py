"""``lookout model evaluate``: how right models are, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.errors import InputError
from tools.terminal import console, errors, print_json, reporting


class Half(str, Enum):
    """Which pictures of the sorted list."""

    all = "all"
    even = "even"
    odd = "odd"


def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL…", help="ONNX files; the first is the reference.")],
    data: Annotated[Path, typer.Option(help="COCO .json, YOLO folder, Pascal VOC folder, or a folder a class.")],
    manifest: Annotated[Path | None, typer.Option(help="manifest.json; else the files are recognised.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The models' classes, one a line.")] = None,
    input_size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of an input without a fixed size.")] = None,
    half: Annotated[Half, typer.Option(help="Calibrate on the even pictures, evaluate on the odd ones.")] = Half.all,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many pictures, evenly chosen.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Of ONNX Runtime; 0: one fewer than the cores.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a page with pictures (HTML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Measure mAP or top-1 of one model or several, through the device's own code.

    Example: lookout model evaluate yolox.onnx yolox.int8.onnx --data coco128 --half odd -o report.html
    """
    with reporting():
        if output is not None and output.is_dir():
            raise InputError(f"--output {output}: is a folder; give the page a name, such as {output / 'report.html'}")
        from tools.model.evaluate import ask, show
        from tools.model.manifest.describe import parse_size

        with _progress() as tell:
            found = ask.evaluate(
                models,
                data,
                manifest=manifest,
                labels=labels,
                input_size=None if input_size is None else parse_size(input_size),
                half=half.value,
                limit=limit,
                threads=threads,
                on_picture=tell,
            )
        if output is not None:
            from tools.model.evaluate.sheet import page

            page(found).write(output)
        if as_json:
            print_json({**show.facts(found), "report": output})
            return
        console.print(show.table(found))
        for note in found.notes:
            errors.print(f"note: {note}", style="yellow", markup=False)
        if output is not None:
            console.print(f"Page: {output}", markup=False)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar a model on a terminal; silent elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            task = tasks.get(name)
            if task is None:
                task = tasks[name] = bars.add_task(name, total=total)
            bars.update(task, completed=done)

        yield tell
