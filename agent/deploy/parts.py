"""What every pipeline's driver shares: the journal, the lanes, the clock, and the turn. Control thread only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from typing import Protocol

from agent.deploy.journal import Journal
from agent.deploy.lanes import Lane, Message
from agent.deploy.loading import Loader
from agent.deploy.ports import FetchPort, StorePort
from agent.deploy.ranking import Ranking
from agent.deploy.records import DeploymentStatus, DeploySettings
from agent.types import Digest, PipelineName


class Post(Protocol):
    """Brings a message to the control thread."""

    def __call__(self, message: Message, *, key: Hashable | None = None) -> None:
        """Post; any thread."""
        ...


class Turn:
    """One deployment at a time per device.

    Trials would measure one another, a probation's verdict on latency must be alone on the machine, and what a fetch
    brought has no slot yet that keeps it from being collected. Who asks waits in order; a pipeline asks at most once.
    """

    def __init__(self) -> None:
        self.holder: PipelineName | None = None
        self._waiting: dict[PipelineName, Callable[[], None]] = {}

    def ask(self, pipeline: PipelineName, start: Callable[[], None]) -> PipelineName | None:
        """Call ``start`` when it is the pipeline's turn: at once (None is returned), or after the holder returned."""
        if self.holder is None or self.holder == pipeline:
            self.holder = pipeline
            start()
            return None
        self._waiting[pipeline] = start
        return self.holder

    def give_up(self, pipeline: PipelineName) -> None:
        """End the pipeline's turn, or its waiting for it; the next one starts."""
        self._waiting.pop(pipeline, None)
        if self.holder != pipeline:
            return
        self.holder = next(iter(self._waiting), None)
        if self.holder is not None:
            self._waiting.pop(self.holder)()


@dataclass
class Parts:
    """Lent to each driver by the deployer. Nobody changes it but :meth:`renew`.

    ``settings``, and with them ``loader`` and ``trial``, are replaced as a whole; what is under way goes on by those
    that it began with. Any thread may read them.

    ``keep``: digests that no collection may touch (any thread). ``report``: a pipeline's new status, at each change of
    its state. ``random``: 0..1, for jitter. ``available``: bytes of memory that a new process can take, None: not told.
    ``now_ns`` is monotonic, ``now_ms`` UTC.
    """

    journal: Journal
    store: StorePort
    fetch: FetchPort
    loader: Loader
    trial: Ranking
    settings: DeploySettings
    jobs: Lane
    restore: Lane
    turn: Turn
    post: Post
    keep: Callable[[], Set[Digest]]
    report: Callable[[DeploymentStatus], None]
    now_ns: Callable[[], int]
    now_ms: Callable[[], int]
    random: Callable[[], float]
    clock_doubt: Callable[[], str | None]
    """Why the clock is not believed, in words; None when it is."""
    available: Callable[[], int | None]

    def renew(self, settings: DeploySettings) -> None:
        """Go by other settings from now on. Control thread only."""
        self.settings = settings
        self.loader = self.loader.under(settings)
        self.trial = self.trial.under(settings)
