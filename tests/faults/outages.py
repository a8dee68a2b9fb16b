"""Power cuts of a whole device, and what must be true of its disk before anybody has started again.

A cut is SIGKILL to every process and, in the same instant, the freezing of its drive (:mod:`tests.faults.disk`); the
next start is one on another boot of the kernel (:mod:`tests.faults.mains`). The broker is elsewhere and remembers all
that the device has told.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.integration.device import PIPELINE, Device

from .campaign import INSTANT, MAINS, STATES, Campaign
from .disk import FragileDisk
from .mains import Mains
from .onlooker import Onlooker

AGAIN, START_S = 0.3, 0.8
"""How often the power goes again while the agent starts, and within which time of its start."""


class Supply:
    """The power of a device and of its disk together. ``device`` does not run yet."""

    def __init__(self, disk: FragileDisk, device: Device, seed: int) -> None:
        self._disk, self._device = disk, device
        self._rng = random.Random(seed)
        self._mains = Mains(device)

    def cut(self) -> None:
        """Take the power away in this instant."""
        self._device.kill_all(at_once=self.freeze)
        self._disk.power_off()

    def freeze(self) -> None:
        """Let the disk keep what it has."""
        self._disk.cut(self._rng.randrange(1 << 32))

    def come_back(self) -> None:
        """Bring the power back; the agent is not started yet."""
        self._disk.power_off()
        self._disk.check()
        self._disk.power_on()
        self._mains.next_boot()


class Outages(Campaign):
    """Power cuts while deployments go on."""

    def __init__(
        self, device: Device, person: Onlooker, references: tuple[str, ...], seed: int, supply: Supply
    ) -> None:
        super().__init__(device, person, references, seed)
        self.in_starts = 0
        self._supply = supply

    def _fell(self, who: str, pid: int) -> None:
        assert who == MAINS
        self._cut_once()
        while self._rng.random() < AGAIN:
            self._device.start(wait=False)
            time.sleep(self._rng.uniform(0, START_S))
            self._cut_once()
            self.in_starts += 1
        self._device.start()

    def _cut_once(self) -> None:
        told, answered = self._person.report, dict(self._person.results)
        boots = remembered(self._device.state)["boots"]
        self._supply.cut()
        self._supply.come_back()
        self._look_durable(told, answered, boots)

    def _look_durable(self, told: dict[str, Any] | None, answered: dict[str, Any], boots: int) -> None:
        """Look that what the device has told, or counted, was on the disk before it did."""
        with tempfile.TemporaryDirectory() as copied:  # what was cut off is left for the agent to roll back
            for file in self._device.state.glob("journal.db*"):
                shutil.copy(file, copied)
            found = remembered(Path(copied))
        assert found["boots"] >= boots, "a start of the agent is forgotten: its events' ids would come again"
        if told is not None:
            assert found["entered_ms"] >= stamp_ms(told["at"]), f"told {told}, and forgot it: {found}"
        forgotten = sorted(set(answered) - found["commands"])
        assert forgotten == [], f"answered, and forgotten: they would run twice: {forgotten}"

    def look_whole(self) -> None:
        """Look besides that nothing was condemned, set aside or given up for the cuts."""
        super().look_whole()
        blamed = [report["reason"] for report in self._person.reports if "bad:" in (report["reason"] or "")]
        assert blamed == [], "a good model was called bad for a power cut"
        assert condemned(self._device) & {answer.digest for answer in self._person.answers} == set()
        aside = [path.name for path in self._device.state.rglob("*") if path.suffix in (".broken", ".lost")]
        assert aside == [], aside

    def figures(self) -> str:
        return f"{super().figures()}\n  and {self.in_starts} cuts while the agent started"


def plan(number: int, seed: int) -> list[tuple[str, str]]:
    """Return when the power goes: every state in turn and as often at any instant, in an order of the seed's."""
    rng, chosen = random.Random(seed), list[tuple[str, str]]()
    while len(chosen) < number:
        moments = [*STATES, *[INSTANT] * len(STATES)]
        rng.shuffle(moments)
        chosen += [(MAINS, moment) for moment in moments]
    return chosen[:number]


def remembered(state: Path) -> dict[str, Any]:
    """Read from the journal what is to be durable: starts, commands, when the deployment's state was entered."""
    with closing(sqlite3.connect(state / "journal.db", timeout=5)) as db:
        (boots,) = db.execute("SELECT value FROM meta WHERE key = 'boot_counter'").fetchone()
        commands = {identity for (identity,) in db.execute("SELECT id FROM commands")}
        row = db.execute("SELECT updated_at_ms FROM pipelines WHERE pipeline = ?", (PIPELINE,)).fetchone()
    return {"boots": int(boots), "commands": commands, "entered_ms": 0 if row is None else row[0]}


def condemned(device: Device) -> set[str]:
    """Digests that the device would not deploy again by itself."""
    with closing(sqlite3.connect(device.state / "journal.db", timeout=5)) as db:
        return {digest for (digest,) in db.execute("SELECT digest FROM quarantine")}


def stamp_ms(text: str) -> int:
    """RFC 3339 to milliseconds of UTC."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
