"""The fetch process: ``python -m agent.registry.fetch``, started by the agent for one fetch.

It is apart because it parses what a network sends, and because TUF and HTTP would sit in the agent's memory for ever.
It holds no secrets but the registry's. One conversation: ``Hello``, then one ``Fetch`` or ``Survey``; ``Refreshed``
once the signed metadata is on the disk, ``Progress`` a few times a second, and ``Fetched``, ``Surveyed`` or ``Error``.
The agent cancels by killing it: what is in the store stays whole.
"""

from __future__ import annotations

import agent.lean  # noqa: F401 - first, for its effect on what follows

import os
from importlib.metadata import version

import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildError, LookoutError
from agent.process import lifeline
from agent.process.channel import Channel, ChannelClosed
from agent.process.messages import Error, Fetch, Fetched, Hello, Progress, Survey, Surveyed
from agent.registry.bring import bring
from agent.registry.survey import survey

PROGRESS_EVERY_NS = NS_PER_S // 4

log = structlog.get_logger(part="fetch")


class Reporter:
    """Passes progress on, at most every :data:`PROGRESS_EVERY_NS`; a change of stage and the end always."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage = ""
        self._told_ns = 0

    def __call__(self, progress: Progress) -> None:
        """Send, or leave out."""
        now = monotonic_ns()
        whole = progress.done_bytes == progress.total_bytes
        if progress.stage == self._stage and not whole and now - self._told_ns < PROGRESS_EVERY_NS:
            return
        self._stage, self._told_ns = progress.stage, now
        self._channel.send(progress)


def serve(channel: Channel) -> None:
    """Answer the one request that the agent sends."""
    versions = {name: version(name) for name in ("tuf", "requests")}
    channel.send(Hello("fetch", os.getpid(), versions=versions))
    received = channel.receive()
    if received is None or not isinstance(received[0], Fetch | Survey):
        raise ChildError(f"the fetch process was sent {received!r} where a Fetch or a Survey was due")
    request = received[0]
    try:
        if isinstance(request, Survey):
            answer: Fetched | Surveyed = survey(request.access, request.references, request.releases, channel.send)
        else:
            answer = bring(request.access, request.reference, Reporter(channel), channel.send)
    except ChannelClosed:
        raise
    except LookoutError as error:
        log.warning("fetch.failed", code=error.code)
        channel.send(Error.of(error))
    else:
        channel.send(answer)


def main() -> None:
    """Run until the answer was given or the agent is gone."""
    lifeline.run("fetch", serve)


if __name__ == "__main__":
    main()
