"""``lookout doctor``: the case, the round, the findings, the exit code. It changes nothing and needs no root."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from agent.doctor import present, rounds
from agent.doctor.case import take
from agent.doctor.checks import Helpers, table
from agent.doctor.findings import exit_code
from agent.doctor.look.glimpses import Glimpses
from agent.process.child import Spawner

END_S = 3.0


def doctor(file: Path | None, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Look at everything and print what was found."""
    structlog.configure(processors=[_drop])  # what the parts would log is told as a finding
    case = take(file, environ)
    spawner = Spawner(lambda _name, _record: None)
    glimpses = Glimpses(spawner)
    with present.progress() as tell:
        findings = rounds.go(table(case), case, Helpers(spawner, glimpses), tell)
    _end((glimpses.close, spawner.close))
    if as_json:
        present.as_json(findings, usable=case.usable, device=case.status.device if case.status else None)
    else:
        present.table(findings)
    return exit_code(findings, usable=case.usable)


def _end(closings: Sequence[Callable[[], None]]) -> None:
    """Close what was started, and leave behind what a driver holds: the kernel kills it with this process."""

    def close() -> None:
        for one in closings:
            one()

    closing = threading.Thread(target=close, name="lookout-doctor-end", daemon=True)
    closing.start()
    closing.join(END_S)


def _drop(_logger: Any, _method: str, _event: Any) -> Any:
    raise structlog.DropEvent
