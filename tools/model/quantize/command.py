"""``lookout model quantize``: the command line over :mod:`tools.model.quantize.search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.errors import InputError, StorageError
from tools.terminal import console, errors, print_json, reporting

if TYPE_CHECKING:
    from agent.types import ModelSpec
    from tools.model.datasets.records import Dataset
    from tools.model.quantize.dynamic import Dynamic
    from tools.model.quantize.search import Quantized
    from tools.model.quantize.static import Recipe
    from tools.model.quantize.workbench import Progress

STILLS = 128
"""Pictures taken of a folder without labels, a film or a camera."""

ROOM = 4
"""Times the model's size that must be free where the answer goes."""

INTERRUPTED = 130


def quantize(
    model: Annotated[Path, typer.Argument(help="the float ONNX model, raw or cleaned")],
    output: Annotated[Path, typer.Option("--output", "-o", help="where the INT8 model goes")],
    data: Annotated[str | None, typer.Option(help="data set, folder of pictures, video, camera index or URL")] = None,
    budget: Annotated[
        str | None, typer.Option(help="what INT8 may cost: map=1.0, agreement=0.85, top1=0.5; commas join")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="minmax, percentile, entropy or mse; else all with --budget")
    ] = None,
    percentile: Annotated[float, typer.Option(min=50, max=100, help="for --method percentile")] = 99.99,
    activations: Annotated[str, typer.Option(help="uint8 (x86) or int8 (some ARM)")] = "uint8",
    per_channel: Annotated[bool, typer.Option("--per-channel/--no-per-channel", help="one scale a channel")] = True,
    keep_float: Annotated[list[str] | None, typer.Option(help="a node that stays float; repeat it")] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="weights only, ranges found while running")] = False,
    engine: Annotated[str | None, typer.Option(help="ort or nncf; else the better of those installed")] = None,
    manifest: Annotated[Path | None, typer.Option(help="manifest.json; else the family is recognised")] = None,
    limit: Annotated[int, typer.Option(min=1, help="pictures taken of a folder, video or camera")] = STILLS,
    every: Annotated[int | None, typer.Option(min=1, help="take one of so many frames")] = None,
    cache: Annotated[Path | None, typer.Option(help="what was measured already; a stopped search goes on")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Make an INT8 model within an accuracy budget, and say what it cost and brought.

    Half of the pictures calibrate and the other half judge, then the reverse. With --budget, a search leaves the fewest
    blocks in float that keep it; stop it with Ctrl-C and run the same command to go on. Recurrent and transformer
    models are quantized dynamically and need no pictures.

    [bold]lookout model quantize yolox_nano.onnx -o int8.onnx --data coco128 --budget map=1.0[/bold]
    """
    with reporting():
        recipe = _recipe(method, percentile, activations, engine, per_channel=per_channel)
        _check_room(model, output)
        if dynamic or _wants_dynamic(model):
            _dynamic(model, output, keep_float or (), per_channel=per_channel, as_json=as_json)
            return
        spec = _spec(model, manifest)
        dataset = _dataset(data, limit, every)
        try:
            found = _static(
                model, output, spec, dataset, recipe, budget, tuple(keep_float or ()), cache, searched=method is None,
                fixed_engine=engine is not None, quiet=as_json,
            )  # fmt: skip
        except KeyboardInterrupt:
            errors.print("stopped; what was measured is kept: run the same command to go on")
            raise typer.Exit(INTERRUPTED) from None
        if as_json:
            print_json(facts(found))
        else:
            _show(found)


def facts(found: Quantized) -> dict[str, Any]:
    """Return everything a program may want to know."""
    import msgspec

    known: dict[str, Any] = msgspec.to_builtins(found, enc_hook=str)
    return {
        **known,
        "speed_up": found.speed_up,
        "map_lost": found.figures.map_lost,
        "top1_lost": found.figures.top1_lost,
        "method": str(found.recipe),
    }


def _recipe(
    method: str | None, percentile: float, activations: str, engine: str | None, *, per_channel: bool
) -> Recipe:
    from tools.model.quantize.ranges import METHODS
    from tools.model.quantize.static import Recipe

    if method is not None and method not in METHODS:
        raise InputError(f"--method {method}: it is one of {', '.join(METHODS)}")
    if activations not in {"uint8", "int8"}:
        raise InputError(f"--activations {activations}: it is uint8 or int8")
    if engine not in {None, "ort", "nncf"}:
        raise InputError(f"--engine {engine}: it is ort or nncf")
    if engine == "nncf":
        from tools.model.quantize import nncf_engine

        nncf_engine.load()
    wanted: dict[str, Any] = {"ranges": method or "minmax", "activations": activations, "engine": engine or "ort"}
    return Recipe(per_channel=per_channel, percentile=percentile, **wanted)


def _check_room(model: Path, output: Path) -> None:
    """Refuse a disk without room before hours are spent."""
    import shutil

    try:
        size = model.stat().st_size
        output.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(output.parent).free
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    if free < ROOM * size:
        raise StorageError(f"{output.parent}: {free // 10**6} MB are free, {ROOM * size // 10**6 + 1} MB are needed")


def _wants_dynamic(model: Path) -> bool:
    from tools.model import clean
    from tools.model.quantize import graph

    return graph.kind(clean.load(model)) != "convolutional"


def _spec(model: Path, manifest: Path | None) -> ModelSpec:
    from tools.model.manifest.describe import describe

    described = describe(model, manifest)
    for doubt in described.doubts:
        errors.print(f"note: {doubt}", markup=False)
    return described.spec


def _dataset(data: str | None, limit: int, every: int | None) -> Dataset:
    """Read labels where there are any; a folder of pictures, a film or a camera has none."""
    if data is None:
        raise InputError(
            "--data is missing: a data set, a folder of pictures, a video or a camera is needed to calibrate"
        )
    from tools.model.datasets.pictures import as_dataset
    from tools.model.datasets.read import read_dataset
    from tools.model.datasets.records import pictures_in

    path = Path(data)
    bare = path.is_dir() and bool(pictures_in(path)) and not any(child.is_dir() for child in path.iterdir())
    labelled = path.is_dir() or path.suffix.lower() in {".json", ".yaml", ".yml"}
    if labelled and not bare:
        return read_dataset(path)
    return as_dataset(data, limit=limit, every=every)


def _static(
    model: Path,
    output: Path,
    spec: ModelSpec,
    dataset: Dataset,
    recipe: Recipe,
    budget: str | None,
    keep_float: tuple[str, ...],
    cache: Path | None,
    *,
    searched: bool,
    fixed_engine: bool,
    quiet: bool,
) -> Quantized:
    import tempfile

    from tools.model.clean import clean
    from tools.model.quantize import search
    from tools.model.quantize.budget import Budget
    from tools.model.quantize.store import default_cache

    limits = None if budget is None else Budget.parse(budget)
    with tempfile.TemporaryDirectory(prefix="lookout-quantize-") as folder, _progress(quiet=quiet) as tell:
        cleaned = Path(folder) / "cleaned.onnx"
        clean(model, cleaned, input_shape=spec.input.shape)
        options: Any = {"cache": cache or default_cache(), "on_progress": tell, "always_float": keep_float}
        if limits is None:
            return search.plain(cleaned, spec, dataset, recipe, output, **options)
        bases = (recipe,) if not searched or recipe.engine == "nncf" else search.every_base(recipe)
        if fixed_engine:
            bases = tuple(base for base in bases if base.engine == recipe.engine)
        return search.search(cleaned, spec, dataset, limits, output, base=recipe, bases=bases, **options)


class _progress:
    """A bar with what is being done and the time left; silent when ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=errors,
            transient=True,
            disable=quiet or not errors.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        task = self._bar.add_task("starting", total=1.0, left="")

        def tell(what: str, share: float, left_s: float | None) -> None:
            left = (
                "" if left_s is None else f"about {left_s / 60:.0f} min left" if left_s > 90 else f"{left_s:.0f} s left"
            )
            self._bar.update(task, description=what, completed=share, left=left)

        return tell

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _show(found: Quantized) -> None:
    from rich.table import Table

    if len(found.tried) > 1:
        tried = Table(title=f"{len(found.tried)} candidates, budget {found.budget}")
        for column in ("ranges", "engine", "float blocks", "lost", "agreement", "speed", "inside"):
            tried.add_column(column)
        for row in found.tried:
            lost = row.figures.map_lost if row.figures.map_lost is not None else row.figures.top1_lost
            speed = "" if row.latency is None else f"{row.latency.speed_up:.2f}x"
            tried.add_row(
                row.method, row.engine, str(len(row.floats)), "" if lost is None else f"{lost:+.2f}",
                f"{row.figures.agreement:.3f}", speed, "yes" if row.inside else "no",
            )  # fmt: skip
        console.print(tried)
    table = Table(title=str(found.path), show_header=False)
    size = found.path.stat().st_size / 1e6
    for what, value in (
        ("recipe", str(found.recipe)),
        ("float blocks", f"{len(found.floats)} of {found.blocks}, and the decode tail"),
        ("cross-fitted", str(found.figures)),
        ("float model", f"{found.latency_fp32_ms:.2f} ms (cleaned, one thread)"),
        ("this model", f"{found.latency_int8_ms:.2f} ms, {found.speed_up:.2f} times as fast, {size:.1f} MB"),
        ("calibrated on", f"{found.calibration.images} pictures (figures: each half judged by the other)"),
        ("advice", found.advice),
    ):
        table.add_row(what, value)
    console.print(table)


def _dynamic(model: Path, output: Path, keep_float: Any, *, per_channel: bool, as_json: bool) -> None:
    from tools.model.quantize import dynamic

    found: Dynamic = dynamic.quantize(model, output, kept_float=tuple(keep_float), per_channel=per_channel)
    if as_json:
        import dataclasses

        print_json({**dataclasses.asdict(found), "speed_up": found.latency.speed_up})
        return
    console.print(
        f"{found.path}: {found.kind} model, {found.quantized} operators in dynamic INT8; "
        f"{found.float_bytes / 1e6:.1f} to {found.int8_bytes / 1e6:.1f} MB, "
        f"{found.latency.speed_up:.2f} times as fast, "
        f"outputs within {found.relative_error:.2%} of float's on random inputs"
        f"{', weights in seven bits, which fit this processor better' if found.reduced_range else ''}",
        markup=False,
    )
    if found.latency.speed_up < 1:
        console.print("INT8 is not faster on this machine: ship the float model, or this one where size counts")
