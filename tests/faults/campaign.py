"""Kills of one process after the other while deployments go on, and the look after each.

The plan (whom to kill, and when) comes from the seed; the instants of the processes do not, so the same seed repeats
the attack, not every interleaving. The agent is started again at once, where systemd would wait ``RestartSec``
first.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from collections import Counter, defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tests.integration.device import Device
from tests.integration.processes import CAPTURE, FETCH, WORKER, children, family, until

from .agreement import disagreement
from .onlooker import Deploying, Onlooker

INSTANT = "any instant"
STATES = ("resolving", "fetching", "verifying", "trial", "shadow", "probation", "committed", "failed", "rolled_back")
WHO = ("agent", "capture", "worker", "fetch")
MODULES = {"capture": CAPTURE, "worker": WORKER, "fetch": FETCH}

MAINS = "mains"
"""Everything at once, and what the disk had not been made to keep: see :mod:`tests.faults.outages`."""

BOUND_S = {"agent": 15.0, "capture": 8.0, "worker": 8.0, "fetch": 3.0, MAINS: 15.0}
"""Time from the kill to the message of a frame that was taken after it, at the most, on a busy machine."""
AGREE_S = 15.0
STATE_S = 4.0
"""How long a state is waited for; then the kill comes at once, and counts as one at any instant."""


class Kill(NamedTuple):
    """One kill and what came of it. ``state``: what the broker had been told when it fell."""

    who: str
    moment: str
    state: str
    blind_s: float
    agreed_s: float


def plan(number: int, seed: int) -> list[tuple[str, str]]:
    """Return whom to kill and when: every pair of process and moment in turn, in an order of the seed's."""
    pairs = [(who, state) for who in ("agent", "capture", "worker") for state in STATES]
    pairs += [(who, INSTANT) for who in ("agent", "capture", "worker") for _ in range(4)]
    pairs += [("fetch", INSTANT)] * 9
    chosen: list[tuple[str, str]] = []
    rng = random.Random(seed)
    while len(chosen) < number:
        rng.shuffle(pairs)
        chosen += pairs
    return chosen[:number]


class Campaign:
    """The attack on one device."""

    def __init__(self, device: Device, person: Onlooker, references: tuple[str, ...], seed: int) -> None:
        self._device, self._person = device, person
        self._rng = random.Random(seed)
        self._deploying = Deploying(person, references, seed)
        self.kills: list[Kill] = []

    def run(self, steps: list[tuple[str, str]]) -> None:
        self._deploying.start()
        try:
            for who, moment in steps:
                self.kills.append(self._strike(who, moment))
        finally:
            self._deploying.stop()

    # --- one kill ----------------------------------------------------------------------------------------------------

    def _strike(self, who: str, moment: str) -> Kill:
        pid, moment = self._aim(who, moment)
        state = (self._person.report or {}).get("state", "none")
        at, began_s = now(), time.monotonic()
        self._fell(who, pid)
        label = f"kill {len(self.kills) + 1}: {who} in {state} ({moment})"
        answer = self._person.first_taken_after(at, BOUND_S[who] - (time.monotonic() - began_s))
        assert answer is not None, f"{label}: blind after {BOUND_S[who]} s\n{self._device.last_words()}"
        seen: list[str | None] = []

        def agreed() -> bool:
            seen.append(disagreement(self._device, self._person))
            return seen[-1] is None

        until(agreed, AGREE_S, lambda: f"{label}: {seen[-1]}\n{self._device.last_words()}")
        return Kill(who, moment, state, answer.seen_s - began_s, time.monotonic() - began_s)

    def _fell(self, who: str, pid: int) -> None:
        """Kill it; the agent is started again, which takes care of its children."""
        if who == "agent":
            self._device.kill()  # looks that nothing is left behind
            self._device.start()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _aim(self, who: str, moment: str) -> tuple[int, str]:
        """Wait for the moment; return the pid and the moment that it was."""
        if who == "fetch":
            return self._aim_at_fetch(), moment
        if moment != INSTANT:
            since = len(self._person.reports)
            if self._person.next_report(frozenset({moment}), since, STATE_S) is None:
                moment = INSTANT
        else:
            time.sleep(self._rng.uniform(0, 0.4))
        if who in ("agent", MAINS):
            return self._device.pid, moment
        found = until(lambda: children(self._device.pid, MODULES[who]), 10, lambda: f"there is no {who}")
        return self._rng.choice(found), moment

    def _aim_at_fetch(self) -> int:
        while True:
            (pid, *_) = until(lambda: children(self._device.pid, FETCH), 20, lambda: "nothing is fetched")
            time.sleep(self._rng.uniform(0, 0.5))
            if pid in children(self._device.pid, FETCH):
                return int(pid)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def look_whole(self) -> None:
        """Look that the device is at rest, and that nothing is left of all this."""
        device, person = self._device, self._person
        stuck = [reference for reference, end in self._deploying.ends if end == "stuck"]
        assert stuck == [], f"deployments without an end: {stuck}\n{device.last_words()}"
        lives = sum(kill.who in ("agent", MAINS) for kill in self.kills)
        assert person.steps_back <= lives, "a frame was reported twice, or out of order"
        until(lambda: (person.report or {}).get("state") in Deploying.ENDS, 30, lambda: f"{person.report} has no end")
        until(lambda: len(family(device.pid)) == 3, 15, lambda: f"{family(device.pid)}")
        until(lambda: disagreement(device, person) is None, AGREE_S, lambda: f"{disagreement(device, person)}")
        device.wait_status(lambda status: status.degraded == ())
        stored = len(list((device.state / "store" / "releases").iterdir()))
        assert stored <= 3, "current, previous, and one whose deployment has just failed"
        left = scraps(device)
        assert len(left) <= 3, f"files that no one will finish: {left}"

    def figures(self) -> str:
        """Return the distribution in words."""
        lines = [f"{len(self.kills)} kills, deployments ended: {dict(Counter(end for _, end in self._deploying.ends))}"]
        for who in (*WHO, MAINS):
            mine = [kill for kill in self.kills if kill.who == who]
            if mine:
                blind, agreed = [k.blind_s for k in mine], [k.agreed_s for k in mine]
                lines.append(
                    f"{who}: {len(mine)} kills; next detection {spread(blind)} (bound {BOUND_S[who]:g}); "
                    f"agreement {spread(agreed)}"
                )
        table: dict[str, Counter[str]] = defaultdict(Counter)
        for kill in self.kills:
            table[kill.state][kill.who] += 1
        lines += [f"  in {state}: {dict(counts)}" for state, counts in sorted(table.items())]
        aimed = sum(kill.moment != INSTANT for kill in self.kills)
        lines.append(f"  {aimed} as soon as a state was reported, {len(self.kills) - aimed} at any instant")
        lines.append(f"  left in the state folder: {scraps(self._device)}")
        return "\n".join(lines)


def scraps(device: Device) -> list[str]:
    """Files of the state folder that were begun and not finished."""
    found = [path for path in device.state.rglob("*") if path.is_file() and _unfinished(path)]
    return sorted(str(path.relative_to(device.state)) for path in found)


def _unfinished(path: Path) -> bool:
    return path.parent.name == "partial" or (path.name.startswith(".") and path.name.count(".") > 1)  # agent.atomic


def spread(seconds: list[float]) -> str:
    """Median, 95th percentile and maximum, in words."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"median {statistics.median(ordered):.2f} s, p95 {p95:.2f} s, max {ordered[-1]:.2f} s"


def now() -> str:
    """Return the time as messages tell it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
