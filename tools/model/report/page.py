"""A page of what was measured: one HTML file that needs nothing beside it, light or dark as the reader's screen is.

Everything that is given is text and is escaped; pictures are embedded. Blocks appear in the order of the calls.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from agent.atomic import write_bytes
from agent.errors import ProgrammingError

LONG = 30
"""A table of more rows than this is shown when the reader asks for it."""

_TEMPLATE = Path(__file__).with_name("page.html")
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_NUMBER = re.compile(r"^[\s+\u2212-]?[\d.,\u2009 ]+\s?(%|\u00d7|x|ms|s|MB|kB|dB|points?)?$")


class Page:
    """A report in the making. One thread."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._blocks: list[dict[str, Any]] = []

    def heading(self, text: str) -> None:
        """Begin a section; the sections are listed at the top."""
        number = sum(block["kind"] == "heading" for block in self._blocks) + 1
        self._blocks.append({"kind": "heading", "text": text, "anchor": f"section-{number}"})

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._blocks.append({"kind": "text", "text": text})

    def warning(self, text: str) -> None:
        """Add a paragraph that must not be overlooked."""
        self._blocks.append({"kind": "warning", "text": text})

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
        """Add a table; columns of numbers are set to the right, a long table is folded up.

        Rows must be as long as ``columns``.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ProgrammingError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {row!r}")
        cells = [[_cell(value) for value in row] for row in rows]
        ranged = [bool(cells) and all(row[place]["number"] for row in cells) for place in range(len(columns))]
        heads = [{"text": text, "number": number} for text, number in zip(columns, ranged, strict=True)]
        self._blocks.append(
            {"kind": "table", "heads": heads, "rows": cells, "caption": caption, "long": len(rows) > LONG}
        )

    def picture(self, data: bytes, caption: str, alt: str) -> None:
        """Embed a PNG or JPEG; ``alt`` says what it shows to whoever cannot see it."""
        kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
        if kind is None:
            raise ProgrammingError(f"a picture that begins with {data[:4]!r}: PNG or JPEG is needed")
        source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        self._blocks.append({"kind": "picture", "source": source, "caption": caption, "alt": alt})

    def html(self) -> str:
        """Return the page."""
        engine = jinja2.Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        template = engine.from_string(_TEMPLATE.read_text(encoding="utf-8"))
        return template.render(title=self.title, blocks=self._blocks)

    def write(self, path: Path) -> None:
        """Write the page to ``path`` in one step. Raises :class:`~agent.errors.StorageError`."""
        write_bytes(path, self.html().encode())


def _cell(value: object) -> dict[str, Any]:
    text = "" if value is None else str(value)
    return {"text": text, "number": text in ("", "\u2013") or bool(_NUMBER.match(html.unescape(text)))}
