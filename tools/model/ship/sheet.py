"""The report of a ship: ``report.html`` for a person, with pictures, and ``report.json`` for a program."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.clock import rfc3339, utc_ms
from agent.versions import versions
from tools.model.report.page import Page
from tools.model.ship.parts import Outcome
from tools.model.ship.workbook import Done

HTML, JSON, EVALUATION = "report.html", "report.json", "evaluation.html"
_TITLES = {"quantize": "What INT8 was chosen, and why", "evaluate": "What it costs", "bench": "What it brings"}


def write(
    folder: Path,
    doubts: Sequence[str],
    heading: Mapping[str, str],
    outcomes: Mapping[str, Outcome],
    steps: Mapping[str, Done],
) -> tuple[str, ...]:
    """Write the report's files into ``folder`` and return their names; figures are read from their steps' folders."""
    page = Page(f"{heading['model']}: from float to a release")
    page.table(("what", "value"), [*heading.items(), ("made on", host_name())], caption="What was shipped")
    if doubts:
        page.heading("What was assumed")
        for doubt in doubts:
            page.text(doubt)
    for name, outcome in outcomes.items():
        page.heading(_TITLES[name])
        for sentence in outcome.says:
            page.text(sentence)
        for table in outcome.tables:
            page.table(table.columns, table.rows, caption=table.caption)
        for figure in outcome.figures:
            page.picture((steps[name].folder / figure.file).read_bytes(), figure.caption, figure.caption)
    page.heading("How long it took")
    page.table(("step", "seconds"), [(name, f"{step.seconds:.1f}") for name, step in steps.items()])
    page.write(folder / HTML)
    report = {**_facts(doubts, heading, outcomes), "seconds": {name: step.seconds for name, step in steps.items()}}
    (folder / JSON).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    whole = steps["evaluate"].folder / EVALUATION
    if not whole.is_file():
        return HTML, JSON
    shutil.copyfile(whole, folder / EVALUATION)
    return HTML, JSON, EVALUATION


def _facts(doubts: Sequence[str], heading: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        "v": 1,
        "at": rfc3339(utc_ms()),
        "shipped": dict(heading),
        "host": {"name": host_name(), "machine": platform.machine(), "versions": versions()},
        "doubts": list(doubts),
        **{name: {"says": list(outcome.says), **outcome.facts} for name, outcome in outcomes.items()},
    }


def host_name() -> str:
    """Return what tells this machine from others in a table."""
    return platform.node() or "unknown"
