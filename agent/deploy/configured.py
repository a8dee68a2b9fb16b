"""What the configuration says of one pipeline at this moment. Control thread only.

The parts of a driver share it and look at it whenever they act, so that a change reaches all of them at once.
"""

from __future__ import annotations

from agent.deploy.records import PipelineSettings


class Configured:
    """Holds the newest settings; whoever replaces ``now`` tells the parts that have to do something about it."""

    def __init__(self, settings: PipelineSettings) -> None:
        self.name = settings.name
        self.now = settings
