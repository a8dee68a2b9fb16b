"""How the demo fails: with one sentence that says what was awaited, and the remedy where there is one."""

from __future__ import annotations

from agent.errors import LookoutError


class DemoFailed(LookoutError):
    """The show cannot go on; the message says what was awaited and what came instead."""

    code = "demo_failed"
