"""The command itself: its exit codes, its JSON, checks that hang or break, cameras that nobody has, other users."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config.changes import Standing
from agent.config.desired import Overlay
from agent.doctor import case as cases
from agent.doctor import command, present, rounds
from agent.doctor.case import Case, take
from agent.doctor.checks import Check, Helpers, table
from agent.doctor.findings import Finding, failed, ok
from agent.doctor.judge.access import User
from agent.doctor.look import broker, cameras, programs, providers, records, registry, storage
from agent.doctor.look import glimpses as looking
from agent.doctor.look.glimpses import Glimpses
from agent.errors import StorageError
from agent.process.child import Spawner
from agent.settings import source_of
from agent.types import CameraName
from tests.test_cli import lookout

MakeCase = Callable[..., Case]


def told(*words: object, **environ: str) -> tuple[int, dict[str, Any]]:
    done = lookout("doctor", *words, "--json", environ=environ)
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in found["checks"]}


# --- the whole command -----------------------------------------------------------------------------------------------


def test_without_an_agent_the_camera_is_opened_and_everything_is_told(case: MakeCase, tmp_path: Path) -> None:
    case(registry={"trust_clock": True})
    began = time.monotonic()
    code, found = told("-c", tmp_path / "agent.yaml")
    assert time.monotonic() - began < 30 + 20  # this machine is shared
    seen = by_name(found)
    assert (code, found["exit"], found["state"]) == (0, 0, "ok"), found
    assert seen["camera front"]["status"] == "ok"
    assert (seen["camera front"]["values"]["width"], seen["agent"]["status"]) == (64, "warning")
    assert {"configuration", "clock", "disk room", "providers", "versions", "memory", "groups"} <= set(seen)
    assert all(one["remedy"] for one in found["checks"] if one["status"] in ("failed", "warning"))
    assert not (tmp_path / "state").exists(), "the doctor changes nothing"


def test_what_does_not_work_is_exit_3_and_secrets_stay_secret(case: MakeCase, tmp_path: Path) -> None:
    case(
        cameras={"front": {"source": {"kind": "url", "url": "rtsp://bob:hunter2222@127.0.0.1:1/x"}}},
        mqtt={"host": "127.0.0.1", "port": 1, "username": "gate", "password": "hunter3333"},
    )
    done = lookout("doctor", "-c", tmp_path / "agent.yaml")
    assert done.returncode == 3
    assert "failed   camera front" in done.stdout
    assert "→ 127.0.0.1, port 1: Connection refused" in done.stdout
    assert "hunter" not in done.stdout + done.stderr


def test_a_configuration_that_is_wrong_is_exit_2_and_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("cameras: {}\n")
    code, found = told("-c", file)
    seen = by_name(found)
    assert (code, found["state"]) == (2, "bad_config")
    assert seen["configuration"]["status"] == "failed"
    assert seen["ONNX Runtime"]["status"] in ("ok", "failed")
    assert seen["broker"]["found"] == "the configuration is not right: not looked at"
    assert told("-c", tmp_path / "absent.yaml")[0] == 2


def test_help_has_examples_and_exit_codes() -> None:
    said = lookout("doctor", "--help").stdout
    assert "lookout doctor -c agent.yaml --json" in said
    assert "exit 3" in said


# --- the round -------------------------------------------------------------------------------------------------------


def go(*checks: Check, case: Any = None) -> tuple[tuple[Finding, ...], list[tuple[int, int]]]:
    progress: list[tuple[int, int]] = []
    found = rounds.go(checks, case, None, lambda done, number, _: progress.append((done, number)))  # type: ignore[arg-type]
    return found, progress


def test_a_check_that_hangs_or_breaks_is_told_and_keeps_nobody_waiting() -> None:
    never = threading.Event()

    def hang(*_: Any) -> tuple[Finding, ...]:
        never.wait(60)
        return ()

    def crash(*_: Any) -> tuple[Finding, ...]:
        raise KeyError("x")

    def refuse(*_: Any) -> tuple[Finding, ...]:
        raise StorageError("the disk is full")

    began = time.monotonic()
    found, progress = go(
        Check("hangs", hang, deadline_s=0.5),
        Check("breaks", crash),
        Check("works", lambda *_: (ok("works", "well"), ok("too", "well"))),
        Check("refuses", refuse),
    )
    never.set()
    assert time.monotonic() - began < 10
    assert [one.name for one in found] == ["hangs", "breaks", "works", "too", "refuses"]
    assert [(one.verdict, one.broken) for one in found] == [
        ("failed", False), ("skipped", True), ("ok", False), ("ok", False), ("failed", False),
    ]  # fmt: skip
    assert "KeyError" in found[1].found
    assert progress[0] == (0, 4)


def test_names_of_checks_are_told_once_each_and_cameras_have_their_own(case: MakeCase) -> None:
    names = [check.name for check in table(case())]
    assert len(names) == len(set(names))
    assert "camera front" in names
    assert "cameras" in [check.name for check in table(replace(case(), loaded=None))]


def test_the_longest_deadline_is_within_half_a_minute(case: MakeCase) -> None:
    before, after = programs.ASK_S + cases.ASK_S, command.END_S
    assert before + max(check.deadline_s for check in table(case())) + after <= 30
    inner = (cameras.GLIMPSE_S + cameras.REACH_S, broker.WAY_S, registry.TOTAL_S, providers.HELLO_S)
    assert max(inner) < max(check.deadline_s for check in table(case())), "what hangs is told by who knows what it is"


def test_the_table_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    present.table([failed("camera \x1b[31m", "said \x1b]0;x\x07 rtsp://a:b@c", "do\nthat")])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "a:b@" not in said
    assert "1 failed" in said


# --- what is looked at -----------------------------------------------------------------------------------------------


@pytest.fixture
def glimpses() -> Any:
    spawner = Spawner(lambda _name, _record: None)
    made = Glimpses(spawner)
    yield made
    made.close()
    spawner.close()


def test_a_driver_that_hangs_is_left_in_its_own_process(case: MakeCase, glimpses: Glimpses, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer that never comes
    made = case(
        cameras={
            "hangs": {"source": {"kind": "file", "path": "pipe"}},
            "works": {"source": {"kind": "pattern", "width": 64, "height": 64}},
        },
        pipelines={"main": {"cameras": ["hangs", "works"]}},
    )
    assert made.loaded is not None
    hung = glimpses.of(CameraName("hangs"), source_of(made.loaded, CameraName("hangs")), 1.0)
    assert hung.size is None
    assert "within 1 s" in hung.problem
    seen = cameras.look(made, CameraName("works"), glimpses)
    assert seen.glimpse is not None
    assert seen.glimpse.size == (64, 64)
    assert looking.SLOTS == 2


def test_a_camera_that_does_not_exist_is_not_opened(case: MakeCase, glimpses: Glimpses) -> None:
    made = case(cameras={"front": {"source": {"kind": "device", "device": 63}}})
    seen = cameras.look(made, CameraName("front"), glimpses)
    assert seen.device is not None
    assert (seen.device.wanted, seen.device.path, seen.glimpse) == ("/dev/video63", "", None)


def test_why_a_network_camera_does_not_answer_is_found_out() -> None:
    assert "Connection refused" in cameras.unreachable("rtsp://a:b@127.0.0.1:1/x")
    assert "cannot be resolved" in cameras.unreachable("rtsp://nowhere.invalid/x")
    assert cameras.unreachable("rtsp://127.0.0.1:99999/x")


def test_a_folder_of_another_user_is_judged_by_its_mode(case: MakeCase, tmp_path: Path) -> None:
    made = case()
    (tmp_path / "state").mkdir(mode=0o755)
    nobody = replace(made, user=User("nobody", 65534, frozenset({65534}), "x"))
    assert storage.look(nobody).writable is False
    (tmp_path / "state").chmod(0o777)
    assert storage.look(nobody).writable is True
    mine = storage.look(replace(made, user=User("me", os.geteuid(), frozenset(), "x")))
    assert (mine.writable, mine.problem) == (True, "")
    assert list((tmp_path / "state").iterdir()) == []


def test_what_the_agent_remembers_is_read_and_never_made(tmp_path: Path) -> None:
    assert (records.overlay(tmp_path), records.clock_floor_ms(tmp_path)) == (None, 0)
    assert list(tmp_path.iterdir()) == []
    for name in ("config.db", "journal.db"):
        (tmp_path / name).write_bytes(b"rubbish")
    assert (records.overlay(tmp_path), records.seen_versions(tmp_path)) == (None, ("", {}))


def test_what_was_changed_from_afar_is_looked_at_too(case: MakeCase, tmp_path: Path) -> None:
    case()
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "config.db") as db:
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        standing = Standing(2, Overlay({"report": {"detections_hz": 1.5}, "paths": {"state": "elsewhere"}}), "")
        db.execute("INSERT INTO meta VALUES ('standing', ?)", (msgspec.json.encode(standing),))
    db.close()
    seen = take(tmp_path / "agent.yaml", {"HOME": str(tmp_path)})
    assert seen.loaded is not None
    assert seen.loaded.config.report.detections_hz == 1.5
    assert "paths.state" in seen.notes


def test_the_services_folders_are_meant_where_the_file_is_the_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: MakeCase
) -> None:
    made = case()
    assert made.loaded is not None
    file = tmp_path / "service.yaml"
    file.write_text("cameras: {a: {source: {kind: pattern}}}\npipelines: {b: {cameras: [a]}}\n")
    monkeypatch.setattr(cases, "SERVICE_FILE", file)
    seen = take(None, {"HOME": str(tmp_path)})
    assert (seen.file, seen.places.state, seen.places.runtime) == (file, cases.SERVICE_STATE, Path("/run/lookout"))


def test_helpers_start_nothing_by_themselves() -> None:
    spawner = Spawner(lambda _name, _record: None)
    try:
        assert Helpers(spawner, Glimpses(spawner)).glimpses._handle is None
    finally:
        spawner.close()
