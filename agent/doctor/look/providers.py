"""Asks ONNX Runtime what it has, in the product's own worker process: native code may hang or die there."""

from __future__ import annotations

from agent.doctor.case import Case
from agent.doctor.judge.providers import Providers
from agent.errors import ChildError
from agent.process.child import ChildSpec, Spawner
from agent.process.messages import Hello

HELLO_S = 16.0
SPEC = ChildSpec("worker", "agent.serve.main", nice=10)


def look(case: Case, spawner: Spawner) -> Providers:
    """Return the facts."""
    wanted = () if case.loaded is None else case.loaded.config.inference.providers
    runs_on = {one.name: one.providers for one in case.status.pipelines} if case.status else None
    available, problem = _available(spawner)
    return Providers(wanted, available, problem, runs_on)


def _available(spawner: Spawner) -> tuple[tuple[str, ...] | None, str]:
    try:
        child = spawner.start(SPEC)
    except ChildError as error:
        return None, error.message
    try:
        received = child.channel.receive(HELLO_S)
        if received is not None and isinstance(received[0], Hello):
            return tuple(received[0].providers), ""
        return None, f"it said nothing within {HELLO_S:g} s"
    except ChildError as error:
        child.wait(1.0)
        return None, _last_line(child.last_words()) or error.message
    finally:
        child.close()


def _last_line(words: str) -> str:
    """Return what a traceback ends in."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else ""
