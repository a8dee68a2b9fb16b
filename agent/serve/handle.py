"""The agent's side of a worker: one process with one loaded release, from its start to its reaping.

``start`` blocks until the model is warm. From then on the thread ``lookout-<name>`` reads every message and calls the
listener of the moment: nobody during a trial (its files are asked for with :meth:`WorkerHandle.infer_file`), then the
pipeline. All other methods may be called from any thread and, but for ``infer_file`` and ``close``, do not block. When
the process is gone, each listener is told ``died`` once, after it was *reaped*: nothing reads its rings any more.
"""

from __future__ import annotations

import itertools
import queue
import threading
from pathlib import Path
from typing import Protocol

import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildDied, ChildError, ChildHung, InputError, LookoutError, ModelError, OutputError
from agent.process.channel import ChannelClosed
from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import (
    PROTOCOL,
    AnyMessage,
    AttachRing,
    DetachRing,
    Error,
    Hello,
    Infer,
    InferFile,
    Load,
    Message,
    Output,
    Ready,
)
from agent.process.priority import IDLE_NICE, may_lower_nice
from agent.process.ring import RingMemory
from agent.types import CameraName, FrameRef, ReleaseId, Role

log = structlog.get_logger(part="serve")

MODULE = "agent.serve.main"
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}  # an arena a thread would cost megabytes for nothing
CANDIDATE_OOM = 900
SERVING_OOM = 500
ENDING_S = 2.0
"""How long a worker that closed its channel may take to end."""

FILE_REQUESTS = 1 << 62
"""Numbers of requests for files begin here; frames' are below."""

ERRORS: dict[str, type[LookoutError]] = {kind.code: kind for kind in (InputError, ModelError, OutputError)}


class WorkerEvents(Protocol):
    """Who gets a worker's answers; called on its reader's thread (``died`` also from ``listen``); must not block."""

    def output(self, worker: WorkerHandle, message: Output) -> None:
        """Hand over an answer; answers come in the order of the requests."""
        ...

    def failed(self, worker: WorkerHandle, message: Error) -> None:
        """Tell that a request (``message.request``) has no answer, and why."""
        ...

    def died(self, worker: WorkerHandle, reason: str) -> None:
        """Tell that the process is gone and reaped; ``reason`` is in words."""
        ...


class WorkerHandle:
    """A worker. Get one from :meth:`start`; it belongs to whoever started it, who closes it."""

    def __init__(self, child: Child, load: Load, hello: Hello, ready: Ready) -> None:
        self.name = child.name
        self.pid = child.pid
        self.spec = load.spec
        self.release: ReleaseId = load.spec.release
        self.options = load.options
        self.hello = hello
        self.ready = ready
        self._child = child
        self._lock = threading.Lock()
        self._events: WorkerEvents | None = None
        self._kill_reason: str | None = None
        self._dead: str | None = None
        self._closing = False
        self._file_numbers = itertools.count(FILE_REQUESTS)
        self._file_answers: dict[int, queue.SimpleQueue[Output | LookoutError]] = {}
        self._reader = threading.Thread(target=self._read, name=f"lookout-{self.name}", daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, spawner: Spawner, *, name: str, load: Load, candidate: bool, timeout_s: float) -> WorkerHandle:
        """Start a worker process and wait until the model is warm.

        A ``candidate`` runs at low priority, where it may be lifted again, and dies first when memory is short. Raises
        :class:`ModelError` with the worker's own words, :class:`ChildDied`, :class:`ChildHung` after ``timeout_s``,
        :class:`ChildError` where the host refuses another process. None of them leaves a process behind.
        """
        nice = IDLE_NICE if candidate and may_lower_nice() else 0
        oom = CANDIDATE_OOM if candidate else SERVING_OOM
        child = spawner.start(ChildSpec(name, MODULE, nice=nice, oom_score_adj=oom, env=ENVIRONMENT))
        try:
            hello, ready = _get_ready(child, load, timeout_s)
        except BaseException:
            child.kill()
            child.close()
            raise
        log.info(
            "worker.ready", worker=name, pid=child.pid, model=load.spec.release.model, version=load.spec.release.version
        )
        return cls(child, load, hello, ready)

    def __repr__(self) -> str:
        return f"<{self.name} {self.release.model}:{self.release.version} pid {self.pid}>"

    @property
    def alive(self) -> bool:
        """Whether it can be asked: neither dead nor killed nor closing."""
        return self._dead is None and self._kill_reason is None and not self._closing

    def listen(self, events: WorkerEvents | None) -> None:
        """Let ``events`` have every answer from now on (None: nobody); told at once where the worker died before."""
        with self._lock:
            self._events = events
            dead = self._dead
        if dead is not None and events is not None and not self._closing:
            events.died(self, dead)

    def attach_ring(self, camera: CameraName, generation: int, ring: RingMemory) -> None:
        """Let it read this camera's frames of this generation."""
        self._send(AttachRing(camera, generation, ring.width, ring.height, ring.slots), ring.fd)

    def detach_ring(self, camera: CameraName, generation: int) -> None:
        """Let it forget them."""
        self._send(DetachRing(camera, generation))

    def infer(self, request: int, frame: FrameRef, role: Role) -> None:
        """Ask for one frame; ``output`` or ``failed`` follows, or ``died``. ``request`` is below FILE_REQUESTS."""
        self._send(Infer(request, frame.camera, frame.generation, frame.slot, role))

    def infer_file(self, path: Path, timeout_s: float) -> Output:
        """Ask for one picture and wait for the answer.

        Raises :class:`InputError` for an unreadable picture, :class:`OutputError`, :class:`ModelError`,
        :class:`ChildDied`, :class:`ChildHung`.
        """
        request = next(self._file_numbers)
        answer: queue.SimpleQueue[Output | LookoutError] = queue.SimpleQueue()
        with self._lock:
            if self._dead is not None:
                raise ChildDied(self._dead)
            self._file_answers[request] = answer
        self._send(InferFile(request, str(path)))
        try:
            outcome = answer.get(timeout=timeout_s)
        except queue.Empty:
            raise ChildHung(f"{self.name}: no answer for {path.name} after {timeout_s:g} s") from None
        finally:
            with self._lock:
                self._file_answers.pop(request, None)
        if isinstance(outcome, LookoutError):
            raise outcome
        return outcome

    def promote(self) -> None:
        """Lift a candidate to a serving worker's priority."""
        try:
            self._child.set_nice(0)
            self._child.set_oom_score_adj(SERVING_OOM)
        except ChildError as error:
            log.warning("worker.not_promoted", worker=self.name, reason=error.message)

    def kill(self, reason: str) -> None:
        """End the process at once; ``died`` follows with this reason, once it is reaped."""
        with self._lock:
            if self._dead is None and self._kill_reason is None:
                self._kill_reason = reason
                self._child.kill()

    def memory_bytes(self) -> int:
        """Return the PSS; 0 once it has ended."""
        return self._child.memory_bytes()

    def resident_bytes(self) -> int:
        """Return the RSS, which the PSS never exceeds; 0 once it has ended."""
        return self._child.resident_bytes()

    def close(self) -> None:
        """Let it finish and end, kill it where it does not; no ``died`` after this. Blocks for seconds; idempotent."""
        self._closing = True
        self._child.close()
        if threading.current_thread() is not self._reader:
            self._reader.join()

    # --- sending and reading -----------------------------------------------------------------------------------------

    def _send(self, message: Message, fd: int | None = None) -> None:
        """Send; a worker that is gone is the reader's to notice, one that does not read its channel is killed."""
        try:
            self._child.channel.send(message, fd)
        except ChannelClosed:
            pass
        except ChildError as error:
            self.kill(error.message)

    def _read(self) -> None:
        problem = ""
        try:
            while (received := self._child.channel.receive()) is not None:
                problem = self._dispatch(received[0]) or problem
        except ChannelClosed:
            pass
        except ChildError as error:
            problem = error.message
            self._child.kill()
        self._end(problem)

    def _dispatch(self, message: AnyMessage) -> str:
        """Pass one message on; return the reason it gives for an end to come, if it does."""
        if isinstance(message, Error) and message.request is None:
            log.error("worker.error", worker=self.name, code=message.code, reason=message.message)
            return message.message
        if not isinstance(message, Output | Error):
            raise ChildError(f"{self.name} sent {type(message).__name__}, which no worker sends: reinstall the agent")
        assert message.request is not None
        if message.request >= FILE_REQUESTS:
            self._answer_file(message.request, message)
        else:
            self._tell(message)
        return ""

    def _tell(self, message: Output | Error) -> None:
        events = self._events
        if events is None:
            return
        if isinstance(message, Output):
            events.output(self, message)
        else:
            events.failed(self, message)

    def _answer_file(self, request: int, message: Output | Error) -> None:
        with self._lock:
            answer = self._file_answers.get(request)
        if answer is not None:
            answer.put(message if isinstance(message, Output) else _as_exception(message))

    def _end(self, problem: str) -> None:
        """Reap the process, then tell whoever waits for something of it."""
        if self._child.wait(ENDING_S) is None and not self._closing:
            self._child.kill()
        self._child.wait(None)
        reason = self._kill_reason or "; ".join(filter(None, (problem, f"{self.name} {self._child.describe_exit()}")))
        with self._lock:
            self._dead = reason
            events = self._events
            waiting = list(self._file_answers.values())
        for answer in waiting:
            answer.put(ChildDied(reason))
        if self._closing:
            return
        log.error("worker.died", worker=self.name, reason=reason, last_words=self._child.last_words())
        if events is not None:
            events.died(self, reason)


class Workers:
    """Starts workers for whoever needs no more than that, and knows which of them live. Any thread."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._lock = threading.Lock()
        self._started: list[WorkerHandle] = []

    def start(self, *, name: str, load: Load, candidate: bool, timeout_s: float) -> WorkerHandle:
        """See :meth:`WorkerHandle.start`."""
        worker = WorkerHandle.start(self._spawner, name=name, load=load, candidate=candidate, timeout_s=timeout_s)
        with self._lock:
            self._started = [*self._living(), worker]
        return worker

    def living(self) -> tuple[WorkerHandle, ...]:
        """Return the workers that can be asked, oldest first."""
        with self._lock:
            return tuple(self._living())

    def providers(self) -> tuple[str, ...]:
        """Return the execution providers that the newest worker's ONNX Runtime offers; none before the first."""
        living = self.living()
        return living[-1].hello.providers if living else ()

    def close(self) -> None:
        """Close those that live, at the end of the agent: all are asked first, so that they end side by side."""
        closers = [
            threading.Thread(target=worker.close, name=f"lookout-close-{worker.name}") for worker in self.living()
        ]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()

    def _living(self) -> list[WorkerHandle]:
        return [worker for worker in self._started if worker.alive]


def _get_ready(child: Child, load: Load, timeout_s: float) -> tuple[Hello, Ready]:
    """Hold the first conversation. Raises as :meth:`WorkerHandle.start`."""
    deadline_ns = monotonic_ns() + int(timeout_s * NS_PER_S)
    hello: Hello | None = None
    try:
        while True:
            received = child.channel.receive(max(0.0, (deadline_ns - monotonic_ns()) / NS_PER_S))
            if received is None:
                raise ChildHung(f"{child.name}: the model was not loaded and warm after {timeout_s:g} s")
            message = received[0]
            if isinstance(message, Hello) and message.protocol == PROTOCOL and hello is None:
                hello = message
                child.channel.send(load)
            elif isinstance(message, Ready) and hello is not None:
                return hello, message
            elif isinstance(message, Error):
                raise _as_exception(message)
            else:
                raise ChildError(f"{child.name} does not speak protocol {PROTOCOL}: agent and worker differ, reinstall")
    except ChannelClosed:
        if child.wait(ENDING_S) is None:
            child.kill()
            child.wait(None)
        raise ChildDied(f"{child.name} died before its model was ready: {child.describe_exit()}") from None


def _as_exception(message: Error) -> LookoutError:
    return ERRORS.get(message.code, ChildError)(message.message, field=message.field)
