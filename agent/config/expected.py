"""What a change lets each camera do, which its probation then asks of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agent.config.schema import Camera, Config

Compared = Literal["own", "sum", "no"]


class Expected(msgspec.Struct, frozen=True):
    """What a change lets one camera do.

    ``anew``: added, or shows something else: it must stream. ``asked_fps``: the rate that the change asks for;
    ``source_fps``: the one configured. ``compared``: whose answers are compared with before: its own, the sum of
    ``pipeline``, or nobody's.
    """

    pipeline: str
    anew: bool = False
    source_fps: float | None = None
    asked_fps: float | None = None
    compared: Compared = "own"


def expectations(before: Config | None, after: Config) -> dict[str, Expected]:
    """Return what is expected of each camera of ``after``; ``before`` None: what ran before is not known."""
    owners = _owners(after)
    if before is None:
        return {
            name: Expected(owners[name], source_fps=_source_fps(camera), compared="no")
            for name, camera in after.cameras.items()
        }
    owned, moved = _owners(before), _shared_anew(before, after)
    return {
        name: _expected(
            before.cameras.get(name), camera, _compared(name, before, after, owned, owners, moved), owners[name]
        )
        for name, camera in after.cameras.items()
    }


def _expected(was: Camera | None, camera: Camera, compared: Compared, pipeline: str) -> Expected:
    fps = _source_fps(camera)
    anew = was is None or _shows(was) != _shows(camera)
    asks = fps is not None and (was is None or _source_fps(was) != fps)
    return Expected(pipeline, anew, fps, fps if asks else None, "no" if anew else compared)


def _compared(
    name: str,
    before: Config,
    after: Config,
    owned: Mapping[str, str],
    owners: Mapping[str, str],
    moved: frozenset[str],
) -> Compared:
    pipeline = owners[name]
    if owned.get(name) != pipeline or before.pipelines[pipeline].model != after.pipelines[pipeline].model:
        return "no"
    if before.cameras[name].motion.enabled or after.cameras[name].motion.enabled:
        return "no"
    return "sum" if pipeline in moved else "own"


def _owners(config: Config) -> dict[str, str]:
    return {camera: name for name, pipeline in config.pipelines.items() for camera in pipeline.cameras}


def _shared_anew(before: Config, after: Config) -> frozenset[str]:
    """Return the pipelines whose cameras share the worker differently."""

    def shares(config: Config, pipeline: str) -> dict[str, Any]:
        cameras = config.pipelines[pipeline].cameras if pipeline in config.pipelines else ()
        return {name: (config.cameras[name].weight, _source_fps(config.cameras[name])) for name in cameras}

    return frozenset(name for name in after.pipelines if shares(before, name) != shares(after, name))


def _source_fps(camera: Camera) -> float | None:
    fps = getattr(camera.source, "fps", None)
    return None if fps is None or getattr(camera.source, "pace", "") == "lossless" else float(fps)


def _shows(camera: Camera) -> dict[str, Any]:
    """Return what of a source says what it shows; how fast and how patiently it is read is none of that."""
    how = {"fps", "pace", "transport", "open_timeout_ms", "read_timeout_ms", "loop"}
    return camera.source.model_dump(exclude=how)
