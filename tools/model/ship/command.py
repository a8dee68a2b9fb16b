"""``lookout model ship``: a thin layer over :mod:`tools.model.ship.road`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.terminal import console, errors, log_to_stderr, print_json, progress, reporting

if TYPE_CHECKING:
    from tools.model.ship.road import Shipped
    from tools.model.ship.workbook import Done


def ship(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A float ONNX model.")],
    data: Annotated[Path, typer.Option(help="Dataset, or a film or pictures without labels.")],
    registry: Annotated[Path, typer.Option("--to", help="Folder of the registry.")],
    version: Annotated[str, typer.Option(help="Version of the release.")],
    test: Annotated[Path | None, typer.Option(help="Another dataset, that only evaluates.")] = None,
    budget: Annotated[str, typer.Option(help="What INT8 may cost: map=1.0, agreement=0.85, top1=0.5.")] = "map=1.0",
    name: Annotated[str | None, typer.Option(help="The model's name (default: the file's).")] = None,
    keys: Annotated[Path, typer.Option(help="Folder of private keys.")] = Path("keys"),
    channel: Annotated[str | None, typer.Option(help="Let this channel point to the release.")] = None,
    work: Annotated[Path | None, typer.Option(help="Working folder (default: .ship/NAME-VERSION); resumes.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="An earlier manifest that describes the model.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, one a line.")] = None,
    input_size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, where the file leaves it open.")] = None,
    description: Annotated[str, typer.Option(help="One line.")] = "",
    license_: Annotated[str, typer.Option("--license", help="SPDX name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was shipped as JSON.")] = False,
) -> None:
    """Clean, quantize, evaluate, bench, draft the manifest and publish: the whole road, resumable.

    [bold]Example[/bold]

    lookout model ship nanodet.onnx --data coco128 --budget map=1.0 --to registry --keys keys --version 1.0.0
    """
    log_to_stderr()
    with reporting():
        from tools.model.ship import start
        from tools.model.ship.wiring import PARTS
        from tools.registry.output import passphrases

        asked = start.Asked(
            model=model,
            data=data,
            registry=registry,
            version=version,
            budget=budget,
            name=name,
            keys=keys,
            channel=channel,
            work=work,
            test=test,
            manifest=manifest,
            labels=labels,
            input_size=input_size,
            description=description,
            license=license_,
        )
        try:
            with progress("reading", quiet=as_json) as show:
                shipped = start.start(asked, Screen(show, quiet=as_json), passphrases(), PARTS)
        except KeyboardInterrupt:
            errors.print("interrupted: the same command goes on where it stopped", style="yellow")
            raise
    _show(shipped, as_json=as_json)


class Screen:
    """Tells a person how far the road has been walked."""

    def __init__(self, show: Callable[[str, int, int], None], *, quiet: bool) -> None:
        self._show = show
        self._quiet = quiet

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell what is being done."""
        self._show(what, done, total)

    def done(self, step: Done, says: tuple[str, ...]) -> None:
        """Tell that a step is done."""
        if self._quiet:
            return
        when = "done earlier" if step.again else f"{step.seconds:.1f} s"
        errors.print(f"✓ {step.name} ({when})", style="green", markup=False)
        for sentence in says:
            errors.print(f"  {sentence}", markup=False)


def _show(shipped: Shipped, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(shipped))
        return
    where = f", channel {shipped.channel}" if shipped.channel else ""
    kinds = " and ".join(shipped.variants)
    console.print(f"Published {shipped.model}:{shipped.version} ({kinds}, {shipped.digest[:12]}){where}.", markup=False)
    console.print(f"Report: {shipped.report}", markup=False)
    for name, sha256 in shipped.report_sha256.items():
        console.print(f"  {name}  SHA-256 {sha256} (named by the signed manifest)", markup=False)
