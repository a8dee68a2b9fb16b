"""``lookout model manifest``: a thin layer over :mod:`tools.model.manifest.draft`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.terminal import console, log_to_stderr, print_json, progress, reporting

if TYPE_CHECKING:
    from tools.model.manifest.draft import Drafted


def manifest(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL…", help="ONNX files of one model, the float one first.")
    ],
    name: Annotated[str, typer.Option(help="The model's name in the registry.")],
    version: Annotated[str, typer.Option(help="Its version.")] = "1.0.0",
    data: Annotated[Path | None, typer.Option(help="Dataset: golden images, threshold, labels.")] = None,
    base: Annotated[Path | None, typer.Option("--manifest", help="An earlier manifest, taken as right.")] = None,
    evaluation: Annotated[Path | None, typer.Option(help="JSON of 'lookout model evaluate'.")] = None,
    quantization: Annotated[Path | None, typer.Option(help="JSON of 'lookout model quantize'.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, one a line.")] = None,
    input_size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, where the file leaves it open.")] = None,
    score: Annotated[float | None, typer.Option(help="Report from this score on (default: the best F1).")] = None,
    golden: Annotated[int, typer.Option(help="How many golden images to choose.")] = 3,
    budget: Annotated[list[str] | None, typer.Option(help="CLASS:latency_ms_p95=150 or CLASS:memory_mb=400.")] = None,
    description: Annotated[str, typer.Option(help="One line.")] = "",
    license_: Annotated[str, typer.Option("--license", help="SPDX name.")] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the release.")] = Path("release"),
    as_json: Annotated[bool, typer.Option("--json", help="Print what was drafted as JSON.")] = False,
) -> None:
    """Draft manifest.json: family, labels, threshold, golden images and figures, all found and checked.

    [bold]Examples[/bold]

    lookout model manifest nanodet.fp32.onnx nanodet.int8.onnx --name nanodet-m --data coco128 -o release
    lookout model manifest face.onnx --name faces --input-size 640x384 --budget default:latency_ms_p95=150
    """
    log_to_stderr()
    with reporting(), progress("looking at the model", quiet=as_json) as show:
        from tools.model.manifest import ask

        drafted = ask.draft_from(
            ask.Asked(
                models=tuple(models),
                folder=out,
                name=name,
                version=version,
                data=data,
                base=base,
                evaluation=evaluation,
                quantization=quantization,
                labels=labels,
                input_size=input_size,
                score=score,
                golden=golden,
                budget=tuple(budget or ()),
                description=description,
                license=license_,
            ),
            show,
        )
    _show(drafted, as_json=as_json)


def _show(drafted: Drafted, *, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = drafted.manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
        print_json({"path": drafted.path, "notes": list(drafted.notes), "manifest": facts})
        return
    from rich.table import Table

    made = drafted.manifest
    table = Table("what", "value", title=f"{made.model}:{made.version}", title_justify="left")
    for variant in made.variants:
        table.add_row(variant.precision, f"{variant.file.path}, {variant.file.size / 1e6:.1f} MB")
    table.add_row("decoder", made.decoder.kind)
    table.add_row("input", f"{made.input.name} {list(made.input.shape)} {made.input.dtype} {made.input.color}")
    table.add_row("labels", f"{len(made.labels)}: {', '.join(made.labels[:4])}{', …' if len(made.labels) > 4 else ''}")
    table.add_row("threshold", f"{made.thresholds.score:g}")
    seen = [one.label for picture in made.golden for one in picture.detections or picture.classes or ()]
    table.add_row("golden images", f"{len(made.golden)}: {', '.join(dict.fromkeys(seen)) or 'none'}")
    console.print(table)
    for note in drafted.notes:
        console.print(f"· {note}", style="yellow", markup=False)
    console.print(f"{drafted.path}: every variant loads and sees what the golden images expect", markup=False)
