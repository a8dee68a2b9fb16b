"""``lookout model export``: PyTorch, TensorFlow or TFLite to ONNX, proven against the framework itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.errors import InputError
from tools.terminal import console, errors, log_to_stderr, print_json, progress, reporting

if TYPE_CHECKING:
    from tools.model.export.road import Report

_EXPORTERS = ("auto", "dynamo", "torchscript")
_PIXELS = ("unit", "imagenet", "raw")
_MAX_SIDE = 1 << 20


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="torchvision:NAME, module:callable, or a file: .pt2, TorchScript or Ultralytics .pt, .keras, .tflite, "
            "a SavedModel folder."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.")],
    opset: Annotated[
        int | None, typer.Option(help="Default: the lowest from 17 on that the exporter writes (PyTorch 18).")
    ] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Leave the batch (PyTorch: and the sides) open.")] = False,
    input_shape: Annotated[
        list[str] | None, typer.Option(help="Such as 1,3,224,224; once for each input, in order.")
    ] = None,
    exporter: Annotated[str, typer.Option(help="PyTorch's: auto, dynamo or torchscript.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="A state dict, for torchvision:NAME; else seeded.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="For torchvision's builder: KEY=VALUE, such as num_classes=3.")
    ] = None,
    import_: Annotated[
        list[str] | None, typer.Option("--import", help="A module that registers custom layers or operators.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of pictures for parity; else noise.")] = None,
    pixels: Annotated[str, typer.Option(help="Pictures as 0..1 (unit), imagenet, or 0..255 (raw).")] = "unit",
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many inputs parity is measured on.")] = 4,
    tolerance: Annotated[float, typer.Option(min=0, help="Largest relative difference that passes.")] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, help="Of random weights and of noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Export a model to ONNX and compare its answers with the framework's, output by output.

    A difference is relative to the largest magnitude of the framework's output. Beyond --tolerance nothing is written
    and the exit code is 1. Nothing is ever downloaded. Python code and .pt checkpoints run: export only what you trust.

    [bold]Examples[/bold]

    lookout model export torchvision:resnet18 --weights resnet18.pth --images photos --pixels imagenet -o resnet18.onnx
    lookout model export nets.yard:build --input-shape 1,3,320,320 -o yard.onnx
    lookout model export model.keras --images photos -o model.onnx
    """
    log_to_stderr()
    with reporting():
        from tools.model.export.road import Trial, export_model
        from tools.model.export.source import Asked

        asked = Asked(
            text=source,
            opset=opset,
            dynamic=dynamic,
            input_shapes=tuple(_shape(text) for text in input_shape or []),
            seed=seed,
            weights=weights,
            options=dict(_option(text) for text in option or []),
            exporter=_one_of("--exporter", exporter, _EXPORTERS),
            imports=tuple(import_ or []),
        )
        trial = Trial(images, _one_of("--pixels", pixels, _PIXELS), count, tolerance)
        with progress("loading", quiet=as_json) as show:
            report = export_model(asked, out, trial, on_step=show)
        _show(report, out, as_json=as_json)
    if report.written is None:
        raise typer.Exit(1)


def _shape(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 0 < int(word) <= _MAX_SIDE for word in words):
        raise InputError(f"--input-shape {text}: is not a list of sizes above 0, such as 1,3,224,224")
    return tuple(int(word) for word in words)


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(f"--option {text}: is not KEY=VALUE, such as num_classes=3")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _one_of(name: str, text: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        raise InputError(f"{name} {text}: is not one of {', '.join(known)}")
    return text


def _show(report: Report, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(report))
        return
    inputs = ", ".join(f"{one.name} {list(one.shape)} {one.dtype}" for one in report.inputs)
    console.print(f"{report.source}: {report.framework}, by {report.exporter}, opset {report.opset}", markup=False)
    console.print(f"inputs: {inputs}", markup=False)
    console.print(_table(report))
    for note in report.notes:
        errors.print(f"note: {note}", style="yellow", markup=False)
    if report.written is None:
        errors.print(
            f"error: {report.source}: ONNX Runtime does not answer as {report.framework} does (more than "
            f"{report.parity.tolerance:g} relative): {out} was not written; look at the outputs above, try another "
            "--exporter or --opset, or say with --tolerance what is good enough",
            style="red",
            markup=False,
        )
    else:
        console.print(f"wrote {report.written} ({report.size_bytes / 1e6:.1f} MB)", markup=False)


def _table(report: Report) -> Any:
    from rich.table import Table

    table = Table("output", "shape", "max abs", "mean abs", "max rel", "mean rel", "", title_justify="left")
    table.title = f"parity with {report.framework} on {report.parity.on}"
    for one in report.parity.outputs:
        good = one.reason is None and one.max_rel <= report.parity.tolerance
        numbers = (f"{value:.2e}" for value in (one.max_abs, one.mean_abs, one.max_rel, one.mean_rel))
        table.add_row(one.name, str(list(one.shape)), *numbers, one.reason or ("passed" if good else "missed"))
    return table


def _facts(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(report)
    for one in facts["parity"]["outputs"]:
        for key in ("max_abs", "mean_abs", "max_rel", "mean_rel"):
            if one[key] == float("inf"):
                one[key] = None  # JSON has no infinity; `reason` says why
    facts["parity"]["passed"] = report.parity.passed
    return facts
