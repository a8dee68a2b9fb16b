"""``lookout model debug``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.terminal import console, errors, print_json, progress, reporting


def debug(
    float_model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The cleaned float model (.onnx).")],
    int8_model: Annotated[Path, typer.Argument(metavar="INT8", help="The INT8 model made from it (QDQ).")],
    images: Annotated[Path, typer.Option(help="A folder of pictures like those the device will see.")],
    manifest: Annotated[
        Path | None, typer.Option(help="How pictures become the input; without it the family is recognised.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a page (.html) here.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many pictures are used, spread over the folder.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the finding as JSON.")] = False,
) -> None:
    """Find out which layers INT8 hurts, and what to leave float.

    Every block is quantized alone, with the INT8 model's own scales, and the error of the answer is measured (SQNR in
    dB, more is better); the page also shows the error of every activation and weight. What brings a tenth of the error
    or more is proposed, as arguments for `lookout model quantize`.

    Example: lookout model debug yolox.clean.onnx yolox.int8.onnx --images photos -o report.html
    """
    with reporting():
        import msgspec

        from tools.model.datasets.pictures import pictures_of
        from tools.model.debug import show
        from tools.model.debug.analyse import debug as compare
        from tools.model.debug.pair import read_pair
        from tools.model.manifest.describe import describe
        from tools.model.optimize.samples import input_tensors

        read_pair(float_model, int8_model)  # first: the plainest words for the commonest mistake
        described = describe(float_model, manifest)
        tensors = input_tensors(described.spec.input, pictures_of(str(images), limit=limit))
        with progress("comparing", quiet=as_json) as tell:
            found = compare(float_model, int8_model, tensors, on_progress=tell)
        if output is not None:
            show.write_page(found, float_model, output)
        if as_json:
            print_json({**msgspec.to_builtins(found), "kept_float": list(found.kept_float)})
            return
        for doubt in described.doubts:
            errors.print(f"note: {doubt}", style="yellow", markup=False)
        console.print(show.block_table(found))
        console.print(show.advice(found), markup=False)
        if found.proposed:
            console.print(f"\nlookout model quantize … {show.arguments(found)}", markup=False)
        if output is not None:
            console.print(f"\n{output}", markup=False)
