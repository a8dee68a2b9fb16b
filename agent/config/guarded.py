"""Which changes must prove themselves: those of broker, device, cameras, model or rate. Pure.

A row of :data:`GUARDED` is a place in the schema (``*`` any name) and what a change there touches. A path above a
guarded place (a whole section that came or went) is guarded as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from agent.config.keypath import KeyPath
from agent.config.merge import changed
from agent.config.schema import Config

Touches = Literal["broker", "device", "cameras", "model", "rate"]

GUARDED: tuple[tuple[tuple[str, ...], Touches], ...] = (
    (("mqtt",), "broker"),
    (("device",), "device"),
    (("cameras",), "cameras"),
    (("capture",), "cameras"),
    (("pipelines", "*", "cameras"), "cameras"),
    (("pipelines", "*", "model"), "model"),
    (("pipelines", "*", "factory"), "model"),
    (("inference",), "model"),
    (("pipelines", "*", "in_flight"), "rate"),
    (("governor",), "rate"),
)
CONFIRMED: tuple[tuple[str, ...], ...] = (("mqtt",), ("device", "id"))
"""Places where a change from afar needs ``config/confirm`` besides."""

RATES: tuple[tuple[str, ...], ...] = (
    ("cameras", "*", "source", "fps"),
    ("cameras", "*", "max_fps"),
    ("cameras", "*", "weight"),
    ("cameras", "*", "quiet"),
    ("cameras", "*", "motion"),
)
"""Keys of a camera that change how many of its frames are looked at."""


class Guard(msgspec.Struct, frozen=True):
    """How a change must prove itself. ``touches`` says what it is about, ``rates`` which rate keys of which camera."""

    on_probation: bool = False
    needs_confirm: bool = False
    touches: tuple[Touches, ...] = ()
    rates: dict[str, tuple[str, ...]] = {}


def guards(paths: Iterable[KeyPath], *, from_afar: bool = True) -> Guard:
    """Return how a change of these keys must prove itself.

    Only a change that came through the broker needs a confirmation through the broker: whoever edits the file may have
    none to send it with.
    """
    found = tuple(paths)
    touched = dict.fromkeys(about for place, about in GUARDED if any(_touches(path, place) for path in found))
    confirm = from_afar and any(_touches(path, place) for path in found for place in CONFIRMED)
    return Guard(bool(touched), confirm, tuple(touched), _rates(found))


def changed_keys(before: Config, after: Config) -> tuple[KeyPath, ...]:
    """Return the keys whose value in force differs between two configurations, defaults filled in."""
    return changed(before.model_dump(by_alias=True), after.model_dump(by_alias=True))


def _rates(paths: Iterable[KeyPath]) -> dict[str, tuple[str, ...]]:
    rates: dict[str, tuple[str, ...]] = {}
    for path in paths:
        if len(path) > 2 and any(_touches(path, place) for place in RATES):
            name, key = str(path[1]), ".".join(str(step) for step in path[2:])
            rates[name] = (*rates.get(name, ()), key)
    return rates


def _touches(path: KeyPath, place: tuple[str, ...]) -> bool:
    """Tell whether a path lies at, below or above a place."""
    return all(there in ("*", step) for step, there in zip(path, place, strict=False))
