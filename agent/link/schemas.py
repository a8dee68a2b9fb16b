"""JSON Schemas of everything on the wire, made from the structs themselves. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.link.forms import FORMS
from agent.link.messages import (
    CameraState,
    Command,
    CommandResult,
    Deploy,
    Desired,
    Detections,
    EventMessage,
    Info,
    LogLine,
    Progress,
    Reported,
    Telemetry,
    Update,
)

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "info": Info,
    "state": CameraState,
    "detections": Detections,
    "events": EventMessage,
    "telemetry": Telemetry,
    "deploy": Deploy,
    "update": Update,
    "desired": Desired,
    "reported": Reported,
    "logs": LogLine,
    "cmd": Command,
    "result": CommandResult,
    "progress": Progress,
    **{f"cmd/{name}": form for name, form in FORMS.items()},
}
"""Topic (or ``cmd/<part>/<verb>`` for the arguments of a verb) → its message."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of every message, by its key in :data:`MESSAGES`."""
    return {name: msgspec.json.schema(message) for name, message in MESSAGES.items()}
