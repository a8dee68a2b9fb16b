"""The frame rates that the device allows itself: caps, quiet hours and the governor, brought to the pipelines.

What decides is pure (:mod:`agent.loop.plan`, :mod:`agent.loop.governor`); here the host and the clock are read, every
:data:`EVERY_S` on the telemetry's thread, and a pipeline is told where something changed. The time of day is looked at
anew each time, so that a clock that jumps is right from the next look on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from agent.clock import monotonic_ns
from agent.loop.governor import Governed, Governor, GovernorSettings, Strain
from agent.loop.plan import CameraPlan, rate_limit
from agent.telemetry.rows import GovernorRow
from agent.types import CameraName, PipelineName

log = structlog.get_logger(part="governor")

EVERY_S = 5.0

SENSORS = ("temperature_c", "throttled", "load_1m")
"""The rows of telemetry that the governor looks at."""

Plans = Mapping[PipelineName, Mapping[CameraName, CameraPlan]]
Limits = dict[CameraName, float | None]


def local_minute() -> int:
    """Return the minute of the day, local time."""
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


class Rates:
    """See the module. ``read`` gives the rows of :data:`SENSORS`, ``limit`` reaches a pipeline.

    ``changed`` is called where the governor's level changed. ``governor`` None: caps and quiet hours only.
    """

    def __init__(
        self,
        plans: Plans,
        governor: Governor | None,
        *,
        read: Callable[[], Mapping[str, float | None]],
        cores: int,
        limit: Callable[[PipelineName, Limits], None],
        changed: Callable[[], None] = lambda: None,
        minute: Callable[[], int] = local_minute,
    ) -> None:
        self._lock = threading.Lock()
        self._plans = plans
        self._governor = governor
        self._read = read
        self._cores = cores
        self._limit = limit
        self._changed = changed
        self._minute = minute
        self._told: dict[PipelineName, Limits] = {
            name: {camera: plan.max_fps for camera, plan in cameras.items()} for name, cameras in plans.items()
        }
        self._governed = Governed()
        self._senses = False

    def look(self) -> None:
        """Look at host and clock, and tell the pipelines what changed. The telemetry's thread."""
        with self._lock:
            self._govern()
            self._tell()

    def reconfigure(self, plans: Plans, governor: GovernorSettings | None) -> None:
        """Go by other plans and bounds, at once; any thread. The pipelines know their cameras already."""
        with self._lock:
            self._told = {
                name: limits for name, limits in self._told.items() if self._plans.get(name) == plans.get(name)
            }
            self._plans = plans
            if governor is None:
                self._governor, self._governed, self._senses = None, Governed(), False
            elif self._governor is None:
                self._governor = Governor(governor)
            else:
                self._governor.reconfigure(governor)
            self._tell()

    def _tell(self) -> None:
        """Tell each pipeline whose cameras are bounded otherwise than it was told."""
        minute = self._minute()
        for name, cameras in self._plans.items():
            limits = {camera: rate_limit(plan, minute, self._governed.max_fps) for camera, plan in cameras.items()}
            if limits != self._told.get(name):
                self._told = {**self._told, name: limits}
                log.info("rates.limited", pipeline=name, fps=limits)
                self._limit(name, limits)

    def row(self) -> GovernorRow | None:
        """Return the governor's state for telemetry; None where it is off or has nothing to look at. Any thread."""
        if self._governor is None or not self._senses:
            return None
        return GovernorRow(self._governed.level, self._governed.reason, self._governed.max_fps)

    def limits(self) -> Limits:
        """Return the frame rate that each camera is held to now, None: to none. Any thread."""
        return {camera: fps for limits in tuple(self._told.values()) for camera, fps in limits.items()}

    def problem(self) -> str | None:
        """Say why the device works less; None where it does not. Any thread."""
        governed = self._governed
        if not governed.level:
            return None
        return f"governor: at most {governed.max_fps:g} frames a second and camera, because {governed.reason}"

    def _govern(self) -> None:
        if self._governor is None:
            return
        strain = strain_of(self._read(), self._cores)
        self._senses = self._governor.sees(strain)
        before, self._governed = self._governed, self._governor.judge(strain, monotonic_ns())
        if self._governed.level != before.level:
            governed = self._governed
            log.warning("governor.step", level=governed.level, max_fps=governed.max_fps, reason=governed.reason)
            self._changed()


def strain_of(rows: Mapping[str, float | None], cores: int) -> Strain:
    """Return what the governor looks at, of telemetry's rows."""
    throttled, load = rows.get("throttled"), rows.get("load_1m")
    return Strain(
        temperature_c=rows.get("temperature_c"),
        throttled=None if throttled is None else throttled > 0,
        load=None if load is None else load / cores,
    )
