"""``lookout model optimize``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.atomic import write_bytes
from agent.errors import InputError
from tools.terminal import console, print_json, progress, reporting

if TYPE_CHECKING:
    import numpy as np

    from agent.types import InputSpec

_IMAGES = 8


def optimize(
    model: Annotated[Path, typer.Argument(help="The model as it was exported (.onnx).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the optimised model goes (.onnx).")],
    manifest: Annotated[
        Path | None, typer.Option(help="How pictures become the input; needed for --uint8-input and --images.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Pictures to compare answers on (default: seeded noise).")] = None,
    shape: Annotated[str | None, typer.Option(help="Static input shape, such as 1,3,416,416.")] = None,
    simplify: Annotated[bool, typer.Option(help="Let onnxslim simplify the graph.")] = True,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Write the graph as ONNX Runtime fuses it: not for TensorRT or quantization.")
    ] = False,
    uint8_input: Annotated[bool, typer.Option("--uint8-input", help="Let the model take uint8 pixels.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="16-bit floats, for a GPU variant.")] = False,
    ort: Annotated[bool, typer.Option("--ort", help="Write an .ort file too, for small builds.")] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Timed rounds; 0 times nothing.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Clean, simplify and convert a model, and prove after each step that its answers stayed the same.

    A step whose answers differ by more than its bound (1e-4 of the output's range; for 16-bit floats 3e-2, kept by
    999 numbers in 1000) is refused, and nothing is written. Beside the model, OUTPUT's name with .variant.json says
    how a manifest names it.

    Example: lookout model optimize nanodet.onnx -o nanodet.u8.onnx --manifest manifest.json --uint8-input
    """
    with reporting():
        import msgspec

        from tools.model.optimize import show
        from tools.model.optimize.road import Wishes
        from tools.model.optimize.road import optimize as take_road

        if uint8_input and manifest is None:
            raise InputError("--uint8-input: mean, std, scale and color must be known, not guessed; give --manifest")
        spec, frames = _input(model, manifest, images)
        with progress("optimizing", quiet=as_json) as tell:
            made = take_road(
                model,
                output,
                wishes=Wishes(simplify, fuse, uint8_input, fp16, ort),
                spec=spec,
                shape=_shape(shape),
                frames=frames,
                rounds=rounds,
                on_progress=tell,
            )
        beside = output.with_suffix(".variant.json")
        write_bytes(beside, (json.dumps(made.variant, indent=2) + "\n").encode())
        if as_json:
            print_json(msgspec.to_builtins(made))
            return
        console.print(show.table(made))
        for written in (made.model, made.ort, beside):
            if written is not None:
                console.print(str(written), markup=False)


def _input(model: Path, manifest: Path | None, images: Path | None) -> tuple[InputSpec | None, list[np.ndarray]]:
    """Return how pictures become the input, where that is known, and pictures to compare on."""
    from tools.model.datasets.pictures import pictures_of
    from tools.model.manifest.describe import describe

    try:
        spec = describe(model, manifest).spec.input
    except InputError:
        if manifest is not None or images is not None:
            raise
        return None, []  # of no known family: its answers are compared on random tensors
    return spec, [] if images is None else list(pictures_of(str(images), limit=_IMAGES))


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise InputError(f"--shape {text}: is not a list of sizes, such as 1,3,416,416", field="shape")
    return tuple(int(size) for size in sizes)
