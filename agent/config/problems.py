"""From a raw tree to a valid configuration, or to everything that is wrong with it in words. Pure.

One sentence for each kind of error that the schema can raise; what pydantic says of itself is never shown. A value
is shown only where the schema knows the key, the key is no section and no secret, and then without the credentials
in URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from agent.config import describe
from agent.config.checks import Clash, clashes, did_you_mean
from agent.config.keypath import KeyPath, dotted
from agent.config.schema import Config
from agent.errors import ConfigError, Problem
from agent.redact import redact

MAX_PROBLEMS = 200
MAX_VALUE_CHARS = 80

Where = Callable[[KeyPath], str | None]
"""Tells where the value at a path was written (``line 12``), or None."""

_NAMES = "a name has small letters, digits, - and _, begins with a letter or digit, and has at most 64 characters"


def validate(tree: Any, where: Where = lambda _path: None) -> Config:
    """Return the configuration that ``tree`` is. Raises :class:`ConfigError` that holds every problem at once."""
    if not isinstance(tree, Mapping):
        raise config_error([_no_map(tree)])
    found: list[Problem] = []
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        found += _translated(error, where)
    found += [_cross(clash, where) for clash in clashes(tree)]
    if found:
        raise config_error(found)
    return config


def config_error(problems: Sequence[Problem]) -> ConfigError:
    """Return the error that lists ``problems``, each once, the first :data:`MAX_PROBLEMS` of them."""
    told = tuple(dict.fromkeys(problems))
    kept = told[:MAX_PROBLEMS]
    if len(told) > len(kept):
        kept = (*kept, Problem("", None, f"has {len(told) - len(kept)} problems more", "mend these first"))
    return ConfigError("\n".join(str(problem) for problem in kept), field=kept[0].path or None, problems=kept)


def shown(path: KeyPath, value: Any) -> str | None:
    """Return ``value`` as a text for people, or None where it must not or need not be shown."""
    found = describe.at(path)
    if value is None or not found or any(key.section for key in found):
        return None
    if describe.is_secret(path):
        return "(hidden)"
    text = redact(_plain(value))
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 1]}…"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**40:  # str() refuses integers of thousands of digits
        return "a number of more than 40 digits"
    return str(value)[: MAX_VALUE_CHARS * 4] if not isinstance(value, str) else repr(value[: MAX_VALUE_CHARS * 4])


def _no_map(tree: Any) -> Problem:
    if tree is None:
        return Problem("", None, "is empty", "write at least cameras and pipelines: see configs/minimal.yaml")
    return Problem("", None, f"is {_kind(tree)}, not a map of keys", "see configs/minimal.yaml")


def _cross(clash: Clash, where: Where) -> Problem:
    value = shown(clash.path, clash.value)
    return Problem(dotted(clash.path), value, clash.message, clash.hint, where(clash.path))


# --- pydantic's errors, in our words ---------------------------------------------------------------------------------


def _translated(error: ValidationError, where: Where) -> Iterator[Problem]:
    found = error.errors(include_url=False)
    inside = {item["loc"][:depth] for item in found for depth in range(len(item["loc"]))}
    for item in found:
        # A list whose entries are wrong is also called too short, because pydantic counts the right ones only.
        if item["type"] == "lookout_cross" or (item["type"] == "too_short" and item["loc"] in inside):
            continue
        path, kind = _path(item["loc"])
        yield from _problem(item, path, kind, where)


def _path(loc: tuple[int | str, ...]) -> tuple[KeyPath, str | None]:
    """Return the path as it was written and, below a source, its kind, which pydantic puts between."""
    is_source = len(loc) > 3 and loc[0] == "cameras" and loc[2] == "source"
    path = (*loc[:3], *loc[4:]) if is_source else loc
    return (path[:-1] if path and path[-1] == "[key]" else path), (str(loc[3]) if is_source else None)


def _problem(item: Any, path: KeyPath, kind: str | None, where: Where) -> Iterator[Problem]:
    error, value = item["type"], item["input"]
    if error.startswith("union_tag"):
        yield from _wrong_kind(path, value, where)
        return
    is_key = error in ("extra_forbidden", "missing") or item["loc"][-1:] == ("[key]",)
    message, hint = _words(item, path, kind)
    written = where(path[:-1] if error == "missing" else path)
    yield Problem(dotted(path), None if is_key else shown(path, value), message, hint, written)


def _words(item: Any, path: KeyPath, kind: str | None) -> tuple[str, str | None]:
    """Return message and hint for one of pydantic's errors."""
    error, value = item["type"], item["input"]
    if item["loc"][-1:] == ("[key]",):
        return "is no name", _NAMES
    if error == "extra_forbidden":
        return "is no known key", did_you_mean(str(path[-1]), describe.children(path[:-1], kind))
    if error == "missing":
        return "is missing", _purpose(path)
    if error in _TYPES:
        return f"should be {_TYPES[error]}, is {_kind(value)}", _type_hint(path, error, value)
    if error == "literal_error":
        return "is none of the known values", did_you_mean(_plain(value).strip("'"), _choices(path, kind))
    return _rule(error, item.get("ctx", {}))


_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of sensible size",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map of names",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
}


def _rule(error: str, context: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return message and hint for a value of the right type that breaks a rule."""
    if error == "lookout_text":
        return str(context["message"]), str(context["hint"]) or None
    if error == "string_pattern_mismatch" and "a-z0-9_-" in str(context.get("pattern")):
        return "is no name", _NAMES
    for key, words in _BOUNDS.items():
        if key in context and error in _BOUND_ERRORS:
            unit = _UNITS.get(error, "")
            return f"must be {words} {context[key]}{unit}", None
    return _RULES.get(error, ("is not right", None))


_BOUNDS = {
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
    "min_length": "at least",
    "max_length": "at most",
}
_UNITS = {
    "too_short": " entries long",
    "too_long": " entries long",
    "string_too_short": " characters long",
    "string_too_long": " characters long",
}
_BOUND_ERRORS = {"greater_than_equal", "greater_than", "less_than_equal", "less_than", *_UNITS}
_RULES: dict[str, tuple[str, str | None]] = {
    "finite_number": ("must be a finite number", None),
    "string_pattern_mismatch": ("has the wrong form", "four characters, such as MJPG"),
    "string_unicode": ("is no text", None),
}


def _wrong_kind(path: KeyPath, value: Any, where: Where) -> Iterator[Problem]:
    """Say that a source has no known kind, and name the keys that no kind has."""
    kinds = [key.kinds[0] for key in describe.at((*path, "kind"))]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    here = (*path, "kind")
    if kind is None:
        yield Problem(dotted(here), None, "is missing", f"one of {', '.join(kinds)}", where(path))
    else:
        hint = did_you_mean(str(kind)[:256], kinds)
        yield Problem(dotted(here), shown(here, kind), "is no kind of source", hint, where(here))
    known = describe.children(path)
    for name in value if isinstance(value, Mapping) else ():
        if name not in known:
            hint = did_you_mean(str(name), known)
            yield Problem(dotted((*path, name)), None, "is no known key", hint, where((*path, name)))


def _purpose(path: KeyPath) -> str | None:
    found = describe.at(path)
    return found[0].description[:1].lower() + found[0].description[1:].rstrip(".") if found else None


def _choices(path: KeyPath, kind: str | None) -> list[str]:
    listed = [key.type for key in describe.at(path) if not kind or not key.kinds or kind in key.kinds]
    return [word for text in listed for word in text.removeprefix("one of ").split(", ")]


def _kind(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a map"
    return "something else"


def _type_hint(path: KeyPath, error: str, value: Any) -> str | None:
    if error == "string_type" and isinstance(value, bool | int | float):
        return "put it in quotes"
    if error in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        return "write it without quotes" if value.strip() else None
    if error == "tuple_type" and isinstance(value, str):
        return "write it in brackets: [a, b]"
    if error.startswith("model") and path[-1:] == ("source",):
        return "write kind: and the keys of that kind below it"
    return None
