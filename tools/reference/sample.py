"""``configs/agent.yaml``: every key once, with what it is for; those of the example set, the rest at their defaults.

A line that begins with ``#`` and no blank is a key at its default: take the ``#`` away to change it. So the file with
all of them taken away means the same, which a test holds. Where an entry of a map comes a second time (another camera),
only what it sets is written. Pure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from agent.config.describe import Key, Place
from tools.reference.keys import TABLE, bounds_of

WIDTH = 100

_HEAD = """\
# Every key of an agent, with what it is for. A line that begins with # and no blank is a key at its default.
#   lookout check -c agent.yaml       says everything that is wrong with it
#   lookout check --explain KEY       says what a key means, its bounds, when it applies and who may change it
# docs/configuration.md says how changes reach a device, docs/config-keys.md has all keys in tables, docs/cameras.md,
# docs/motion.md, docs/events.md and docs/home-assistant.md say more about theirs. Made from the schema by make docs.
"""


def sample(example: Mapping[str, Any]) -> str:
    """Return the file; ``example`` is what it sets."""
    return _HEAD + "".join(f"{line}\n" for line in _Writer().section((), example, 0))


class _Writer:
    """Remembers which keys were written already."""

    def __init__(self) -> None:
        self._written: set[Key] = set()

    def section(self, place: Place, example: Mapping[str, Any] | None, depth: int) -> Iterator[str]:
        """Write the keys of the section at ``place``: those of the example, and those that were not written yet."""
        given = example or {}
        for key in _below(place, given.get("kind")):
            name, first = key.place[-1], key not in self._written
            self._written.add(key)
            if not first and name not in given:
                continue
            if depth == 0:
                yield ""
            if first:
                yield from _comment(key, "  " * depth)
            yield from self._key(key, given.get(name), depth)

    def _key(self, key: Key, value: Any, depth: int) -> Iterator[str]:
        pad, name = "  " * depth, key.place[-1]
        if not _is_opened(key):
            yield f"{pad}#{name}: {_default(key)}" if value is None else f"{pad}{name}: {_flow(value)}"
            return
        yield f"{pad}#{name}:" if value is None else f"{pad}{name}:"
        if key.type.startswith("map"):
            for entry, section in (value or {}).items():
                yield f"{pad}  {entry}:"
                yield from self.section((*key.place, "*"), section, depth + 2)
        else:
            yield from self.section(key.place, value, depth + 1)


def _is_opened(key: Key) -> bool:
    """Tell whether the keys below are written one a line; not those of a list, or of a section that may be absent."""
    return key.section and "list of" not in key.type and key.default != "not set"


def _below(place: Place, kind: str | None) -> Iterator[Key]:
    found = (key for key in TABLE if key.place[:-1] == place)
    mine = (key for key in found if kind is None or not key.kinds or kind in key.kinds)
    yield from sorted(mine, key=lambda key: key.place[-1] != "kind")


def _comment(key: Key, pad: str) -> Iterator[str]:
    choices = key.type.removeprefix("one of ") if key.type.startswith("one of ") and "," in key.type else ""
    may_be = "; ".join(filter(None, (choices, bounds_of(key))))
    said = f"{key.description} ({may_be})" if may_be else key.description
    yield from _wrapped(said, f"{pad}# ")
    if key.section and not _is_opened(key):
        for below in _below(key.place, None):
            yield from _wrapped(f"{below.place[-1]}: {below.description}", f"{pad}#   ")


def _wrapped(text: str, pad: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)


def _default(key: Key) -> str:
    return "null" if key.default == "not set" else key.default


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
