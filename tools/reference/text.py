"""Docstrings as prose of a page, tables, and what stands between two marks of a page. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

from agent.errors import InputError

_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
_END = "<!-- end -->"


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: dedented, code in single ticks, roles as the bare name."""
    return _ROLE.sub(r"`\1`", inspect.cleandoc(docstring)).replace("``", "`")


def paragraph(docstring: str, number: int = 0) -> str:
    """Return one paragraph of a docstring in one line; empty where it has fewer."""
    found = prose(docstring).split("\n\n")
    return " ".join(found[number].split()) if number < len(found) else ""


def summary(docstring: str) -> str:
    """Return the first paragraph without the topic or verb that it begins with, as in ``info``: what this device is."""
    said = paragraph(docstring)
    said = re.sub(r"^`[^`]+`(?:, ([^:]+))?: ", lambda found: f"{found[1]}: " if found[1] else "", said)
    return said[:1].upper() + said[1:]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def begin(name: str) -> str:
    """Return the mark before a part of a page that is made."""
    return f"<!-- made by `make docs`: {name} -->"


def put(page: str, name: str, text: str) -> str:
    """Return ``page`` with ``text`` between the marks of ``name``. Raises InputError where it has none."""
    before, mark, rest = page.partition(begin(name))
    _, end, after = rest.partition(_END)
    if not mark or not end:
        raise InputError(f"the page has no part {begin(name)} … {_END}; put the marks where the part belongs")
    return f"{before}{mark}\n\n{text.strip()}\n\n{end}{after}"
