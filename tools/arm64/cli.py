"""``python -m tools.arm64``: the tests under emulation (``make test-arm64``) and the image (``make image``).

Exit status: 0 all is well, 1 something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.versions import agent_version
from tools.arm64 import binfmt, building, host, root, suite
from tools.arm64.archive import read, unpack
from tools.arm64.checking import Claim, at_work, contents, described, size
from tools.arm64.cpus import A76, CPUS, Cpu
from tools.arm64.emulator import Emulator
from tools.arm64.suite import Outcome
from tools.demo import assets
from tools.terminal import reporting

CHECKOUT = Path(__file__).resolve().parents[2]

app = typer.Typer(help="64-bit ARM without an ARM machine.", no_args_is_help=True, add_completion=False)

CRASHES = (
    "QEMU's user emulation now and then ends a program with many threads by a fault (SIGSEGV) while it starts another"
)
"""Why the short run, which CI waits for, gives a part that failed a second try; the long one does not."""

Folder = Annotated[Path, typer.Option(help="where the ARM root is kept")]
FOLDER = CHECKOUT / ".arm64"


@app.command("test")
def run_suite(
    cpu: Annotated[
        list[str] | None, typer.Option(help=f"only these processors: {', '.join(CPUS)}", show_default=False)
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help="only these parts", show_default=False)] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="A76 only: imports, decoders, a trial and a swap")] = False,
    folder: Folder = FOLDER,
) -> None:
    """Run the core of the test suite, and the demo, under emulation.

    Example: python -m tools.arm64 test --cpu a76 --part swap
    """
    cpus = [A76] if smoke else [_cpu(name) for name in cpu or CPUS]
    parts = [one for one in suite.PARTS if (one.smoke or not smoke) and (not part or one.name in part)]
    with_demo = not smoke and (not part or "demo" in part)
    if not parts and not with_demo:
        raise typer.BadParameter(f"parts are {', '.join(one.name for one in suite.PARTS)}, demo")
    with reporting():
        made = root.make(folder, CHECKOUT, typer.echo)
        cache = assets.default_cache()
        if with_demo:
            for asset in (assets.MODEL, assets.CLIP):
                assets.take(asset, cache)
    outcomes: list[Outcome] = []
    for one in cpus:
        with Emulator(one, made, CHECKOUT) as emulator:
            for each in parts:
                typer.echo(f"\n== {one.board} (Cortex-{one.name.upper()}), {each.name}: {each.what}")
                outcome = suite.run_tests(emulator, each, smoke=smoke)
                if not outcome.ok and smoke:
                    typer.echo(f"{each.name} once more: {CRASHES}")
                    outcome = suite.run_tests(emulator, each, smoke=smoke)
                outcomes.append(outcome)
            if with_demo:
                typer.echo(f"\n== {one.board} (Cortex-{one.name.upper()}), demo: the whole product, shortened")
                outcomes.append(suite.run_demo(emulator, cache))
    _show(outcomes)
    raise typer.Exit(0 if all(outcome.ok for outcome in outcomes) else 1)


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    program: Annotated[list[str], typer.Argument(help="what to run; python and lookout are the root's own")],
    cpu: Annotated[str, typer.Option(help=f"the processor: {', '.join(CPUS)}")] = A76.name,
    folder: Folder = FOLDER,
) -> None:
    """Run one program as on an ARM board.

    Example: python -m tools.arm64 run --cpu a72 -- python -c 'import onnxruntime'
    """
    with reporting():
        made = root.make(folder, CHECKOUT, lambda _: None)
    with Emulator(_cpu(cpu), made, CHECKOUT) as emulator:
        status = emulator.run(program, timeout_s=suite.PART_TIMEOUT_S)
    raise typer.Exit(1 if status is None else status)


@app.command()
def image(
    folder: Folder = FOLDER,
    archive: Annotated[
        Path | None, typer.Option("--check", help="build nothing, check this archive", show_default=False)
    ] = None,
    static: Annotated[bool, typer.Option("--static", help="look at the image only, do not run it")] = False,
) -> None:
    """Build the container image for ARM, with Docker or without, and check what came out.

    Example: python -m tools.arm64 image && docker load -i .arm64/lookout-arm64.tar
    """
    with reporting():
        if archive is None:
            built = building.build(CHECKOUT, folder, _arguments(), typer.echo)
            archive = built.archive
            typer.echo(f"{archive}: built with {built.builder} on {built.base}")
        claims = _looked_at(archive, run=not static)
    for claim in claims:
        typer.echo(f"{'ok' if claim.kept else 'NO':>4}  {claim.what}: {claim.seen}")
    raise typer.Exit(0 if all(claim.kept for claim in claims) else 1)


def _arguments() -> dict[str, str]:
    asked = subprocess.run(
        ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {"VERSION": agent_version(), "REVISION": asked.stdout.strip() or "unknown"}


def _looked_at(path: Path, *, run: bool) -> list[Claim]:
    """Unpack an image and return what was seen of it."""
    found = read(path)
    claims = [size(found), *described(found)]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookout-image-")))
        unpack(found, work / "root")
        claims += contents(work / "root")
        if run and os.geteuid() == 0:
            if platform.machine() != "aarch64":
                host.require(host.EMULATION, typer.echo)
                stack.enter_context(binfmt.registered(typer.echo))
            claims += at_work(found, work / "root", work)
        elif run:
            typer.echo("not root: the image is looked at, and not run")
    return claims


def _cpu(name: str) -> Cpu:
    if name not in CPUS:
        raise typer.BadParameter(f"{name}: processors are {', '.join(CPUS)}")
    return CPUS[name]


def _show(outcomes: list[Outcome]) -> None:
    """Print a row a part and processor, then every reason for which a test was skipped, and what failed."""
    table = Table(title=f"Under emulation on {platform.machine()}")
    for title in ("processor", "part", "passed", "failed", "skipped", "seconds", ""):
        table.add_column(title, justify="left" if title in {"processor", "part", ""} else "right")
    for outcome in outcomes:
        counts = (outcome.passed, len(outcome.failed), len(outcome.skipped), round(outcome.seconds))
        verdict = "ok" if outcome.ok else outcome.died or ("FAILED" if outcome.failed else "nothing was tested")
        table.add_row(outcome.cpu, outcome.part, *map(str, counts), verdict)
    Console(soft_wrap=False).print(table)
    for line in sorted({f"skipped: {name}: {why}" for outcome in outcomes for name, why in outcome.skipped}):
        typer.echo(line)
    for outcome in outcomes:
        for name in outcome.failed:
            typer.echo(f"FAILED on {outcome.cpu}: {name}")
