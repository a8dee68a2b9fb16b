"""What runs at a start: the file, or the last good one; and every revert that a kill interrupted is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.config.boot import CUT_OFF, Chosen, choose
from agent.config.changes import MOST_REBOOTS, Trial, digest_of
from agent.config.confirm import CameraVitals, Vitals
from agent.config.desired import Overlay
from agent.config.record import ConfigRecord
from agent.errors import ConfigError
from tests.depth import examples

GOOD = """\
paths: {state: state}
cameras: {front: {source: {kind: pattern, fps: 5}}}
pipelines: {main: {cameras: [front]}}
mqtt: {host: one.local, username: u, password: hunter2}
remote: {brokers: [two.local, three.local]}
"""
WELL = Vitals(5, True, 2, {"front": CameraVitals("streaming", "", 10, 9, 4.5)})
TWO = Overlay({"mqtt": {"host": "two.local"}})


class Starts:
    """A device that starts again and again: its file, its folder of state, and the record that is open."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "agent.yaml"
        self.environ: dict[str, str] = {"HOME": str(folder)}
        self.record: ConfigRecord | None = None
        self.folders: list[Path] = []

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def kill(self) -> None:
        if self.record is not None:
            self.record.close()
            self.record = None

    def start(self) -> Chosen:
        self.kill()
        chosen = choose(self.file, self.environ, self._open)
        assert self.record is not None
        assert "hunter2" not in repr(chosen.notes) + chosen.reverted
        return chosen

    def _open(self, state: Path) -> ConfigRecord:
        self.folders.append(state)
        self.record = ConfigRecord(state / "config.db")
        return self.record

    def patch(self, overlay: Overlay, **trial: Any) -> None:
        """What the steward does when a patch comes: make it durable, on probation."""
        assert self.record is not None
        standing = self.record.standing
        assert standing is not None
        text = self.record.text(standing.file)
        assert text is not None
        self.record.advance(
            overlay=overlay, text=text, who="me", kind="patch", paths=("mqtt.host",), at_ms=1, trial=Trial(**trial)
        )

    def edit(self, text: str) -> None:
        """What the steward does when the file was edited: the same."""
        assert self.record is not None
        standing = self.record.standing
        assert standing is not None
        self.write(text)
        self.record.advance(
            overlay=standing.overlay, text=text.encode(), who="file", kind="file", paths=(), at_ms=1, trial=Trial()
        )


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Starts]:
    starts = Starts(tmp_path)
    starts.write(GOOD)
    yield starts
    starts.kill()


def told(chosen: Chosen) -> str:
    return "\n".join(f"{note.path}: {note.message}" for note in chosen.notes)


# --- the first start, and quiet ones ---------------------------------------------------------------------------------


def test_the_first_start_takes_the_file(device: Starts) -> None:
    chosen = device.start()
    assert (chosen.revision, chosen.overlay, chosen.notes, chosen.reverted, chosen.resume) == (
        1,
        Overlay(),
        (),
        "",
        None,
    )
    assert chosen.file == digest_of(GOOD.encode())
    assert chosen.loaded.config.mqtt.host == "one.local"
    assert device.folders == [device.file.parent / "state"]
    assert "hunter2" not in repr(chosen)


def test_the_first_start_with_a_wrong_file_is_refused(device: Starts) -> None:
    for text in ("mqtt: {host: 5}", "{", ""):
        device.write(text)
        with pytest.raises(ConfigError):
            device.start()
    device.file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        device.start()


def test_a_start_without_any_change_is_no_revision(device: Starts) -> None:
    device.start()
    assert device.start().revision == 1


def test_the_overlay_is_in_force_after_a_restart(device: Starts) -> None:
    device.start()
    device.patch(TWO)
    assert device.record is not None
    device.record.keep(WELL)
    chosen = device.start()
    assert (chosen.overlay, chosen.revision) == (TWO, 2)
    assert chosen.loaded.config.mqtt.host == "two.local"
    assert chosen.base.config.mqtt.host == "one.local"


# --- kills and planned restarts in a probation -----------------------------------------------------------------------


def test_a_patch_whose_probation_was_cut_off_by_a_kill_is_undone(device: Starts) -> None:
    device.start()
    device.patch(TWO)
    chosen = device.start()
    assert chosen.reverted == CUT_OFF
    assert (chosen.overlay, chosen.revision, chosen.resume) == (Overlay(), 3, None)
    assert "revision 2 was undone" in told(chosen)
    assert device.start().reverted == ""


def test_an_edit_whose_probation_was_cut_off_is_undone_and_not_taken_again(device: Starts) -> None:
    device.start()
    edited = GOOD.replace("one.local", "dead.local")
    device.edit(edited)
    chosen = device.start()
    assert chosen.reverted == CUT_OFF
    assert chosen.loaded.config.mqtt.host == "one.local"
    for _ in range(2):
        chosen = device.start()
        assert chosen.loaded.config.mqtt.host == "one.local"
        assert "was refused" in told(chosen)
    assert device.file.read_text() == edited


def test_another_edit_after_a_refused_one_is_taken(device: Starts) -> None:
    device.start()
    device.edit(GOOD.replace("one.local", "dead.local"))
    device.start()
    device.write(GOOD.replace("one.local", "right.local"))
    chosen = device.start()
    assert chosen.loaded.config.mqtt.host == "right.local"
    assert chosen.resume is not None


def test_the_last_good_bytes_may_be_put_back(device: Starts) -> None:
    device.start()
    device.edit(GOOD.replace("one.local", "dead.local"))
    device.start()
    device.write(GOOD)
    chosen = device.start()
    assert (chosen.notes, chosen.resume, chosen.loaded.config.mqtt.host) == ((), None, "one.local")


def test_a_planned_restart_begins_the_probation_anew_and_once(device: Starts) -> None:
    device.start()
    device.patch(TWO, needs_confirm=True, planned_restart=True, before=WELL)
    chosen = device.start()
    assert chosen.resume is not None
    assert (chosen.resume.change.revision, chosen.revision) == (2, 2)
    assert chosen.resume.change.before == WELL
    assert chosen.resume.guard.needs_confirm
    assert chosen.resume.before is not None
    assert chosen.resume.before.config.mqtt.host == "one.local"
    assert chosen.loaded.config.mqtt.host == "two.local"
    chosen = device.start()  # killed in it
    assert chosen.reverted == CUT_OFF
    assert chosen.loaded.config.mqtt.host == "one.local"


def test_a_planned_restart_into_a_wrong_configuration_is_undone_with_the_reason(device: Starts) -> None:
    device.start()
    device.patch(TWO, planned_restart=True)
    device.environ["LOOKOUT__REMOTE__BROKERS"] = "[three.local]"
    chosen = device.start()
    assert "could not be put in force" in chosen.reverted
    assert chosen.loaded.config.mqtt.host == "one.local"


def test_an_edit_made_beside_a_cut_off_patch_goes_on_probation_itself(device: Starts) -> None:
    device.start()
    device.patch(TWO)
    device.write(GOOD.replace("fps: 5", "fps: 7"))
    chosen = device.start()
    assert chosen.reverted == CUT_OFF
    assert (chosen.overlay, chosen.revision) == (Overlay(), 4)
    assert chosen.resume is not None
    assert chosen.resume.change.paths == ("cameras.front.source.fps",)


def test_an_edit_made_beside_a_planned_restart_waits(device: Starts) -> None:
    device.start()
    device.patch(TWO, planned_restart=True)
    device.write(GOOD.replace("fps: 5", "fps: 7"))
    chosen = device.start()
    assert chosen.resume is not None
    assert chosen.resume.change.kind == "patch"
    assert chosen.text == GOOD.encode()


# --- edits while the agent was off -----------------------------------------------------------------------------------


def test_a_guarded_edit_goes_on_probation_with_what_was_well_before(device: Starts) -> None:
    device.start()
    assert device.record is not None
    device.record.remember(WELL)
    device.write(GOOD.replace("fps: 5", "fps: 7"))
    chosen = device.start()
    assert chosen.resume is not None
    assert chosen.resume.change.kind == "file"
    assert chosen.resume.change.before == WELL
    assert not chosen.resume.guard.needs_confirm
    assert chosen.resume.change.paths == ("cameras.front.source.fps",)
    assert chosen.loaded.config.cameras["front"].source.fps == 7


def test_an_edit_of_nothing_guarded_is_kept_at_once(device: Starts) -> None:
    device.start()
    device.write(GOOD + "report: {telemetry_s: 5}\n")
    chosen = device.start()
    assert (chosen.revision, chosen.resume) == (2, None)
    assert chosen.loaded.config.report.telemetry_s == 5
    assert device.start().revision == 2


def test_an_edited_comment_is_no_change(device: Starts) -> None:
    device.environ["LOOKOUT__PATHS__STATE"] = "state"
    device.start()
    device.write(GOOD + "# hello\n")
    chosen = device.start()
    assert (chosen.revision, chosen.resume, chosen.notes) == (1, None, ())
    device.write("{")
    assert device.start().text.endswith(b"# hello\n")


@pytest.mark.parametrize(
    "text", ["{", "", "mqtt: {host: 5}", "x: " + "[" * 1000, "\x00", GOOD.replace("front", "frönt")]
)
def test_a_wrong_edit_leaves_the_last_good_one_running_and_says_why(device: Starts, text: str) -> None:
    device.environ["LOOKOUT__PATHS__STATE"] = "state"
    device.start()
    device.write(text)
    chosen = device.start()
    assert chosen.loaded.config.mqtt.host == "one.local"
    assert "the last good one runs" in told(chosen)
    assert len(chosen.notes) > 1
    assert device.file.read_text() == text


def test_a_broken_file_that_still_names_its_state_folder_is_survived(device: Starts) -> None:
    device.start()
    device.write(GOOD + "mqtt: [")
    assert device.start().loaded.config.mqtt.host == "one.local"
    device.write("paths:\n  # where\n  state: state\n\nmqtt: {host: }}}\ncameras: 5\n")
    assert device.start().loaded.config.mqtt.host == "one.local"


def test_a_file_that_vanished_is_survived(device: Starts) -> None:
    device.environ["STATE_DIRECTORY"] = str(device.file.parent / "var")
    device.write(GOOD.replace("paths: {state: state}\n", ""))
    device.start()
    device.file.unlink()
    assert device.start().loaded.config.mqtt.host == "one.local"
    device.file.mkdir()
    assert "Is a directory" in told(device.start())


def test_a_file_that_does_not_go_together_with_the_overlay_waits(device: Starts) -> None:
    device.start()
    device.patch(Overlay({"cameras": {"front": {"max_fps": 3.0}}}))
    assert device.record is not None
    device.record.keep(None)
    device.write(GOOD.replace("front", "back"))
    chosen = device.start()
    assert list(chosen.loaded.config.cameras) == ["front"]
    assert "cameras.front.source" in told(chosen)


def test_a_file_that_narrows_what_is_allowed_wins_over_the_overlay(device: Starts) -> None:
    device.start()
    device.patch(Overlay({**TWO.config, "report": {"all": True}}))
    assert device.record is not None
    device.record.keep(None)
    device.write(GOOD.replace("two.local, ", ""))
    chosen = device.start()
    assert chosen.overlay == Overlay({"report": {"all": True}})
    assert chosen.loaded.config.mqtt.host == "one.local"
    assert "mqtt.host" in told(chosen)
    device.record.keep(None)
    again = device.start()
    assert (again.overlay, again.notes) == (chosen.overlay, ())


def test_a_wrong_variable_in_the_environment_is_nobodys_last_good_one(device: Starts) -> None:
    device.start()
    device.environ["LOOKOUT__MQTT__PORT"] = "x"
    with pytest.raises(ConfigError, match=r"mqtt\.port"):
        device.start()


def test_an_edit_mends_what_another_agent_or_environment_broke(device: Starts) -> None:
    device.start()
    device.environ["LOOKOUT__ZONES"] = "{yard: {camera: back, line: [[0, 0], [1, 1]]}}"
    with pytest.raises(ConfigError):
        device.start()
    device.write(GOOD.replace("front", "back"))
    chosen = device.start()
    assert chosen.resume is None
    assert list(chosen.loaded.config.cameras) == ["back"]


def test_an_overlay_that_this_agent_does_not_understand_is_left_out(device: Starts) -> None:
    device.start()
    device.patch(Overlay({"report": {"telemetry_s": "often"}}))
    assert device.record is not None
    device.record.keep(None)
    chosen = device.start()
    assert chosen.overlay == Overlay()
    assert "left out" in told(chosen)
    assert chosen.loaded.config.report.telemetry_s == 10


# --- another file, and a record that is not what it was ---------------------------------------------------------------


def test_a_file_at_another_path_is_taken_as_it_is_and_keeps_the_overlay(device: Starts) -> None:
    device.start()
    device.patch(TWO)
    assert device.record is not None
    device.record.keep(None)
    device.file = device.file.with_name("other.yaml")
    device.write(GOOD.replace("fps: 5", "fps: 7"))
    chosen = device.start()
    assert (chosen.resume, chosen.overlay) == (None, TWO)
    assert chosen.loaded.config.cameras["front"].source.fps == 7
    device.file = device.file.with_name("third.yaml")
    device.write(GOOD + "nonsense: 1")
    with pytest.raises(ConfigError, match="nonsense"):
        device.start()


def test_a_damaged_record_lets_the_file_run_and_says_so(device: Starts) -> None:
    device.start()
    device.patch(TWO)
    device.kill()
    (device.folders[0] / "config.db").write_bytes(b"garbage" * 2000)
    with structlog.testing.capture_logs():
        chosen = device.start()
    assert (chosen.overlay, chosen.revision) == (Overlay(), 1)
    assert "set aside" in told(chosen)


def test_a_record_that_lost_the_files_bytes_lets_the_file_run(device: Starts) -> None:
    device.start()
    assert device.record is not None
    with device.record.database.transaction() as db:
        db.execute("DELETE FROM files")
    assert "lost the bytes" in told(device.start())
    assert device.start().notes == ()


def test_a_record_that_cannot_be_written_leaves_what_was_good(device: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    device.start()
    device.patch(TWO)
    opened = device._open

    def full(state: Path) -> ConfigRecord:
        record = opened(state)
        record.database._connection.execute("PRAGMA query_only=1")
        return record

    monkeypatch.setattr(device, "_open", full)
    device.write(GOOD.replace("fps: 5", "fps: 7"))
    chosen = device.start()
    assert chosen.reverted == CUT_OFF
    assert chosen.loaded.config.mqtt.host == "one.local"
    assert chosen.loaded.config.cameras["front"].source.fps == 5
    assert "cannot be remembered" in told(chosen)


def test_a_first_start_on_a_full_disk_runs(device: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = device._open

    def full(state: Path) -> ConfigRecord:
        record = opened(state)
        record.database._connection.execute("PRAGMA query_only=1")
        return record

    monkeypatch.setattr(device, "_open", full)
    chosen = device.start()
    assert chosen.loaded.config.mqtt.host == "one.local"
    assert "cannot be remembered" in told(chosen)


# --- never without a configuration -----------------------------------------------------------------------------------

FILES = [
    GOOD,
    GOOD.replace("fps: 5", "fps: 7"),
    GOOD + "report: {all: true}\n",
    GOOD.replace("front", "back"),
    "{",
    "",
    None,
]


class Boots(RuleBasedStateMachine):
    """Edits, patches, kills and starts in any order: there is always a valid configuration."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.device = Starts(Path(self.folder.name))
        self.device.environ["LOOKOUT__PATHS__STATE"] = "state"
        self.device.write(GOOD)
        self.chosen = self.device.start()
        self.undone: set[str] = set()

    @rule(text=st.sampled_from(FILES))
    def edit_while_off(self, text: str | None) -> None:
        if text is None:
            self.device.file.unlink(missing_ok=True)
        else:
            self.device.write(text)
            self.undone.discard(digest_of(text.encode())) if text == GOOD else None

    @precondition(lambda self: self.device.record.pending is None)
    @rule(planned=st.booleans(), host=st.sampled_from(["two.local", "three.local"]))
    def patch(self, planned: bool, host: str) -> None:
        self.device.patch(Overlay({"mqtt": {"host": host}}), planned_restart=planned)

    @precondition(lambda self: self.device.record.pending is not None)
    @rule()
    def keep(self) -> None:
        self.device.record.keep(WELL)

    @rule()
    def killed_and_started(self) -> None:
        record = self.device.record
        pending, standing = record.pending, record.standing
        before = self.chosen
        self.chosen = self.device.start()
        assert self.chosen.revision >= before.revision
        if pending is not None and not pending.planned_restart:
            assert self.chosen.reverted == CUT_OFF
            assert self.device.record.at(pending.revision).outcome == "undone"
            assert pending.previous.overlay == self.chosen.overlay
        elif pending is not None:
            assert self.chosen.resume is not None
            assert self.chosen.resume.change.revision == pending.revision
        else:
            assert self.chosen.overlay == standing.overlay

    @invariant()
    def something_valid_runs(self) -> None:
        if not hasattr(self, "chosen"):
            return
        assert self.chosen.loaded.config.cameras
        assert digest_of(self.chosen.text) == self.chosen.file
        pending = self.device.record.pending
        assert pending is None or not self.chosen.resume or pending.revision >= self.chosen.resume.change.revision

    def teardown(self) -> None:
        if hasattr(self, "device"):
            self.device.kill()
            self.folder.cleanup()


TestBoots = Boots.TestCase
TestBoots.settings = settings(max_examples=examples(15), stateful_step_count=10, deadline=None)


@pytest.fixture
def boot(tmp_path: Path) -> Callable[[int | None, str], Chosen]:
    """Write a file with this ``max_fps`` and start on this boot of the kernel."""
    file = tmp_path / "agent.yaml"
    (tmp_path / ".local/state/lookout").mkdir(parents=True)

    def start(fps: int | None, boot_id: str) -> Chosen:
        gate = {"source": {"kind": "pattern"}, "max_fps": fps}
        whole = {"schema": 1, "cameras": {"gate": gate}, "pipelines": {"a": {"cameras": ["gate"]}}}
        file.write_text(json.dumps(whole))
        found = choose(file, {"HOME": str(tmp_path)}, lambda state: ConfigRecord(state / "config.db", boot_id=boot_id))
        found.record.close()
        return found

    return start


def test_a_host_that_goes_down_in_a_probation_begins_it_anew_but_not_for_ever(boot):
    boot(None, "one")
    found = boot(2, "one")
    for number in range(MOST_REBOOTS):
        assert found.loaded.config.cameras["gate"].max_fps == 2
        assert found.resume is not None
        found = boot(2, f"after cut {number}")
    assert found.resume is not None
    found = boot(2, "once more")
    assert found.loaded.config.cameras["gate"].max_fps is None
    assert found.reverted


def test_a_kill_on_the_same_boot_is_not_taken_for_a_mains_cut(boot):
    for fps in (None, 2, 2):
        found = boot(fps, "the same")
    assert found.loaded.config.cameras["gate"].max_fps is None
