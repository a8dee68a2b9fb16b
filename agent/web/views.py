"""What the page is told of cameras, deployments and the configuration, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from agent.clock import rfc3339
from agent.config import describe
from agent.config.keypath import KeyPath, dotted
from agent.config.layers import DEFAULT, Loaded, Origin
from agent.config.schema import Camera, Config, Zone
from agent.config.shown import shown
from agent.deploy.machine import TERMINAL, State
from agent.deploy.records import DeploymentStatus
from agent.loop.records import CameraStatistics, PipelineStatistics
from agent.types import CameraName

if TYPE_CHECKING:
    from agent.deploy.journal import HistoryEntry

MAX_HISTORY = 20
_ENDS = TERMINAL - {State.IDLE}

Points = Sequence[tuple[float, float]]
Size = tuple[int, int] | None


def cameras(config: Config, pipelines: Iterable[PipelineStatistics]) -> list[dict[str, Any]]:
    """Return each camera: how it does, and what is drawn on its picture, as parts of it."""
    seen = {name: one for pipeline in pipelines for name, one in pipeline.cameras.items()}
    return [
        _camera(config, name, str(watching), seen.get(CameraName(name)))
        for watching, pipeline in config.pipelines.items()
        for name in pipeline.cameras
    ]


def _camera(config: Config, name: str, pipeline: str, seen: CameraStatistics | None) -> dict[str, Any]:
    size = None if seen is None else seen.size
    mine = {zone_name: zone for zone_name, zone in config.zones.items() if zone.camera == name}
    return {
        "name": name,
        "pipeline": pipeline,
        "size": size,
        "health": "opening" if seen is None else seen.health,
        "reason": "" if seen is None else seen.reason,
        "conditions": () if seen is None else seen.conditions,
        "fps": 0.0 if seen is None else round(seen.fps, 1),
        "zones": {one: _zone(zone, zone.polygon, size) for one, zone in mine.items() if zone.polygon},
        "lines": {one: _zone(zone, zone.line, size, "line") for one, zone in mine.items() if zone.line},
        "mask": _masks(config.cameras[name], size),
    }


def _zone(zone: Zone, points: Points | None, size: Size, shape: str = "polygon") -> dict[str, Any]:
    return {shape: parts_of(points or (), size), "ignore": zone.ignore, "labels": zone.labels}


def _masks(camera: Camera, size: Size) -> list[list[tuple[float, float]] | None]:
    return [parts_of(mask, size) for mask in camera.masks]


def parts_of(points: Points, size: Size) -> list[tuple[float, float]] | None:
    """Return points as parts of the picture (0 to 1); None where they are pixels of a picture not yet seen."""
    if all(value <= 1 for point in points for value in point):
        return [(x, y) for x, y in points]
    if size is None:
        return None
    return [(round(min(1.0, x / size[0]), 5), round(min(1.0, y / size[1]), 5)) for x, y in points]


def deployment(status: DeploymentStatus, history: Sequence[HistoryEntry]) -> dict[str, Any]:
    """Return where a pipeline stands, and how its last deployments ended, the newest first."""
    plain: dict[str, Any] = msgspec.to_builtins(status, enc_hook=str)
    plain["history"] = [
        {
            "at": rfc3339(entry.at_ms),
            "state": entry.state.value,
            "reference": entry.reference,
            "release": _plain(entry.release),
            "reason": entry.reason,
            "receipt": _plain(entry.receipt),
        }
        for entry in [entry for entry in history if entry.state in _ENDS][:MAX_HISTORY]
    ]
    return plain


def _plain(record: msgspec.Struct | None) -> Any:
    return None if record is None else msgspec.to_builtins(record, enc_hook=str)


def config_keys(loaded: Loaded) -> list[dict[str, Any]]:
    """Return every key in force: its value, where that comes from, and what is known of the key. No secrets."""
    return [_key(path, value, loaded.sources) for path, value in _leaves(shown(loaded), ())]


def _leaves(value: Any, path: KeyPath) -> Iterable[tuple[KeyPath, Any]]:
    """Yield each key that is no section; a section that is not set is one."""
    if isinstance(value, Mapping) and (not path or describe.children(path) or _is_map(path)):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    else:
        yield path, value


def _is_map(path: KeyPath) -> bool:
    """Tell whether a path leads to a map of names to sections."""
    return bool(describe.children((*path, "*")))


def _key(path: KeyPath, value: Any, sources: Mapping[str, Origin]) -> dict[str, Any]:
    known = describe.at(path)
    origin = _origin(path, sources)
    first = known[0] if known else None
    return {
        "key": dotted(path),
        "value": value,
        "source": origin.layer,
        "where": origin.where,
        "default": "" if first is None else first.default,
        "applies": "" if first is None else first.applies,
        "remote": first is not None and first.remote,
        "description": "" if first is None else first.description,
    }


def _origin(path: KeyPath, sources: Mapping[str, Origin]) -> Origin:
    """Return where a value was written: itself, or, of a list or a plain map, something in it."""
    name = dotted(path)
    found = sources.get(name)
    if found is not None:
        return found
    inside = (origin for key, origin in sources.items() if key.startswith((f"{name}.", f"{name}[")))
    return next(inside, DEFAULT)
