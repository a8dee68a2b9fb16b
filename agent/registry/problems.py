"""Says in words everything that pydantic found wrong: ``path: what would be right, got value``.

Pure. An unknown key is reported with the nearest known one, found by walking the model's fields along the error's
path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

MAX_VALUE_CHARS = 80
MAX_LINE_CHARS = 300
MAX_LINES = 100


def describe(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one line for each problem in ``error`` (at most :data:`MAX_LINES`), from validating ``root``."""
    found = error.errors(include_url=False, include_context=False)
    parents = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    # A sequence whose items are wrong is also called too short, because pydantic counts the right ones only.
    told = [p for p in found if not (p["type"] == "too_short" and p["loc"] in parents)]
    lines = [_shortened(_line(problem, root), MAX_LINE_CHARS) for problem in told[:MAX_LINES]]
    return lines + ([f"and {len(told) - MAX_LINES} more"] if len(told) > MAX_LINES else [])


def dotted(path: Sequence[int | str]) -> str:
    """Write a path as ``variants.0.file.size``; the whole document is ``(document)``."""
    return ".".join(str(step) for step in path) or "(document)"


def shown(value: Any) -> str:
    """Write a value for a message, cut where it is long."""
    return _shortened(repr(value), MAX_VALUE_CHARS)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` where one of ``known`` is near to ``word``, else an empty text."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _line(problem: Any, root: type[BaseModel]) -> str:
    path = problem["loc"]
    if problem["type"] == "extra_forbidden":
        return f"{dotted(path)}: unknown key{_known_hint(path, root)}"
    if problem["type"] == "missing":
        return f"{dotted(path)}: is missing"
    if problem["type"] == "json_invalid":
        return f"is no JSON: {problem['msg'].removeprefix('Invalid JSON: ')}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{dotted(path)}: {message}, got {shown(problem['input'])}"


def _known_hint(path: Sequence[int | str], root: type[BaseModel]) -> str:
    known = sorted(_known_keys(path[:-1], root))
    hint = nearest(str(path[-1]), known)
    return hint or (f"; known are {', '.join(known)}" if known else "")


def _known_keys(path: Sequence[int | str], root: type[BaseModel]) -> set[str]:
    """Return the keys of the model that lies at ``path`` below ``root``."""
    model: type[BaseModel] | None = root
    for step in path:
        if model is None:
            return set()
        if isinstance(step, int):
            continue  # an item of a sequence: the model found for its field is that of the items
        field = next((f for name, f in model.model_fields.items() if step in (name, f.alias)), None)
        if field is not None:
            model = next(_models_in(field.annotation), None)
        # Otherwise ``step`` is a key of a mapping whose values are ``model``: stay.
    return {field.alias or name for name, field in model.model_fields.items()} if model else set()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models that an annotation (``tuple[Variant, ...]``, ``Budget | None``) holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in get_args(annotation):
        yield from _models_in(inner)
