"""The schema as a flat table of keys: what ``--explain`` prints, and how a path finds its key. Pure.

A place is a path of names in which ``*`` stands for any name of a map; the keys of a source exist once for each kind
that has them (``Key.kinds``). The table is made once, from the models of :mod:`agent.config.schema` alone.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agent.config.checks import nearest
from agent.config.schema import Applies, Config

Place = tuple[str, ...]

_WORDS: dict[Any, str] = {
    str: "text",
    SecretStr: "text, secret",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


@dataclass(frozen=True)
class Key:
    """One key or section of the configuration; ``default`` and ``bounds`` are texts for people."""

    place: Place
    type: str
    required: bool
    default: str
    bounds: str
    applies: Applies
    remote: bool
    description: str
    section: bool
    secret: bool
    textual: bool
    kinds: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The place as a person writes it, ``cameras.*.source.url``."""
        return ".".join(self.place)


@functools.cache
def keys() -> tuple[Key, ...]:
    """Return every key and section of the schema, in the order of the schema."""
    return _merged(_walk(Config, (), ()))


@functools.cache
def _by_place() -> dict[Place, tuple[Key, ...]]:
    table: dict[Place, tuple[Key, ...]] = {}
    for key in keys():
        table[key.place] = (*table.get(key.place, ()), key)
    return table


def place_of(path: Sequence[str | int]) -> Place:
    """Return the place in the schema that a path of a configuration leads to: names of maps become ``*``.

    Indices of lists are left out; a path that leads nowhere comes back as far as it is known, then as it was.
    """
    place: Place = ()
    for step in path:
        if isinstance(step, int):
            continue
        named = (*place, step)
        any_name = (*place, "*")
        place = any_name if named not in _places() and any_name in _places() else named
    return place


@functools.cache
def _places() -> frozenset[Place]:
    """All places, those between (``cameras.*``) as well."""
    return frozenset(key.place[:length] for key in keys() for length in range(len(key.place) + 1))


def at(path: Sequence[str | int]) -> tuple[Key, ...]:
    """Return the keys that a path leads to: several where kinds of a source differ in it, none where unknown."""
    return _by_place().get(place_of(path), ())


def children(path: Sequence[str | int], kind: str | None = None) -> list[str]:
    """Return the names known directly below ``path``; of a source, those of ``kind`` only where it is given."""
    place = place_of(path)
    below = [key for key in keys() if key.place[:-1] == place and key.place[-1] != "*"]
    return list(dict.fromkeys(key.place[-1] for key in below if not (kind and key.kinds) or kind in key.kinds))


def is_secret(path: Sequence[str | int]) -> bool:
    """Tell whether a path leads to a secret, or below one."""
    return any(key.secret for length in range(len(path) + 1) for key in at(path[:length]))


def find(text: str) -> tuple[Key, ...]:
    """Return the keys that a person asks for: a path, a path with ``*``, or just a name at any depth."""
    wanted = tuple(step for step in text.split(".") if step)
    exact = at(wanted)
    return exact or tuple(key for key in keys() if key.place[-len(wanted) :] == wanted and wanted)


def suggest(text: str) -> str | None:
    """Return the path that was probably meant by ``text``, which :func:`find` does not know."""
    paths = [key.path for key in keys()]
    close = nearest(text, paths)
    if close is not None:
        return close
    last = nearest(text.rsplit(".", 1)[-1], [key.place[-1] for key in keys()])
    return next((key.path for key in keys() if key.place[-1] == last), None)


# --- walking the models ----------------------------------------------------------------------------------------------


def _walk(model: type[BaseModel], place: Place, kinds: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        here = (*place, field.alias or name)
        parts = _parts(field.annotation)
        yield _key(here, field, parts, kinds)
        is_map = typing.get_origin(field.annotation) is dict
        below = (*here, "*") if is_map else here
        for part in parts:
            yield from _walk(part, below, (_kind(part),) if len(parts) > 1 else kinds)


def _merged(found: Iterator[Key]) -> tuple[Key, ...]:
    """Join the rows of keys that several kinds of a source share and that differ in nothing else."""
    table: dict[Key, tuple[str, ...]] = {}
    for key in found:
        bare = replace(key, kinds=())
        table[bare] = (*table.get(bare, ()), *key.kinds)
    return tuple(replace(key, kinds=kinds) for key, kinds in table.items())


def _kind(part: type[BaseModel]) -> str:
    return str(typing.get_args(part.model_fields["kind"].annotation)[0])


def _key(place: Place, field: FieldInfo, parts: list[type[BaseModel]], kinds: tuple[str, ...]) -> Key:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    leaves = set(_leaves(field.annotation))
    return Key(
        place=place,
        type=_type(field.annotation),
        required=field.is_required(),
        default=_default(field),
        bounds=_bounds(field),
        applies=typing.cast(Applies, extra["applies"]),
        remote=bool(extra["remote"]),
        description=field.description or "",
        section=bool(parts),
        secret=SecretStr in leaves,
        textual=bool(leaves) and leaves <= {str, SecretStr, Literal} and not _is_list(field.annotation),
        kinds=kinds,
    )


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union without None; anything else is its own only member."""
    annotation = _bare(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [_bare(member) for member in typing.get_args(annotation) if member is not type(None)]
    return [annotation]


def _parts(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a value of this annotation is, lists, or maps names to."""
    found: list[type[BaseModel]] = []
    for member in _members(annotation):
        if typing.get_origin(member) is dict:
            found += _parts(typing.get_args(member)[1])
        elif typing.get_origin(member) is tuple:
            found += _parts(typing.get_args(member)[0])
        elif isinstance(member, type) and issubclass(member, BaseModel):
            found.append(member)
    return found


def _is_list(annotation: Any) -> bool:
    return any(typing.get_origin(member) is tuple for member in _members(annotation))


def _leaves(annotation: Any) -> Iterator[Any]:
    for member in _members(annotation):
        origin = typing.get_origin(member)
        if origin is Literal and all(isinstance(value, str) for value in typing.get_args(member)):
            yield Literal
        elif origin is tuple:
            yield from _leaves(typing.get_args(member)[0])
        else:
            yield member


def _type(annotation: Any) -> str:
    words = []
    for member in _members(annotation):
        origin = typing.get_origin(member)
        if origin is Literal:
            words.append("one of " + ", ".join(str(value) for value in typing.get_args(member)))
        elif origin is tuple:
            words.append(f"list of {_type(typing.get_args(member)[0])}")
        elif origin is dict:
            words.append(f"map of names to {_type(typing.get_args(member)[1])}")
        elif isinstance(member, type) and issubclass(member, BaseModel):
            words.append("section")
        else:
            words.append(_WORDS.get(member, str(member)))
    return " or ".join(dict.fromkeys(words))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none: must be given"
    if field.default is PydanticUndefined:
        return "the defaults of its keys"
    if field.default is None:
        return "not set"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, tuple):
        return f"[{', '.join(map(str, field.default))}]"
    return str(field.default)


def _bounds(field: FieldInfo) -> str:
    """Say the bounds of numbers, lengths and forms, those of a union's or annotation's members as well."""
    found: list[str] = []
    unit = "entries" if _is_list(field.annotation) or typing.get_origin(field.annotation) is dict else "characters"
    for rule in _rules(field):
        match rule:
            case annotated_types.Ge(ge=bound):
                found.append(f"≥ {bound}")
            case annotated_types.Gt(gt=bound):
                found.append(f"> {bound}")
            case annotated_types.Le(le=bound):
                found.append(f"≤ {bound}")
            case annotated_types.MinLen(min_length=bound):
                found.append(f"≥ {bound} {unit}")
            case annotated_types.MaxLen(max_length=bound):
                found.append(f"≤ {bound} {unit}")
            case _:
                pattern = getattr(rule, "pattern", None)
                found += [f"like {pattern}"] if isinstance(pattern, str) else []
    return ", ".join(dict.fromkeys(found))


def _rules(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    annotation = field.annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _flat(typing.get_args(member)[1:] if typing.get_origin(member) is Annotated else ())
    yield from _item_rules(annotation)


def _item_rules(annotation: Any) -> Iterator[Any]:
    """Yield the bounds of the numbers in a list or map, and in lists of lists."""
    for member in _members(annotation):
        if typing.get_origin(member) in (tuple, dict):
            item = typing.get_args(member)[0 if typing.get_origin(member) is tuple else 1]
            rules = _flat(typing.get_args(item)[1:] if typing.get_origin(item) is Annotated else ())
            yield from (
                rule for rule in rules if isinstance(rule, annotated_types.Ge | annotated_types.Gt | annotated_types.Le)
            )
            yield from _item_rules(item)


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item
