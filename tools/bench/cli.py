"""``lookout bench``: the project's own benchmarks, on real models and a real video.

Each case of :mod:`tools.bench.registry` is a command of its own, with its settings as options; ``all`` runs them in
turn and ``report`` writes ``docs/performance.md`` from what they left. Figures go to the terminal (or as JSON with
``--json``) and, whole, into ``--out``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
import typer.core
import typer.main
from rich.markup import escape
from rich.table import Table

from tools.bench import performance, registry, running, words
from tools.bench.case import Bench, Case
from tools.bench.record import Record, encode, read_all
from tools.terminal import console, errors, progress, reporting

HELP = "Measure the frame loop, its peers, its memory, its swaps, its recovery and what it costs a device."

Shared = Annotated[Path, typer.Option(help="the folder with models/ and data/video/")]
Out = Annotated[Path, typer.Option(help="where the JSON goes")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON only")]
SHARED, OUT = Path("../shared"), Path("bench-out")
PAGE = Path("docs/performance.md")


class CaseGroup(typer.core.TyperGroup):
    """The group's own commands, and one for each case, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names."""
        return [*super().list_commands(ctx), *registry.MODULES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name. One whose packages are not installed says so when it is run."""
        if cmd_name not in registry.MODULES:
            return super().get_command(ctx, cmd_name)
        shell = typer.Typer(add_completion=False)
        try:
            case = registry.load(cmd_name)
        except ImportError as error:
            shell.command(cmd_name, help=f"(needs {error.name})")(_without(cmd_name, str(error.name)))
        else:
            shell.command(cmd_name, help=case.help)(_command(case))
        return typer.main.get_command(shell)


app = typer.Typer(cls=CaseGroup, help=HELP, no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Measure the frame loop, its peers, its memory, its swaps, its recovery and what it costs a device."""


@app.command("all")
def run_all(
    shared: Shared = SHARED,
    out: Out = OUT,
    only: Annotated[str, typer.Option(help="these cases only, with commas between")] = "",
    but: Annotated[str, typer.Option(help="not these cases")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="few rounds: proves that all of it works")] = False,
    page: Annotated[Path | None, typer.Option(help="then write this page: docs/performance.md")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the cases in turn with their defaults, and say which promises were kept."""
    with reporting():
        left_out = {case.name for case in registry.load_all(_names(but))} if but else set()
        named = registry.load_all(_names(only)) if only else tuple(c for c in registry.load_all() if c.in_all)
        cases = tuple(case for case in named if case.name not in left_out)
        for case in cases:
            for path in case.needs:
                Bench(shared, out, errors.print).need(path)
        with progress("lookout bench", quiet=as_json) as show:

            def bench_of(number: int, case: Case) -> Bench:
                return Bench(shared, out, _telling(show, case.name, number, len(cases), quiet=as_json))

            records = running.run_all(cases, bench_of, quick=quick, done=lambda one: _show(one, as_json=as_json))
        if page is not None:
            performance.write(page, read_all(out, registry.MODULES), out)
    if not as_json:
        _summary(records)
    if any(record.failed for record in records):
        raise typer.Exit(1)


@app.command()
def report(
    out: Out = OUT, page: Annotated[Path, typer.Option(help="the page to write between its marks")] = PAGE
) -> None:
    """Write docs/performance.md from the JSON of the cases that were run."""
    with reporting():
        performance.write(page, read_all(out, registry.MODULES), out)
    console.print(f"{page} written", markup=False)


def _command(case: Case) -> Callable[..., None]:
    """Return the function of a case's command: its settings are the options."""

    def command(shared: Path, out: Path, as_json: bool, **options: Any) -> None:
        bench = Bench(shared, out, (lambda _: None) if as_json else lambda line: console.print(line, markup=False))
        with reporting():
            _show(running.run(case, bench, type(case.settings)(**options)), as_json=as_json)

    hints = get_type_hints(type(case.settings), include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter("shared", keyword, default=SHARED, annotation=Shared),
        inspect.Parameter("out", keyword, default=OUT, annotation=Out),
        *(
            inspect.Parameter(name, keyword, default=getattr(case.settings, name), annotation=hints[name])
            for name in case.settings.__struct_fields__
        ),
        inspect.Parameter("as_json", keyword, default=False, annotation=AsJson),
    ]
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # Typer reads the options from it
    return command


def _without(name: str, package: str) -> Callable[[], None]:
    def command() -> None:
        errors.print(
            f"lookout bench {name} needs {package}, which is not installed: pip install 'lookout-agent[workshop]'",
            markup=False,
        )
        raise typer.Exit(2)

    return command


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _telling(
    show: Callable[[str, int, int], None], name: str, number: int, cases: int, *, quiet: bool
) -> Callable[[str], None]:
    """Return what tells a line of progress: on the bar of a terminal, else as a line."""

    def tell(line: str) -> None:
        show(f"{name}: {line}", number, cases)
        if not quiet and not errors.is_terminal:
            errors.print(f"{name}: {line}", markup=False)

    return tell


def _show(record: Record, *, as_json: bool) -> None:
    """Print a record's figures and tables."""
    if as_json:
        typer.echo(encode(record).decode(), nl=False)
        return
    if record.lacking or record.failed:
        console.print(f"{record.case}: {record.lacking or record.failed}", style="yellow", markup=False)
        return
    for table in record.tables:
        _print_table(table.title, table.columns, table.rows)
    if record.figures:
        _print_table(f"lookout bench {record.case}", words.COLUMNS, words.rows(record))
    for remark in record.remarks:
        console.print(remark, markup=False)
    busy = " - too much: measure again when nothing else runs" if record.others_cores > running.BUSY_CORES else ""
    console.print(f"{record.took_s:.0f} s; others used {record.others_cores:.2f} cores{busy}", markup=False)


def _print_table(title: str, columns: tuple[str, ...], rows: Any) -> None:
    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _summary(records: tuple[Record, ...]) -> None:
    """Say which promises were kept."""
    kept = sum(figure.kept is True for record in records for figure in record.figures)
    console.print(f"{kept} promises kept, {sum(len(record.missed) for record in records)} missed", markup=False)
    for record in records:
        for figure in record.missed:
            assert figure.wanted is not None
            assert figure.value is not None
            bound = words.wanted(figure.wanted, figure.unit)
            console.print(
                f"  {record.case}: {figure.what}: {words.quantity(figure.value, figure.unit)} (wanted {bound})",
                markup=False,
            )
