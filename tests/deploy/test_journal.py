"""What is remembered over a restart, and what happens when the disk is against it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.clock import NS_PER_MS
from agent.deploy.bootguard import Boot
from agent.deploy.commands import KEEP, KEEP_MS, Answered, CommandMemory, Fresh, Pending
from agent.deploy.journal import HISTORY, Journal
from agent.deploy.machine import State
from agent.deploy.records import Latency, Receipt, SlotRelease, TrialRecord, VariantRecord
from agent.deploy.row import Row
from agent.deploy.tables import MIGRATIONS
from agent.errors import StorageError, TrustError
from agent.types import Digest, ModelName, PipelineName

P = PipelineName("p")
SLOT = SlotRelease(ModelName("faces"), "1.0.0", Digest("a" * 64), 1)
RECEIPT = Receipt(None, SLOT.id, None, 0, 2, "2026-11-24T16:00:00.000Z")
ROW = Row(
    P, State.PROBATION, "faces@^1", True, True, SLOT, SLOT, None, "why", RECEIPT, "faces@stable", 1, 2, 3, 1234567890123
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.db")


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.database.path)


def test_a_row_comes_back_as_it_was(journal: Journal) -> None:
    journal.save(ROW)
    assert reopened(journal).rows() == {P: ROW}


def test_writes_are_synced_and_the_schema_has_a_version(journal: Journal) -> None:
    with journal.database.reading() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("persist",)
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_kill_at_any_moment_leaves_a_whole_row(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from agent.deploy.journal import Journal\n"
        "from agent.deploy.row import Row; from agent.deploy.machine import State\n"
        "j = Journal(Path(sys.argv[1])); n = 0\n"
        "while True:\n"
        "    n += 1; j.save(Row('p', State.TRIAL, interruptions=n, reboot_deaths=n, reason='x' * (n % 3000)))\n"
        "    print(n, flush=True)\n"
    )
    path = tmp_path / "journal.db"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(20):
            written = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        child.wait()
        written = int(rest[-1]) if rest and rest[-1].isdigit() else written
        journal = Journal(path)
        row = journal.rows()[P]
        assert journal.problem is None
        assert row.interruptions == row.reboot_deaths >= written, "what was reported as saved is there"
        journal.close()


def test_history_keeps_the_last_fifty_states_of_each_pipeline(journal: Journal) -> None:
    for number in range(60):
        journal.save(Row(P, State.TRIAL, f"faces:1.0.{number}", updated_at_ms=number))
    journal.save(Row(PipelineName("other")))
    lines = journal.history(P)
    assert len(lines) == HISTORY
    assert [lines[0].at_ms, lines[-1].at_ms] == [59, 10]


def test_history_keeps_the_receipt_of_a_swap_where_it_ended_and_nowhere_else(journal: Journal) -> None:
    receipt = Receipt(None, SLOT.id, None, 0, 0, "2026-11-24T16:02:00.000Z")
    for state in (State.TRIAL, State.PROBATION, State.COMMITTED):
        journal.save(Row(P, state, receipt=receipt))
    journal.save(Row(P, State.RESOLVING, receipt=receipt))
    told = [(entry.state, entry.receipt) for entry in reopened(journal).history(P)]
    assert told == [
        (State.RESOLVING, None), (State.COMMITTED, receipt), (State.PROBATION, None), (State.TRIAL, None),
    ]  # fmt: skip


def test_a_rollback_and_its_quarantine_are_one_transaction(journal: Journal) -> None:
    journal.save(Row(P), quarantine=(SLOT.digest, "not finite"))
    again = reopened(journal)
    assert again.quarantined() == {SLOT.digest: "not finite"}
    again.acquit(SLOT.digest)
    assert again.quarantined() == {}


def test_a_start_knows_whether_the_last_one_ended_cleanly_and_on_which_boot(journal: Journal) -> None:
    assert journal.begin("a") == Boot(same_boot=False, clean_stop=True, counter=1)
    assert journal.begin("a", 7) == Boot(same_boot=True, clean_stop=False, counter=2, crashes=(7,))
    journal.mark_clean_stop()
    again = reopened(journal)
    assert again.begin("b") == Boot(same_boot=False, clean_stop=True, counter=3)
    assert again.begin("c") == Boot(same_boot=False, clean_stop=False, counter=4)


def test_sessions_are_counted_over_restarts(journal: Journal) -> None:
    assert [journal.next_session(), journal.next_session()] == [1, 2]
    assert reopened(journal).next_session() == 3


def test_metadata_that_goes_back_is_refused_and_changes_nothing(journal: Journal) -> None:
    journal.accept_versions({"root": 1, "timestamp": 7})
    with pytest.raises(TrustError, match="'timestamp' has version 6, this device has seen 7"):
        journal.accept_versions({"root": 2, "timestamp": 6})
    assert journal.versions() == {"root": 1, "timestamp": 7}


def test_measurements_are_kept_by_digest_variant_and_host(journal: Journal) -> None:
    one = VariantRecord(0, "int8", ("CPUExecutionProvider",), 1.0, 2.0, Latency(1.0, 2.0, 10), 99.0, 1, 1, 1)
    for _ in range(2):
        journal.record_trial(SLOT.digest, TrialRecord("host", 0, (one,)), 1)
    with journal.database.reading() as db:
        assert db.execute("SELECT count(*) FROM measurements").fetchone() == (1,)


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_command_is_fresh_once_then_pending_then_answered_over_restarts(journal: Journal) -> None:
    assert CommandMemory(journal.database).remember("id-1", "model/deploy") == Fresh()
    again = reopened(journal)
    memory = CommandMemory(again.database)
    assert memory.remember("id-1", "model/deploy") == Pending("model/deploy")
    assert memory.pending() == (("id-1", "model/deploy"),)
    memory.answer("id-1", b'{"ok":true}')
    assert CommandMemory(reopened(again).database).remember("id-1", "x") == Answered("model/deploy", b'{"ok":true}')


def test_commands_are_forgotten_after_seven_days(journal: Journal) -> None:
    now_ns = [1_000_000_000_000]
    memory = CommandMemory(journal.database, now_ns=lambda: now_ns[0])
    memory.remember("id-1", "x")
    now_ns[0] += KEEP_MS * NS_PER_MS
    assert memory.remember("id-1", "x") == Pending("x")
    now_ns[0] += NS_PER_MS
    assert memory.remember("id-1", "x") == Fresh()


def test_commands_grow_no_older_while_the_host_is_off_and_age_on_from_there(journal: Journal) -> None:
    now_ns = [5_000 * NS_PER_MS]
    memory = CommandMemory(journal.database, now_ns=lambda: now_ns[0])
    memory.remember("id-1", "x")
    now_ns[0] += KEEP_MS * NS_PER_MS // 2
    memory.remember("id-2", "x")
    rebooted_ns = [7 * NS_PER_MS]  # the monotonic clock begins anew
    memory = CommandMemory(reopened(journal).database, now_ns=lambda: rebooted_ns[0])
    assert memory.remember("id-1", "x") == Pending("x")
    rebooted_ns[0] += KEEP_MS * NS_PER_MS // 2 + NS_PER_MS
    assert memory.remember("id-1", "x") == Fresh()
    assert memory.remember("id-2", "x") == Pending("x")


def test_only_the_last_ten_thousand_commands_are_kept(journal: Journal) -> None:
    memory = CommandMemory(journal.database)
    memory.remember("oldest", "x")
    with journal.database.transaction() as db:
        now_ms = db.execute("SELECT at_ms FROM commands").fetchone()[0]
        db.executemany("INSERT INTO commands VALUES (?, ?, 'x', NULL)", ((f"n{n}", now_ms) for n in range(KEEP - 1)))
    assert isinstance(memory.remember("oldest", "x"), Pending)
    memory.remember("newest", "x")
    assert memory.remember("oldest", "x") == Fresh()


def test_one_of_many_threads_gets_a_command_fresh(journal: Journal) -> None:
    memory, got = CommandMemory(journal.database), []
    threads = [threading.Thread(target=lambda: got.append(memory.remember("id", "x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Fresh) for one in got) == 1


# --- a disk that is against it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["garbage", "cut", "overwritten"])
def test_a_damaged_file_is_set_aside_and_rebuilt_empty(journal: Journal, damage: str) -> None:
    path = journal.database.path
    for number in range(60):
        journal.save(Row(P, State.TRIAL, "faces:1.0.0", reason="x" * 400, updated_at_ms=number))
    journal.close()
    data = path.read_bytes()
    path.write_bytes(
        {"garbage": b"nothing of SQLite's" * 99, "cut": data[:5000], "overwritten": data[:8192] + b"\xff" * 20000}[
            damage
        ]
    )
    rebuilt = Journal(path)
    assert rebuilt.database.fresh
    assert "set aside as journal.db.broken" in (rebuilt.problem or "")
    assert (path.parent / "journal.db.broken").exists()
    rebuilt.save(ROW)
    assert Journal(path).rows() == {P: ROW}


def test_a_file_of_a_newer_agent_is_set_aside_under_its_version(journal: Journal) -> None:
    path = journal.database.path
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    assert "newer than this agent's" in (Journal(path).problem or "")
    assert (path.parent / "journal.db.v99").exists()


def test_a_row_that_nobody_can_read_is_left_out_and_the_others_are_served(journal: Journal) -> None:
    journal.save(ROW)
    journal.save(Row(PipelineName("other")))
    with journal.database.transaction() as db:
        db.execute("UPDATE pipelines SET state = 'levitating' WHERE pipeline = 'p'")
    again = reopened(journal)
    assert set(again.rows()) == {"other"}
    assert again.lost(P)
    assert not again.lost(PipelineName("other"))


def test_a_full_disk_is_an_error_with_its_remedy_and_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", max_pages=40)
    journal.save(ROW)
    with pytest.raises(StorageError, match=r"journal.db: database or disk is full; free disk space"):
        journal.save(Row(P, reason="x" * 400_000))
    assert journal.rows() == {P: ROW}
    journal.save(Row(P, State.COMMITTED))
    assert journal.rows()[P].state is State.COMMITTED


def test_a_folder_that_cannot_be_used_is_replaced_by_memory_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file" / "journal.db")
    assert "nothing is remembered over a restart" in (journal.problem or "")
    journal.save(ROW)
    assert journal.rows() == {P: ROW}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes read-only files")
def test_a_read_only_file_is_read(journal: Journal) -> None:
    journal.save(ROW)
    journal.close()
    journal.database.path.chmod(0o400)
    again = Journal(journal.database.path)
    assert again.rows() == {P: ROW}
    with pytest.raises(StorageError, match="make the file system writable"):
        again.save(ROW)
