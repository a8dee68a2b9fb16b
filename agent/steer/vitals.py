"""How the device does, as a probation looks at it: the connection, and each camera's frames. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.config.confirm import CameraVitals, Vitals
from agent.link.standing import SessionStatistics
from agent.loop.records import CameraStatistics, PipelineStatistics
from agent.types import CameraName


def vitals(
    at_ns: int,
    session: SessionStatistics,
    pipelines: Iterable[PipelineStatistics],
    limits: Mapping[CameraName, float | None],
) -> Vitals:
    """Sum the parts' statistics up; ``limits``: the frame rate that each camera is held to now, None: to none."""
    return Vitals(
        at_ns,
        connected=session.state == "connected",
        session=session.session,
        cameras={
            str(name): _camera(camera, limits.get(name)) for one in pipelines for name, camera in one.cameras.items()
        },
        trouble="" if session.last_error is None else session.last_error.message,
    )


def _camera(camera: CameraStatistics, limit_fps: float | None) -> CameraVitals:
    # What a newer frame replaced in the agent was captured already; what capture had no room for was not.
    seen = camera.captured + camera.skipped - camera.replaced
    return CameraVitals(camera.health, camera.reason, seen, camera.answered, camera.fps, limit_fps)
