"""The durable record of the configuration: whole or not at all, bounded, private, and never fatal."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.config.changes import Standing, Trial, digest_of
from agent.config.confirm import CameraVitals, Vitals
from agent.config.desired import Overlay
from agent.config.record import HISTORY, MAX_REFUSED, ConfigRecord
from agent.errors import ProgrammingError, StorageError
from tests.depth import examples

WELL = Vitals(5, True, 2, {"front": CameraVitals("streaming", "", 10, 9, 14.5)})


@pytest.fixture
def record(tmp_path: Path) -> Iterator[ConfigRecord]:
    record = ConfigRecord(tmp_path / "state" / "config.db")
    record.adopt(b"one", path="/etc/agent.yaml", overlay=Overlay(), at_ms=1)
    yield record
    record.close()


def again(record: ConfigRecord) -> ConfigRecord:
    """Open the same file as after a kill."""
    record.close()
    return ConfigRecord(record.database.path)


def advance(record: ConfigRecord, **rest: Any) -> Standing:
    given: dict[str, Any] = {
        "overlay": Overlay(),
        "text": b"one",
        "who": "me",
        "kind": "patch",
        "paths": ("a.b",),
        "at_ms": 2,
    }
    return record.advance(**{**given, **rest})


def test_a_fresh_record_knows_nothing(tmp_path: Path) -> None:
    record = ConfigRecord(tmp_path / "config.db")
    assert (record.standing, record.pending, record.vitals, record.refused_desired) == (None, None, None, None)
    assert (record.history(), record.path, record.problem, record.text("x")) == ((), "", None, None)
    with pytest.raises(ProgrammingError):
        advance(record)
    with pytest.raises(ProgrammingError):
        record.keep(None)


def test_what_was_taken_is_in_force_after_a_kill(record: ConfigRecord) -> None:
    assert record.standing == Standing(1, Overlay(), digest_of(b"one"))
    overlay = Overlay({"report": {"all": True}}, {"main": "m:1.0.0"}, {"report": {"all": True}}, 1, 2)
    advance(record, overlay=overlay, kind="desired")
    record = again(record)
    assert record.standing == Standing(2, overlay, digest_of(b"one"))
    assert record.text(digest_of(b"one")) == b"one"
    assert record.path == "/etc/agent.yaml"
    assert [past.revision for past in record.history()] == [2, 1]


def test_a_change_on_probation_survives_a_kill_with_all_that_undoing_needs(record: ConfigRecord) -> None:
    advance(record, overlay=Overlay({"a": 1}), trial=Trial(needs_confirm=True, before=WELL))
    record = again(record)
    change = record.pending
    assert change is not None
    assert (change.revision, change.needs_confirm, change.before) == (2, True, WELL)
    assert change.previous == Standing(1, Overlay(), digest_of(b"one"))
    standing = record.undo("it was cut off", at_ms=9)
    assert standing == Standing(3, Overlay(), digest_of(b"one"))
    assert record.pending is None
    newest, undone, *_ = record.history()
    assert (undone.revision, undone.outcome, undone.reason) == (2, "undone", "it was cut off")
    assert (newest.kind, newest.who, newest.outcome) == ("revert", "lookout", "kept")


def test_a_change_that_is_kept_remembers_how_the_device_did(record: ConfigRecord) -> None:
    advance(record, trial=Trial())
    record.keep(WELL)
    assert (record.pending, record.vitals) == (None, WELL)
    assert record.history()[0].outcome == "kept"


def test_an_undone_file_is_refused_and_an_undone_desired_too(record: ConfigRecord) -> None:
    advance(record, text=b"two", kind="file", trial=Trial())
    record.undo("bad", at_ms=3)
    refused = record.refused_file(digest_of(b"two"))
    assert refused is not None
    assert refused.reason == "bad"
    assert record.refused_file(digest_of(b"one")) is None
    advance(record, overlay=Overlay({}, {}, {}, 0, 5), kind="desired", trial=Trial())
    record.undo("bad", at_ms=3)
    assert record.refused_desired == (0, 5)
    record.refuse_desired(0, 4)
    assert record.refused_desired == (0, 5)


def test_going_back_to_an_older_file_refuses_the_one_on_the_disk(record: ConfigRecord) -> None:
    advance(record, text=b"two", kind="file")
    advance(record, text=b"one", kind="revert")
    assert record.refused_file(digest_of(b"two")) is not None


def test_another_edit_forgets_what_was_refused(record: ConfigRecord) -> None:
    record.refuse_file(digest_of(b"bad"), "why")
    advance(record, text=b"two", kind="file")
    assert record.refused_file(digest_of(b"bad")) is None


def test_one_change_at_a_time(record: ConfigRecord) -> None:
    advance(record, trial=Trial())
    with pytest.raises(ProgrammingError):
        advance(record)


def test_a_planned_restart_is_remembered_and_taken_back(record: ConfigRecord) -> None:
    record.plan_restart()  # nothing is on probation
    advance(record, trial=Trial())
    record.plan_restart()
    record = again(record)
    assert record.pending is not None
    assert record.pending.planned_restart
    record.begin_again()
    assert not record.pending.planned_restart
    assert record.pending.reboots == 0


def test_a_file_that_means_the_same_is_no_revision(record: ConfigRecord) -> None:
    assert record.same_file(b"one # a comment") == Standing(1, Overlay(), digest_of(b"one # a comment"))
    assert record.text(digest_of(b"one # a comment")) == b"one # a comment"


def test_history_files_and_refusals_are_bounded(record: ConfigRecord) -> None:
    for number in range(HISTORY + 10):
        advance(record, text=f"{number}".encode(), kind="revert", paths=tuple(map(str, range(1000))))
    assert len(record.history()) == HISTORY
    assert record.at(2) is None
    with record.database.reading() as db:
        assert db.execute("SELECT count(*) FROM files").fetchone()[0] <= HISTORY + 1
        (refused,) = db.execute("SELECT value FROM meta WHERE key = 'refused_files'").fetchone()
    assert refused.count(b'"file"') == MAX_REFUSED
    oldest = record.history()[-1]
    assert record.text(oldest.file) is not None
    assert len(oldest.paths) == 200


def test_only_the_agents_user_may_read_it(record: ConfigRecord) -> None:
    advance(record)
    for file in record.database.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_damaged_record_is_set_aside_and_told(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    path.write_bytes(b"this is no database, whatever it was" * 500)
    record = ConfigRecord(path)
    assert record.standing is None
    assert "set aside" in str(record.problem)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    record.adopt(b"one", path="/x", overlay=Overlay(), at_ms=1)


@pytest.mark.parametrize("value", [b"{", b'{"revision": "x"}', b"\xff\xfe", b"null"])
def test_a_row_that_cannot_be_read_counts_as_absent_and_no_revision_comes_twice(
    record: ConfigRecord, value: bytes
) -> None:
    advance(record)
    with record.database.transaction() as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'standing'", (value,))
    with structlog.testing.capture_logs() as logs:
        assert record.standing is None
    assert logs[0]["log_level"] == "critical"
    assert "standing" in str(record.problem)
    assert record.adopt(b"one", path="/x", overlay=Overlay(), at_ms=1).revision == 3


def test_bytes_that_changed_on_the_disk_are_not_given_out(record: ConfigRecord) -> None:
    with record.database.transaction() as db:
        db.execute("UPDATE files SET text = ?", (b"evil",))
    assert record.text(digest_of(b"one")) is None


def test_a_write_that_fails_changes_nothing(record: ConfigRecord) -> None:
    record.database._connection.execute("PRAGMA query_only=1")
    before = record.standing
    for write in (lambda: advance(record, overlay=Overlay({"a": 1})), lambda: record.remember(WELL)):
        with pytest.raises(StorageError):
            write()
    assert record.standing == before
    assert record.problem is not None


def test_nothing_of_a_file_is_logged(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        record = ConfigRecord(tmp_path / "config.db")
        record.adopt(b"password: hunter2", path="/x", overlay=Overlay(), at_ms=1)
        advance(record, text=b"password: hunter3", kind="file", trial=Trial())
        record.undo("bad", at_ms=2)
    assert "hunter" not in repr(logs)


def test_an_older_agents_record_is_left_readable(record: ConfigRecord) -> None:
    """What lies on disks in the field: a change of these names breaks devices that are updated."""
    advance(record, kind="file", trial=Trial())
    with sqlite3.connect(record.database.path) as db:
        keys = {key for (key,) in db.execute("SELECT key FROM meta")}
        (standing,) = db.execute("SELECT value FROM meta WHERE key = 'standing'").fetchone()
        (pending,) = db.execute("SELECT value FROM meta WHERE key = 'pending'").fetchone()
    db.close()
    assert keys == {"path", "standing", "pending", "revision"}
    assert set(msgspec_keys(standing)) == {"revision", "overlay", "file"}
    assert set(msgspec_keys(pending)) == {
        "revision", "at_ms", "who", "kind", "paths", "previous", "needs_confirm", "planned_restart", "before",
        "boot_id", "reboots",
    }  # fmt: skip


def msgspec_keys(data: bytes) -> list[str]:
    import msgspec

    return list(msgspec.json.decode(data))


class Records(RuleBasedStateMachine):
    """The record against a plain model, with a kill after any step."""

    @initialize()
    def start(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.record = ConfigRecord(Path(self.folder.name) / "config.db")
        self.record.adopt(b"0", path="/x", overlay=Overlay(), at_ms=0)
        self.revision, self.overlay, self.text = 1, Overlay(), b"0"
        self.previous: tuple[Overlay, bytes] | None = None

    @precondition(lambda self: self.previous is None)
    @rule(kind=st.sampled_from(["patch", "file", "desired", "revert"]), number=st.integers(0, 5), tried=st.booleans())
    def change(self, kind: str, number: int, tried: bool) -> None:
        was = (self.overlay, self.text)
        if kind in ("patch", "desired"):
            self.overlay = Overlay({"n": number})
        else:
            self.text = str(number).encode()
        self.record.advance(
            overlay=self.overlay,
            text=self.text,
            who="me",
            kind=kind,
            paths=(),
            at_ms=1,
            trial=Trial() if tried else None,
        )  # type: ignore[arg-type]
        self.revision += 1
        self.previous = was if tried else None

    @precondition(lambda self: self.previous is not None)
    @rule()
    def keep(self) -> None:
        self.record.keep(None)
        self.previous = None

    @precondition(lambda self: self.previous is not None)
    @rule()
    def undo(self) -> None:
        assert self.previous is not None
        self.record.undo("why", at_ms=2)
        (self.overlay, self.text), self.previous = self.previous, None
        self.revision += 1

    @rule()
    def kill(self) -> None:
        self.record = again(self.record)

    @invariant()
    def it_knows_what_is_in_force(self) -> None:
        if not hasattr(self, "record"):
            return
        standing = self.record.standing
        assert standing == Standing(self.revision, self.overlay, digest_of(self.text))
        assert self.record.text(standing.file) == self.text
        assert (self.record.pending is not None) is (self.previous is not None)
        history = self.record.history()
        assert history[0].revision == self.revision
        assert all(self.record.text(past.file) is not None for past in history)

    def teardown(self) -> None:
        if hasattr(self, "record"):
            self.record.close()
            self.folder.cleanup()


TestRecords = Records.TestCase
TestRecords.settings = settings(max_examples=examples(15), stateful_step_count=12, deadline=None)


def test_the_file_stays_small(record: ConfigRecord) -> None:
    for number in range(100):
        advance(record, text=(b"%d" % number) * 1000, kind="file")
    assert record.database.path.stat().st_size < 500_000
