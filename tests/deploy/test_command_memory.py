"""The memory of commands is bounded by bytes as well: nobody fills the journal with long answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.deploy import commands
from agent.deploy.commands import CommandMemory
from agent.deploy.journal import Journal
from agent.link.memory import Answered, Fresh, Pending


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(commands, "KEEP_BYTES", 10_000)
    return Journal(tmp_path / "journal.db")


def kept(journal: Journal) -> int:
    with journal.database.reading() as db:
        return int(db.execute("SELECT total(length(answer)) FROM commands").fetchone()[0])


def test_long_answers_make_the_oldest_be_forgotten_and_never_a_command_that_runs(journal: Journal) -> None:
    memory = CommandMemory(journal.database)
    memory.remember("runs", "x")
    for number in range(50):
        memory.remember(f"id-{number}", "x")
        memory.answer(f"id-{number}", b"x" * 900)
        assert kept(journal) <= 10_000
    assert memory.remember("runs", "x") == Pending("x")
    assert memory.remember("id-0", "x") == Fresh()
    assert memory.remember("id-49", "x") == Answered("x", b"x" * 900)


def test_one_answer_longer_than_all_that_is_kept_is_kept_alone(journal: Journal) -> None:
    memory = CommandMemory(journal.database)
    for name, size in (("a", 100), ("b", 20_000)):
        memory.remember(name, "x")
        memory.answer(name, b"x" * size)
    assert memory.remember("a", "x") == Fresh()
    assert isinstance(memory.remember("b", "x"), Answered)


def test_what_was_kept_before_a_restart_counts(journal: Journal) -> None:
    memory = CommandMemory(journal.database)
    for number in range(10):
        memory.remember(f"id-{number}", "x")
        memory.answer(f"id-{number}", b"x" * 900)
    again = CommandMemory(journal.database)
    for number in range(10, 15):
        again.remember(f"id-{number}", "x")
        again.answer(f"id-{number}", b"x" * 900)
        assert kept(journal) <= 10_000
