"""The threads of deployment: one inbox for the control thread, and lanes for what takes long.

Control state has one owner, the thread that empties the :class:`Inbox`; everything else posts to it. A :class:`Lane`
runs blocking jobs one after another and hands each result back. Two lanes, so that a current model whose worker died
is restarted at once while a fetch is still running. Bounds: messages with a key replace one another (progress,
samples), requests of operators are refused beyond :data:`REQUESTS`; what remains are results of jobs and events that
the deployer's own orders caused, a handful for each.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

import structlog

from agent.errors import DeploymentRefused, LookoutError

T = TypeVar("T")
Message = Callable[[], None]

REQUESTS = 64
JOBS = 256

log = structlog.get_logger(part="deploy")


class InternalError(LookoutError):
    """A job broke on a bug; its deployment fails, the agent goes on."""

    code = "internal"


class Cancelled(LookoutError):
    """The job was told to stop: a newer deploy, a cancel, or the end of the agent."""

    code = "cancelled"


class Cancel:
    """Tells one deployment's jobs to stop: the event for the fetch, the worker's end for a trial that blocks in it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._lock = threading.Lock()
        self._kill: Callable[[str], None] | None = None

    def bind(self, kill: Callable[[str], None] | None) -> None:
        """Name what ends the blocking call that comes next; None: nothing blocks any more."""
        with self._lock:
            self._kill = kill
        self.check()

    def cancel(self, reason: str) -> None:
        """Stop; any thread, idempotent."""
        self.event.set()
        with self._lock:
            kill, self._kill = self._kill, None
        if kill is not None:
            kill(reason)

    def check(self) -> None:
        """Raise :class:`Cancelled` once cancelled."""
        if self.event.is_set():
            raise Cancelled("cancelled")


class Inbox:
    """Messages for one reader, in order; a keyed message takes the place of an unread one with its key."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._messages: collections.OrderedDict[Hashable, Message] = collections.OrderedDict()
        self._requests = 0

    def post(self, message: Message, *, key: Hashable | None = None) -> None:
        """Add a message; any thread, never blocks."""
        with self._condition:
            self._messages[key if key is not None else object()] = message
            self._condition.notify()

    def request(self, message: Message) -> None:
        """Add an operator's request. Raises :class:`DeploymentRefused` when too many wait."""
        with self._condition:
            if self._requests >= REQUESTS:
                raise DeploymentRefused(f"busy: {REQUESTS} requests wait already; try again in a moment")
            self._requests += 1
            self._messages[object()] = lambda: self._run_request(message)
            self._condition.notify()

    def _run_request(self, message: Message) -> None:
        with self._condition:
            self._requests -= 1
        message()

    def receive(self, timeout_s: float | None) -> Message | None:
        """Return the next message, or None when ``timeout_s`` has passed; the reader only."""
        with self._condition:
            if not self._messages:
                self._condition.wait(timeout_s)
            return self._messages.popitem(last=False)[1] if self._messages else None


class Lane:
    """One thread that runs blocking jobs in order. A job's result, or the LookoutError it raised, goes to ``done``."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(JOBS)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[T | LookoutError], None]) -> None:
        """Queue ``job``; ``done`` is called on this lane's thread and should only post."""
        self._jobs.put_nowait(lambda: done(_guarded(job)))

    def stop(self, timeout_s: float) -> bool:
        """Let the running job end, skip the others; return whether the thread ended in time."""
        while True:
            try:
                self._jobs.get_nowait()
            except queue.Empty:
                break
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _guarded(job: Callable[[], T]) -> T | LookoutError:
    """Run a job. The supervisor's last line: a bug must end a deployment, not the thread that ends deployments."""
    try:
        return job()
    except LookoutError as error:
        return error
    except Exception as error:
        log.exception("job.broke")
        return InternalError(f"{type(error).__name__}: {error}; this is a bug, please report it with the log")
