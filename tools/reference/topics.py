"""What the pages say of topics, beside what the messages say themselves. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from agent.link.forms import FORMS
from agent.link.schemas import MESSAGES
from agent.link.topics import KINDS
from tools.reference.schemas import file_of
from tools.reference.text import summary, table

RECEIVED = frozenset({"desired", "cmd"})
"""Kinds that the operator sends."""

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "status": ("text/plain", {"type": "string", "enum": ["online", "offline"]}),
    "snapshots": ("image/jpeg", {"type": "string", "format": "binary"}),
}
"""Kinds that are no JSON: content type and schema."""

_WORDS = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number", "object": "map"}

_SAID = {
    "info": "What this device is: versions, host, providers, cameras, models, trust. At each connection and change.",
    "detections": "What was seen in one frame, at most `report.detections_hz` a second.",
    "events": "A track, a stay in a zone or a crossing begins, changes or ends; see docs/events.md.",
    "telemetry": "Each `report.telemetry_s`: the host, each pipeline, camera, model and process, the queues, the "
    "counters; see docs/telemetry.md.",
    "update": "Installed and latest version for Home Assistant, in its words.",
    "logs": "One log record, while `logs/tail` is in force.",
    "status": "`online` while the device can be commanded, else `offline` (its will, after 10 s).",
    "snapshots": "A JPEG of the camera, asked for by `camera/snapshot`; privacy masks are always in it.",
    "cmd": "A command; see the verbs.",
    "result": "The answer of a command that named no response topic.",
}


def description_of(kind: str) -> str:
    """Return what a kind of topic is, in a sentence or two."""
    return _SAID.get(kind) or summary(MESSAGES[kind].__doc__ or "")


def relative_of(kind: str) -> str:
    """Return a kind's topic below the device's, with its names in angle brackets."""
    return "/".join((kind, *(f"<{name}>" for name in KINDS[kind].names)))


def topic_table() -> str:
    """Return the table of topics below ``<prefix>/<device>/``."""
    return table(
        ("topic", "from", "QoS", "retained", "what", "schema"),
        (
            (
                f"`{relative_of(kind)}`",
                "operator" if kind in RECEIVED else "device",
                str(row.qos),
                "yes" if row.retain else "",
                description_of(kind),
                _link(kind),
            )
            for kind, row in KINDS.items()
        ),
    )


def verb_table() -> str:
    """Return the table of verbs, with what ``args`` may hold."""
    return table(
        ("verb", "what it does", "args"),
        (
            (f"[`{verb}`](schemas/{file_of(f'cmd/{verb}')})", summary(form.__doc__ or ""), _arguments(form))
            for verb, form in FORMS.items()
        ),
    )


def _link(kind: str) -> str:
    return f"[{kind}](schemas/{file_of(kind)})" if kind in MESSAGES else PLAIN[kind][0]


def _arguments(form: type[msgspec.Struct]) -> str:
    schema = msgspec.json.schema(form)
    made = schema["$defs"][form.__name__]
    required = made.get("required", ())
    return "; ".join(
        f"`{name}`: {_said(value)}{', required' if name in required else ''}"
        for name, value in made["properties"].items()
    )


def _said(value: dict[str, Any]) -> str:
    """Say what a value may be, and what it is when left out."""
    kinds = [kind for kind in value.get("anyOf", [value]) if kind.get("type") != "null"]
    words = " or ".join(_kind(kind) for kind in kinds)
    default = value.get("default")
    return words if default is None or default == "" else f"{words}, default {json.dumps(default)}"


def _kind(value: dict[str, Any]) -> str:
    if "enum" in value:
        return " or ".join(f"`{word}`" for word in value["enum"])
    word = _WORDS[value["type"]]
    low, high = value.get("minimum", value.get("exclusiveMinimum")), value.get("maximum")
    above = "more than " if "exclusiveMinimum" in value else ""
    if high is not None:
        return f"{word}, {above}{low} to {high}"
    return word if low is None else f"{word}, {above or 'at least '}{low}"
