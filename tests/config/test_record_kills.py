"""The record under SIGKILL: what a call had returned for is there, and what is there is whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.config.changes import digest_of
from agent.config.record import ConfigRecord

WRITER = """
import sys
from pathlib import Path
from agent.config.changes import Trial
from agent.config.desired import Overlay
from agent.config.record import ConfigRecord

record = ConfigRecord(Path(sys.argv[1]))
if record.standing is None:
    record.adopt(b"0", path="/x", overlay=Overlay(), at_ms=0)
if record.pending is not None:
    record.undo("killed", at_ms=0)
while True:
    number = record.standing.revision
    text = str(number).encode() * 1000
    standing = record.advance(
        overlay=Overlay({"n": number}), text=text, who="me", kind="file", paths=(), at_ms=0, trial=Trial()
    )
    print("began", standing.revision, flush=True)
    if number % 2:
        record.keep(None)
        print("kept", standing.revision, flush=True)
    else:
        print("undone", record.undo("bad", at_ms=0).revision, flush=True)
"""


def killed_after(path: Path, seconds: float) -> tuple[str, int]:
    """Let a process write for a while after its first word, kill it, and return the last word that it said."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    first = child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().splitlines()
    assert child.wait() == -signal.SIGKILL
    words = [line.split() for line in (first, *rest) if line.count(" ") == 1]
    return words[-1][0], int(words[-1][1])


def look(path: Path, said: str, revision: int) -> None:
    record = ConfigRecord(path)
    try:
        assert record.problem is None
        standing, pending = record.standing, record.pending
        assert standing is not None
        assert standing.revision - revision in (0, 1)  # the next one may have been written and not told
        assert record.text(standing.file) is not None
        history = record.history()
        assert history[0].revision == standing.revision
        assert history[0].file == standing.file
        if pending is not None:
            assert pending.revision == standing.revision
            assert history[0].outcome == "probation"
            text = record.text(pending.previous.file)
            assert text is not None
            assert digest_of(text) == pending.previous.file
        elif said == "began":
            assert history[0].outcome == "kept"
    finally:
        record.close()


def attack(path: Path, kills: int) -> None:
    chance = random.Random(7)
    for _ in range(kills):
        look(path, *killed_after(path, chance.uniform(0, 0.15)))


def test_a_killed_writer_leaves_a_whole_record(tmp_path: Path) -> None:
    attack(tmp_path / "config.db", 3)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_sixty_kills_leave_a_whole_record(tmp_path: Path) -> None:
    attack(tmp_path / "config.db", 60)
