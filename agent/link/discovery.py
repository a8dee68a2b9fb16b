"""Home Assistant's discovery of a device: one message that names every entity and where its values lie. Pure.

The message is Home Assistant's *device discovery*: ``dev`` says what the device is, ``o`` who announces it, ``cmps``
which entities it has, each with its platform ``p`` and a ``unique_id`` that stays the same as long as its camera, zone,
pipeline or row keeps its name. Keys are Home Assistant's abbreviations, since a device may have hundreds of entities;
topics are whole ones, because ``~`` is not known at the level of a device. An entity that is gone stays in the message
as its platform alone, which is how Home Assistant is told to remove it; to remove all, the message itself is emptied.

Templates read the messages of :mod:`agent.link.messages`: rename no field there without looking here. Names in them
match :data:`agent.types.NAME_PATTERN`, so that they can be quoted plainly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, get_args

import msgspec

Platform = Literal["binary_sensor", "sensor", "image", "button", "update"]

NAME = "Lookout"

MAX_BYTES = 1024 * 1024
"""No message is larger, however many cameras, zones and pipelines a configuration may have."""

MAX_GONE = 256
"""Entities that are named as gone; beyond that the oldest are no longer named."""

BORN = b"online"
"""What Home Assistant says on its own status topic when it has started."""


class Watched(msgspec.Struct, frozen=True):
    """A camera, and its zones and lines."""

    camera: str
    zones: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class HostRow(msgspec.Struct, frozen=True):
    """A row of telemetry that becomes a sensor; ``shown``: unless somebody asks for it, it is not.

    ``counts``: it only grows, but for restarts.
    """

    key: str
    name: str
    unit: str = ""
    device_class: str | None = None
    shown: bool = True
    counts: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What is announced of a device. ``root`` is what its topics begin with; ``rows`` are those of the host.

    A camera has no problem while its health is one of ``healthy`` and none of its conditions is of ``trouble``.
    """

    device: str
    root: str
    model: str
    version: str
    cameras: tuple[Watched, ...] = ()
    pipelines: tuple[str, ...] = ()
    rows: tuple[HostRow, ...] = ()
    pipeline_rows: tuple[HostRow, ...] = ()
    healthy: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entity; with nothing but ``p`` it is one that is gone. Fields are Home Assistant's, mostly abbreviated."""

    p: Platform
    unique_id: str = ""
    name: str = ""
    stat_t: str = ""
    val_tpl: str = ""
    dev_cla: str | None = None
    unit_of_meas: str = ""
    stat_cla: str = ""
    ent_cat: str = ""
    json_attr_t: str = ""
    json_attr_tpl: str = ""
    img_t: str = ""
    cont_type: str = ""
    cmd_t: str = ""
    pl_prs: str = ""
    en: bool = True
    ic: str = ""


class HaDevice(msgspec.Struct, frozen=True):
    """What the device is."""

    ids: tuple[str, ...]
    name: str
    mf: str
    mdl: str
    sw: str


class HaOrigin(msgspec.Struct, frozen=True):
    """Who announces it."""

    name: str
    sw: str


class HaDiscovery(msgspec.Struct, frozen=True):
    """``<home_assistant.prefix>/device/<device>/config``. ``stat_t`` and ``avty_t`` hold for every entity without one.

    It has no ``v``: its keys are Home Assistant's.
    """

    dev: HaDevice
    o: HaOrigin
    avty_t: str
    stat_t: str
    cmps: dict[str, Component]


def discovery_topic(prefix: str, device: str) -> str:
    """Return where a device is announced."""
    return f"{prefix.rstrip('/')}/device/{device}/config"


def birth_topic(prefix: str) -> str:
    """Return where Home Assistant says that it has started."""
    return f"{prefix.rstrip('/')}/status"


def announcement(facts: Facts, gone: Mapping[str, str] | None = None) -> HaDiscovery:
    """Build the message; ``gone`` are entities of former ones (id → platform) that are no more."""
    found = components(facts)
    absent = [(key, platform) for key, platform in (gone or {}).items() if key not in found]
    return HaDiscovery(
        dev=HaDevice((f"lookout_{facts.device}",), facts.device, NAME, facts.model, facts.version),
        o=HaOrigin(NAME, facts.version),
        avty_t=f"{facts.root}status",
        stat_t=f"{facts.root}telemetry",
        cmps=found | {key: Component(p=_platform(platform)) for key, platform in absent[-MAX_GONE:]},
    )


def remembered(facts: Facts, before: Mapping[str, str]) -> dict[str, str]:
    """Return what was ever announced (id → platform): what is gone, the oldest first and bounded, then what is."""
    now = {key: str(component.p) for key, component in components(facts).items()}
    gone = [(key, platform) for key, platform in before.items() if key not in now and is_platform(platform)]
    return dict(gone[-MAX_GONE:]) | now


def is_platform(text: object) -> bool:
    """Tell whether this is a platform that was ever announced."""
    return text in get_args(Platform)


def _platform(text: str) -> Platform:
    platform: Platform = msgspec.convert(text, Platform)
    return platform


# --- the entities ----------------------------------------------------------------------------------------------------


def components(facts: Facts) -> dict[str, Component]:
    """Return every entity by its id, which no other may have whatever the names are: names hold no dot."""
    found: dict[str, Component] = {}
    for key, component in _all(facts):
        assert key not in found
        found[key] = msgspec.structs.replace(component, unique_id=f"lookout_{facts.device}.{key}")
    return found


def _all(facts: Facts) -> Iterator[tuple[str, Component]]:
    for watched in facts.cameras:
        yield from _camera(facts, watched)
    for pipeline in facts.pipelines:
        yield (
            f"pipeline.{pipeline}.update",
            Component(
                p="update", name=f"{pipeline} model", stat_t=f"{facts.root}update/{pipeline}", ent_cat="diagnostic"
            ),
        )
        for row in facts.pipeline_rows:
            value = f"loop.get('{pipeline}', {{}}).get('{row.key}')"
            yield f"pipeline.{pipeline}.{row.key}", _row(row, value, pipeline)
    for row in facts.rows:
        yield f"host.{row.key}", _row(row, f"host.{row.key}")


def _camera(facts: Facts, watched: Watched) -> Iterator[tuple[str, Component]]:
    camera, state = watched.camera, f"{facts.root}state/{watched.camera}"
    yield from _place(f"camera.{camera}", camera, state, "value_json")
    for zone in watched.zones:
        yield from _place(f"zone.{zone}", f"{camera} {zone}", state, f"value_json.zones.get('{zone}', {{}})")
    for line in watched.lines:
        for way in ("in", "out"):
            yield (
                f"line.{line}.{way}",
                Component(
                    p="sensor",
                    name=f"{camera} {line} {way}",
                    stat_t=state,
                    val_tpl=f"{{{{ value_json.lines.get('{line}', {{}}).get('{way}', 0) }}}}",
                    stat_cla="total_increasing",
                    ic="mdi:arrow-left-right",
                ),
            )
    yield f"camera.{camera}.problem", _problem(facts, camera, state)
    yield (
        f"camera.{camera}.fps",
        Component(
            p="sensor",
            name=f"{camera} frame rate",
            stat_t=state,
            val_tpl="{{ value_json.fps }}",
            unit_of_meas="fps",
            stat_cla="measurement",
            ent_cat="diagnostic",
        ),
    )
    yield (
        f"camera.{camera}.image",
        Component(
            p="image", name=f"{camera} snapshot", img_t=f"{facts.root}snapshots/{camera}", cont_type="image/jpeg"
        ),
    )
    yield (
        f"camera.{camera}.snapshot",
        Component(
            p="button",
            name=f"{camera} take snapshot",
            cmd_t=f"{facts.root}cmd/camera/snapshot",
            pl_prs=json.dumps({"v": 1, "args": {"camera": camera}}),
            ic="mdi:camera",
        ),
    )


def _place(key: str, name: str, state: str, value: str) -> Iterator[tuple[str, Component]]:
    """Whether somebody is there, and how many; ``value`` is the template's expression of the place."""
    yield (
        f"{key}.occupancy",
        Component(
            p="binary_sensor",
            name=f"{name} occupancy",
            stat_t=state,
            val_tpl=f"{{{{ 'ON' if {value}.occupancy else 'OFF' }}}}",
            dev_cla="occupancy",
        ),
    )
    counts = f"{value}.counts" if value == "value_json" else f"{value}.get('counts', {{}})"
    yield (
        f"{key}.count",
        Component(
            p="sensor",
            name=f"{name} objects",
            stat_t=state,
            val_tpl=f"{{{{ {counts}.values() | sum }}}}",
            stat_cla="measurement",
            json_attr_t=state,
            json_attr_tpl=f"{{{{ {counts} | tojson }}}}",
            ic="mdi:counter",
        ),
    )


def _problem(facts: Facts, camera: str, state: str) -> Component:
    well = f"value_json.health in {_listed(facts.healthy)}"
    sound = f"not value_json.conditions | select('in', {_listed(facts.trouble)}) | list"
    details = "'health': value_json.health, 'reason': value_json.reason, 'conditions': value_json.conditions"
    return Component(
        p="binary_sensor",
        name=f"{camera} problem",
        stat_t=state,
        val_tpl=f"{{{{ 'OFF' if {well} and {sound} else 'ON' }}}}",
        dev_cla="problem",
        ent_cat="diagnostic",
        json_attr_t=state,
        json_attr_tpl=f"{{{{ {{{details}}} | tojson }}}}",
    )


def _row(row: HostRow, value: str, whose: str = "") -> Component:
    return Component(
        p="sensor",
        name=f"{whose} {row.name}".strip(),
        val_tpl=f"{{{{ value_json.{value} }}}}",
        unit_of_meas=row.unit,
        dev_cla=row.device_class,
        stat_cla="total_increasing" if row.counts else "measurement",
        ent_cat="diagnostic",
        en=row.shown,
    )


def _listed(words: Collection[str]) -> str:
    return f"[{', '.join(repr(word) for word in sorted(words))}]"
