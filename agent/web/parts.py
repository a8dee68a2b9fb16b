"""What the page needs of the agent: functions and records that the composition root hands in.

Functions without a word of their own may take a moment (they ask other threads, or the disk): the page calls them on
its helpers, never on its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.config.layers import Loaded
from agent.deploy.journal import HistoryEntry
from agent.deploy.records import DeploymentStatus
from agent.link.messages import Telemetry
from agent.logs.setup import Logging
from agent.loop.records import PipelineStatistics
from agent.supervise.status import Status
from agent.types import PipelineName
from agent.web.credentials import Files
from agent.web.studio import Cameras


class Commands(Protocol):
    """Who runs commands, those of the broker too."""

    def ask(self, name: str, args: dict[str, Any], take: Callable[[bytes], None]) -> None:
        """Run a command; ``take`` gets its answer as JSON, once, from any thread."""
        ...


@dataclass(frozen=True)
class Settings:
    """The configuration's section ``web``. ``files``: where secrets lie; ``token``: the one that it holds itself."""

    page: bool
    metrics: bool
    host: str
    port: int
    names: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    files: Files = field(default_factory=Files)
    may_change: bool = False

    @property
    def asks_token(self) -> bool:
        """Whether who looks must show a token."""
        return self.token is not None or self.files.token is not None


@dataclass(frozen=True)
class Agent:
    """The agent, as the page sees it."""

    version: str
    status: Callable[[], Status]
    pipelines: Callable[[], tuple[PipelineStatistics, ...]]
    memory_mb: Callable[[], Mapping[str, float]]
    telemetry: Callable[[], Telemetry | None]
    """Answers at once."""
    loaded: Callable[[], Loaded]
    """Answers at once."""
    cameras: Cameras
    """Answers at once."""
    deployments: Callable[[], Sequence[DeploymentStatus]]
    history: Callable[[PipelineName], Sequence[HistoryEntry]]
    logs: Logging
    commands: Commands
    metrics: Callable[[], bytes] | None = None
    """The text for Prometheus."""
