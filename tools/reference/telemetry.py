"""The tables of ``docs/telemetry.md``, made from the rows themselves. Pure but for a look at this host's files."""

from __future__ import annotations

import typing
from pathlib import Path

from agent.loop.records import Stage
from agent.telemetry.host import host_probes
from agent.telemetry.names import metric_name
from agent.telemetry.rows import PLACES, SCOPES, Column, columns
from tools.reference.text import table

_STAGES = {
    "capture": "from the camera to the agent, of every frame that came",
    "wait": "between the worker's stages",
    "preprocess": "making the model's input of a frame",
    "run": "the model itself",
    "postprocess": "decoding, NMS and the way back",
    "see": "tracks, zones and events",
    "latency": "from the camera to the answer, all but `see`",
}


def host_table() -> str:
    """Return the rows of the host."""
    return table(
        ("key in `host`", "unit", "what", "some hosts lack it", "in Home Assistant", "in Prometheus"),
        (
            (
                f"`{probe.key}`",
                probe.unit,
                probe.description,
                "yes" if probe.may_lack else "",
                "shown" if probe.shown else "hidden",
                f"`{metric_name('', probe.column)}`",
            )
            for probe in host_probes(Path("/"))
        ),
    )


def row_table() -> str:
    """Return the rows that there is one of for each of something."""
    return table(
        ("place in the message", "unit", "what", "in Prometheus"),
        (
            (f"`{PLACES[scope]}.{'.'.join(column.path)}`", column.unit, column.description, _metric(scope, column))
            for scope, struct in SCOPES.items()
            for column in columns(struct)
        ),
    )


def stage_table() -> str:
    """Return the stages of a frame's way."""
    return table(("stage", "what"), ((f"`{stage}`", _STAGES[stage]) for stage in typing.get_args(Stage)))


def _metric(scope: str, column: Column) -> str:
    if column.kind == "window":
        return ""
    labels = [scope] if "<" in PLACES[scope] else []
    labels += [column.key] if column.kind == "state" else []
    return f"`{metric_name(scope, column)}{'{' + ', '.join(labels) + '}' if labels else ''}`"
