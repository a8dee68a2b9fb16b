"""What a pipeline is told to do, as one record: its cameras, how they take part, and what becomes of answers. Pure.

A pipeline gets one when it is made and another whenever the configuration changes; what is not in it ends. Cameras are
opened and closed at capture by whoever gives the record, not by the pipeline.
"""

from __future__ import annotations

import msgspec

from agent.loop.eye import NOTHING_SEEN, Remembered, SeeingSettings
from agent.loop.plan import CameraPlan
from agent.types import CameraName


class CameraSetup(msgspec.Struct, frozen=True):
    """One camera. ``lossless``: every frame counts. ``remembered``: what a pipeline that had it before knows of it."""

    plan: CameraPlan = CameraPlan()
    lossless: bool = False
    remembered: Remembered = NOTHING_SEEN


class PipelineSetup(msgspec.Struct, frozen=True):
    """A pipeline. ``in_flight``: frames that are with its worker at a time."""

    cameras: dict[CameraName, CameraSetup]
    in_flight: int = 3
    seeing: SeeingSettings = SeeingSettings()
