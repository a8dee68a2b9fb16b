"""``python -m tools.bench.started MARKS CONFIG``: ``lookout run``, which notes when it got how far.

It imports and calls what the command does, in its order. The first call of some functions is noted when it returns (or
comes), as a line ``name nanoseconds`` in MARKS; the clock is the monotonic one, which all processes of a host share. Of
the agent nothing else is changed, and a note costs microseconds.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Marks:
    """Writes down when something happened first."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._seen: set[str] = set()

    def mark(self, name: str) -> None:
        """Note that it has happened, if it had not yet."""
        if name not in self._seen:
            self._seen.add(name)
            os.write(self._file, f"{name} {time.monotonic_ns()}\n".encode())

    def after(self, owner: Any, function: str, name: str) -> None:
        """Note when the function of a module or class returned for the first time."""
        inner: Callable[..., Any] = getattr(owner, function)

        @functools.wraps(inner)
        def outer(*args: Any, **named: Any) -> Any:
            result = inner(*args, **named)
            self.mark(name)
            return result

        setattr(owner, function, outer)


def main() -> int:
    """Run the agent."""
    marks = Marks(sys.argv[1])
    marks.mark("python")
    importlib.import_module("agent.cli")
    from agent import lean

    lean.share_one_arena()
    from agent import app

    marks.mark("imports")
    from agent.loop.pipeline import Pipeline
    from agent.serve.handle import Workers

    marks.after(app, "choose", "config")
    marks.after(app, "Journal", "journal")
    marks.after(app.Agent, "__init__", "built")
    marks.after(app.Agent, "start", "started")
    marks.after(Pipeline, "need_ring", "camera")
    marks.after(Workers, "start", "worker")
    marks.after(Pipeline, "output", "answer")
    return app.run(Path(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
