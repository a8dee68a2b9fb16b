"""Which files are made, and of what."""

from __future__ import annotations

from pathlib import Path

import yaml

from agent.versions import versions
from tools.reference.asyncapi import document
from tools.reference.keys import key_page
from tools.reference.sample import sample
from tools.reference.schemas import schema_files
from tools.reference.telemetry import host_table, row_table, stage_table
from tools.reference.text import put
from tools.reference.topics import topic_table, verb_table

SCHEMAS = "docs/schemas"
EXAMPLE = Path(__file__).with_name("sample.yaml")


def pages(root: Path) -> dict[Path, str]:
    """Return every made file with what it should hold. Raises InputError where a page lacks its marks, OSError."""
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    mqtt = root / "docs/mqtt.md"
    said = put(put(mqtt.read_text(encoding="utf-8"), "topics", topic_table()), "verbs", verb_table())
    telemetry = root / "docs/telemetry.md"
    rows = telemetry.read_text(encoding="utf-8")
    for part, text in (("stages", stage_table()), ("host", host_table()), ("rows", row_table())):
        rows = put(rows, f"telemetry-{part}", text)
    made = {
        mqtt: said,
        telemetry: rows,
        root / "docs/asyncapi.yaml": document(versions()["lookout-agent"]),
        root / "docs/config-keys.md": key_page(),
        root / "configs/agent.yaml": sample(example),
    }
    return made | {root / SCHEMAS / name: text for name, text in schema_files().items()}


def stale(root: Path) -> dict[Path, str | None]:
    """Return the files that are not as they should be, with what they should hold; None: they should not be there."""
    wanted = pages(root)
    wrong: dict[Path, str | None] = {path: text for path, text in wanted.items() if _text(path) != text}
    return wrong | {path: None for path in (root / SCHEMAS).glob("*.json") if path not in wanted}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
