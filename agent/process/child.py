"""The one way to start a child process, and the agent's hold on it.

A child is ``python -m <module>`` with a scrubbed environment (a short list of names, never the agent's secrets), its
own session and process group, nothing inherited but its channel, stdin closed, and stdout and stderr in one pipe.
Children start only from the thread ``lookout-spawner``, which lives as long as the agent: the kernel kills a child
when the *thread* that started it ends. A thread ``lookout-child-<name>`` each drains the pipe and reaps the process;
what its group left behind dies with it. ``on_log`` is called on that thread and must not block.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.clock import monotonic_ns
from agent.errors import ChildError
from agent.known_secrets import hide
from agent.process import priority
from agent.process.channel import Channel
from agent.process.command import command, environment
from agent.process.lines import ChildLines
from agent.process.memory import pss_bytes, resident_bytes
from agent.process.messages import LogLevel, Stop

log = structlog.get_logger(part="process")

OnLog = Callable[[str, Mapping[str, Any]], None]

_KILL_WAIT_S = 5.0
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class ChildSpec:
    """What to start: ``name`` for people and logs, ``module`` for ``python -m``, ``env`` beside the inherited names.

    ``nice`` from 10 on also makes disk I/O idle. ``oom_score_adj`` None leaves the agent's own.
    """

    name: str
    module: str
    nice: int = 0
    oom_score_adj: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A running (or ended) child. Any thread may use it; made by :meth:`Spawner.start` only."""

    def __init__(
        self, spec: ChildSpec, process: subprocess.Popen[bytes], pidfd: int, channel: Channel, on_log: OnLog
    ) -> None:
        self.name = spec.name
        self.pid = process.pid
        self.channel = channel
        self._process = process
        self._pidfd = pidfd
        self._on_log = on_log
        self._lines = ChildLines(spec.name, monotonic_ns())
        self._lock = threading.Lock()  # a pid may be signalled only while it is not reaped
        self._status: int | None = None
        self._ended = threading.Event()
        self._killed_by_agent = False
        self._watcher = threading.Thread(target=self._watch, name=f"lookout-child-{spec.name}", daemon=True)
        self._watcher.start()

    def wait(self, timeout_s: float | None) -> int | None:
        """Wait for the end; return the exit status (negative: the signal), None after ``timeout_s``.

        Once this returned a status the process is reaped and its last words are complete.
        """
        return self._status if self._ended.wait(timeout_s) else None

    def kill(self) -> None:
        """SIGKILL the whole process group, stopped or not. Does nothing once the process was reaped."""
        with self._lock:
            if self._status is None:
                self._killed_by_agent = True
                _kill_group(self.pid)

    def set_nice(self, nice: int) -> None:
        """Move the whole process group. Raises :class:`ChildError` where the limit forbids it."""
        with self._lock:
            if self._status is None:
                priority.set_nice(self.pid, nice, self.name)

    def set_oom_score_adj(self, value: int) -> None:
        """Change the rank for the OOM killer. Raises :class:`ChildError` where the kernel forbids it."""
        with self._lock:
            if self._status is None:
                priority.set_oom_score_adj(self.pid, value, self.name)

    def last_words(self) -> str:
        """Return the last 4 KB of what was written to stdout and stderr that was not a log line."""
        return hide(self._lines.native_text())

    def describe_exit(self) -> str:
        """Say in words how the process ended, with its last words."""
        words = _without_stacks(self.last_words())
        return f"{self._how_it_ended()}; last words: {words}" if words else self._how_it_ended()

    def memory_bytes(self) -> int:
        """Return the PSS, RSS where the kernel does not tell it, 0 once the process has ended."""
        with self._lock:
            return 0 if self._status is not None else pss_bytes(self.pid)

    def resident_bytes(self) -> int:
        """Return the RSS, which is cheap to ask for; 0 once the process has ended."""
        with self._lock:
            return 0 if self._status is not None else resident_bytes(self.pid)

    def close(self, timeout_s: float = 2.0) -> None:
        """Ask the child to stop, kill it when it has not ended after ``timeout_s``, reap it, free what it held."""
        with contextlib.suppress(ChildError):
            self.channel.send(Stop())
        if self.wait(timeout_s) is None:
            self.kill()
            if self.wait(_KILL_WAIT_S) is None:
                # It sits uninterruptibly in the kernel; the watcher reaps it when it comes back.
                log.error("child.unkillable", child=self.name, pid=self.pid)
        self.channel.close()

    def _how_it_ended(self) -> str:
        status = self._status
        if status is None:
            return "still running"
        if status >= 0:
            return f"ended with exit status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        if status == -signal.SIGKILL and not self._killed_by_agent:
            return f"killed by {name}, not by the agent (out of memory?)"
        return f"killed by {name}"

    def _watch(self) -> None:
        """Drain the pipe until the process has ended, then drain the rest, reap and tell."""
        pipe = self._process.stdout
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        try:
            while self._pidfd not in (ready := [fd for fd, _ in poll.poll()]):
                if ready and not self._drain(pipe.fileno()):
                    poll.unregister(pipe)
            # While the zombie still holds the number, it can be nobody else's: end what its group left behind.
            _kill_group(self.pid)
            while self._drain(pipe.fileno(), rest=True):
                pass
        finally:
            self._reap()
            os.close(self._pidfd)
            pipe.close()
            self._ended.set()

    def _drain(self, fd: int, *, rest: bool = False) -> bool:
        """Take what lies in the pipe; False at its end, or for the ``rest`` when nothing is left."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            data = b""
            if not rest:
                return True
        now = monotonic_ns()
        for record in self._lines.feed(data, now) if data else self._lines.finish(now):
            self._on_log(self.name, record)
        return bool(data)

    def _reap(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # not under the lock: kill() must get through
        with self._lock:
            self._status = self._process.wait()


class Spawner:
    """Owner of the thread that starts children. ``on_log(child name, log line)`` must not block."""

    def __init__(self, on_log: OnLog) -> None:
        self._on_log = on_log
        self._requests: queue.SimpleQueue[tuple[ChildSpec, Future[Child]] | str | None] = queue.SimpleQueue()
        self._children: list[Child] = []
        self._log_level = "info"
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="lookout-spawner", daemon=True)
        self._thread.start()

    def start(self, spec: ChildSpec) -> Child:
        """Start a child, from any thread. Raises :class:`ChildError` where the host refuses, or after ``close``."""
        answer: Future[Child] = Future()
        with self._lock:
            if self._closed:
                raise ChildError(f"{spec.name} cannot be started: the agent is stopping")
            self._requests.put((spec, answer))
        return answer.result()

    def pids(self) -> dict[str, int]:
        """Return the children that were not reaped yet, name → pid; of two of one name the newer. Any thread."""
        return {child.name: child.pid for child in tuple(self._children) if child.wait(0) is None}

    def log_at(self, level: str) -> None:
        """Have children, those that run and those to come, log at this level and above; any thread, returns at once."""
        with self._lock:
            if not self._closed:
                self._requests.put(level)

    def close(self) -> None:
        """Kill and reap every child that is left, end the thread. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            if isinstance(request, str):
                self._tell_level(request)
                continue
            spec, answer = request
            try:
                answer.set_result(self._start(spec))
            except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no more threads
                answer.set_exception(
                    ChildError(f"{spec.name} ({spec.module}) cannot be started: {error}; is there memory for one more?")
                )
        # Before this thread ends, for the kernel would kill them without anybody reaping.
        for child in self._children:
            child.kill()
        for child in self._children:
            child.close(timeout_s=_KILL_WAIT_S)

    def _tell_level(self, level: str) -> None:
        if level == self._log_level:
            return
        self._log_level = level
        for child in self._children:
            with contextlib.suppress(ChildError):  # it has ended, or hangs: then it says nothing anyhow
                child.channel.send(LogLevel(level))

    def _start(self, spec: ChildSpec) -> Child:
        self._children = [child for child in self._children if child.wait(0) is None]
        channel, theirs = Channel.pair(spec.name)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(channel.close)
            process = subprocess.Popen(
                command(spec.module, theirs.fileno(), self._log_level),
                env=environment(spec.env),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
            undo.callback(process.wait)
            undo.callback(process.kill)
            child = Child(spec, process, os.pidfd_open(process.pid), channel, self._on_log)
            undo.pop_all()
        self._children.append(child)
        self._rank(child, spec)
        return child

    @staticmethod
    def _rank(child: Child, spec: ChildSpec) -> None:
        """Set nice and OOM rank; a child that cannot have them still runs, and the log says so."""
        try:
            if spec.nice:
                child.set_nice(spec.nice)
            if spec.oom_score_adj is not None:
                child.set_oom_score_adj(spec.oom_score_adj)
        except ChildError as error:
            log.warning("child.unranked", child=spec.name, reason=error.message)


def _without_stacks(words: str) -> str:
    """Leave out every thread's stack, which ``faulthandler`` adds to what happened; :meth:`last_words` has them."""
    before, fatal, after = words.partition("Fatal Python error:")
    return f"{before}{fatal}{after.splitlines()[0]}" if fatal and after.strip() else words


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
