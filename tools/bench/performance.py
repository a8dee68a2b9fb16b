"""``docs/performance.md``: what stands between its marks is written from the records, the rest by hand.

One block says which host it was; a case that was measured elsewhere or with other versions says so itself. Nothing is
rounded in favour, nothing left out: a case that could not run, and a bound that was missed, stand in the page like the
others.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from agent.atomic import write_text
from agent.errors import InputError
from tools.bench import words
from tools.bench.host import VNNI, Host
from tools.bench.peers.plot import PICTURE
from tools.bench.record import Record
from tools.bench.running import BUSY_CORES

BEGIN, END = "<!-- lookout bench: begin -->", "<!-- lookout bench: end -->"
PICTURES = "pictures"


def write(page: Path, records: Sequence[Record], out: Path) -> None:
    """Replace what stands between the marks of ``page``; the peers' picture is copied beside it.

    Raises :class:`~agent.errors.InputError` for a page without marks, and for no records at all.
    """
    if not records:
        raise InputError(f"{out}: holds no report of a case: run lookout bench all first")
    text = page.read_text() if page.is_file() else ""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise InputError(f"{page}: has no marks {BEGIN} and {END} to write between")
    picture = None
    if (out / PICTURE).is_file() and any(record.case == "peers" for record in records):
        picture = f"{PICTURES}/{PICTURE}"
        (page.parent / PICTURES).mkdir(exist_ok=True)
        shutil.copyfile(out / PICTURE, page.parent / picture)
    write_text(page, f"{before}{BEGIN}\n{render(records, picture)}\n{END}{after}")


def render(records: Sequence[Record], picture: str | None = None) -> str:
    """Return the part between the marks. ``picture``: of the peers, relative to the page. Pure."""
    host = max(records, key=lambda record: record.at).host
    parts = [_host(host, records), _promises(records)]
    for record in records:
        parts.append(_section(record, host, picture if record.case == "peers" else None))
    return "\n\n".join(parts)


def _host(host: Host, records: Sequence[Record]) -> str:
    dates = sorted({record.at[:10] for record in records})
    features = ", ".join(host.features) or "none of those that matter"
    lacks = (
        "" if VNNI in host.features else f" (no {VNNI}: the bounds for INT8 were promised for processors that have it)"
    )
    loads = [record.load for record in records]
    others = max(record.others_cores for record in records)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(_versions(records).items()))
    rows = (
        ("processor", f"{host.cpu}, {host.machine}, {host.cores} cores{', virtual' if host.virtual else ''}"),
        ("features", features + lacks),
        ("governor", host.governor or "the kernel tells none"),
        ("memory", f"{host.memory_mb / 1000:.0f} GB"),
        ("kernel", host.kernel),
        ("versions", versions),
        ("measured", dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"),
        ("load before each case", f"{min(loads):.1f} to {max(loads):.1f}"),
        ("other processes used", f"{others:.2f} cores at most{_busy(others)}"),
    )
    return _table(("the host", ""), rows)


def _versions(records: Sequence[Record]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.host.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: " and ".join(sorted(versions)) for name, versions in found.items()}


def _promises(records: Sequence[Record]) -> str:
    judged = [figure for record in records for figure in record.figures if figure.kept is not None]
    missed = [(record, figure) for record in records for figure in record.missed]
    elsewhere = sum(
        figure.kept is False and not record.promised(figure) for record in records for figure in record.figures
    )
    kept = len(judged) - len(missed) - elsewhere
    said = f"Of {len(judged)} bounds {kept} were kept and {len(missed)} missed"
    said += f"; {elsewhere} more were not reached, and are promised for other processors only." if elsewhere else "."
    lines = [
        f"- **missed**: {figure.what}: {words.quantity(figure.value, figure.unit)}, "
        f"wanted {words.wanted(figure.wanted, figure.unit)}"
        for _, figure in missed
        if figure.value is not None and figure.wanted is not None
    ]
    return "\n".join([said, *([""] if lines else []), *lines])


def _section(record: Record, host: Host, picture: str | None) -> str:
    parts = [f"## {record.title}", f"`lookout bench {record.case}`, {_when(record)}"]
    if record.lacking or record.failed:
        parts.append(f"Not measured: {record.lacking or record.failed}")
        return "\n\n".join(parts)
    if _other(record.host, host):
        parts.append(f"Measured on another host: {record.host.cpu}, {record.host.cores} cores.")
    if picture:
        parts.append(f"![How many times as fast as each peer our loop is]({picture})")
    parts += [f"**{table.title}**\n\n{_table(table.columns, table.rows)}" for table in record.tables]
    shown = [
        row for row, one in zip(words.rows(record), record.figures, strict=True) if one.wanted or not record.tables
    ]
    if shown:
        parts.append(_table(words.COLUMNS, shown))
    parts += [f"- {remark}" for remark in record.remarks[:1]]
    if len(record.remarks) > 1:
        parts[-1] += "".join(f"\n- {remark}" for remark in record.remarks[1:])
    return "\n\n".join(parts)


def _when(record: Record) -> str:
    quick = ", quick: few rounds" if record.quick else ""
    return (
        f"{record.at[:16].replace('T', ' ')} UTC, {record.took_s:.0f} s{quick}; others used "
        f"{record.others_cores:.2f} cores{_busy(record.others_cores)}."
    )


def _busy(cores: float) -> str:
    return "" if cores <= BUSY_CORES else " (**too much: these figures mean little**)"


def _other(one: Host, other: Host) -> bool:
    return (one.name, one.cpu, one.cores) != (other.name, other.cpu, other.cores)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; a bar in a cell is escaped."""
    ruler = "|".join("---" if place == 0 else "---:" for place in range(len(columns)))
    if len(columns) == 2 and not columns[1]:
        ruler = "---|---"
    lines = [" | ".join(columns), ruler, *(" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"|{line}|" if line == ruler else f"| {line} |" for line in lines)
