"""The pipelines that run, by name: read on any thread, changed on the steward's only.

Whoever iterates sees those of one moment, whatever comes and goes meanwhile.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import overload

from agent.loop.pipeline import Pipeline
from agent.types import PipelineName


class Names(Sequence[PipelineName]):
    """Their names, at each moment."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def __len__(self) -> int:
        return len(self._pipelines)

    @overload
    def __getitem__(self, index: int) -> PipelineName: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PipelineName]: ...
    def __getitem__(self, index: int | slice) -> PipelineName | Sequence[PipelineName]:
        """Return the name at a place, in the order in which they came."""
        return tuple(self._pipelines)[index]

    def __iter__(self) -> Iterator[PipelineName]:
        return iter(tuple(self._pipelines))


class Pipelines(Mapping[PipelineName, Pipeline]):
    """See the module."""

    def __init__(self, pipelines: Mapping[PipelineName, Pipeline] | None = None) -> None:
        self._now = dict(pipelines or {})
        self.names = Names(self)

    def __getitem__(self, name: PipelineName) -> Pipeline:
        return self._now[name]

    def __iter__(self) -> Iterator[PipelineName]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def values(self) -> ValuesView[Pipeline]:
        """Return the pipelines of this moment."""
        return self._now.values()

    def items(self) -> ItemsView[PipelineName, Pipeline]:
        """Return the pipelines of this moment with their names."""
        return self._now.items()

    def add(self, name: PipelineName, pipeline: Pipeline) -> None:
        """Have one more; what was looked at before stays as it was."""
        self._now = {**self._now, name: pipeline}

    def remove(self, name: PipelineName) -> Pipeline:
        """Have one less, and return it. Raises KeyError."""
        gone = self._now[name]
        self._now = {other: one for other, one in self._now.items() if other != name}
        return gone

    def start(self) -> None:
        """Start all of them."""
        for pipeline in self._now.values():
            pipeline.start()

    def stop(self) -> None:
        """Stop all of them, at the end of the agent; idempotent."""
        for pipeline in self._now.values():
            pipeline.stop()
