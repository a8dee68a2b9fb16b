"""Which cases there are. A module is imported only when its case is wanted or the commands are listed.

To add a case: a module with ``CASE = Case(name=…, …)`` (see :mod:`tools.bench.case`), and its row here. The order is
that of ``lookout bench all`` and of ``docs/performance.md``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from agent.errors import InputError
from tools.bench.case import Case

MODULES: dict[str, str] = {
    "peers": "tools.bench.peers.case",
    "roboflow": "tools.bench.roboflow",
    "loop": "tools.bench.looping",
    "parts": "tools.bench.parts",
    "instructions": "tools.bench.instructions",
    "latency": "tools.bench.latency",
    "tenfps": "tools.bench.tenfps",
    "scale": "tools.bench.scale",
    "swap": "tools.bench.swapping",
    "recovery": "tools.bench.recovering",
    "start": "tools.bench.start",
    "memory": "tools.bench.memory",
    "still": "tools.bench.still",
    "events": "tools.bench.events",
    "mqtt": "tools.bench.talking",
    "int8": "tools.bench.quantizing",
    "writing": "tools.bench.writing",
    "viewing": "tools.bench.viewing",
}
"""The module of each case by its name."""


def load(name: str) -> Case:
    """Return a case. Raises :class:`~agent.errors.InputError` for a name that is none."""
    if name not in MODULES:
        raise InputError(f"{name}: is no case; there are {', '.join(MODULES)}")
    case: Case = importlib.import_module(MODULES[name]).CASE
    return case


def load_all(names: Iterable[str] = MODULES) -> tuple[Case, ...]:
    """Return the cases of these names, in the table's order."""
    wanted = set(names)
    unknown = sorted(wanted - MODULES.keys())
    if unknown:
        load(unknown[0])
    return tuple(load(name) for name in MODULES if name in wanted)
