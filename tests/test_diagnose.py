"""The bundle of ``device/diagnose``: bounded, whole where it can be, and told also where a part is broken."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.diagnose import MAX_BYTES, Diagnoser, Section, fitted
from agent.errors import CameraError, CommandError, StorageError
from agent.link.forms import CameraSnapshot, DeviceDiagnose
from agent.link.messages import encode
from agent.link.verbs import Deferred
from agent.redact import is_secret_key
from agent.snapshots import SnapshotTaken
from agent.types import CameraName
from agent.vision.whynot import WhyNot

CAMERAS = {CameraName(name): WhyNot("reporting", "fine") for name in ("front", "back", "side")}


def refuse() -> Any:
    raise StorageError("journal.db: cannot be read")


def fail() -> Any:
    raise OSError(5, "Input/output error")


def picture(args: CameraSnapshot) -> Deferred:
    if args.camera == "side":
        raise CameraError("at most 1 picture a second")
    answer = Deferred()
    taken = SnapshotTaken(str(args.camera), f"snapshots/{args.camera}", "", (1, 1), 1, 0)
    settle = (lambda: answer.answer(taken)) if args.camera == "front" else (lambda: answer.fail(CameraError("dark")))
    threading.Timer(0.05, settle).start()
    return answer


def diagnoser(*sections: Section, logs: int = 0, snapshot: Any = picture) -> Diagnoser:
    records = [{"event": "x", "n": n, "text": "t" * 900} for n in range(logs)]
    return Diagnoser(sections, why_not=lambda: CAMERAS, logs=lambda n: records[-n:] if n else (), snapshot=snapshot)


def test_a_part_that_is_broken_does_not_hide_the_others() -> None:
    found = diagnoser(Section("a", refuse), Section("b", fail), Section("c", lambda: {"n": 1})).diagnose(
        DeviceDiagnose()
    )
    assert found.sections == {
        "a": {"cannot_be_read": "journal.db: cannot be read"},
        "b": {"cannot_be_read": "Input/output error"},
        "c": {"n": 1},
        "logs": [],
    }
    assert found.truncated == ()
    assert set(found.cameras) == {"front", "back", "side"}


def test_the_newest_records_are_kept_and_what_is_left_out_is_told() -> None:
    found = diagnoser(logs=500).diagnose(DeviceDiagnose(logs=500))
    assert found.sections["logs"][-1]["n"] == 499
    assert len(encode(found)) < MAX_BYTES
    assert found.truncated == (f"logs: only the newest {len(found.sections['logs'])} of 500",)


def test_one_camera_may_be_asked_for() -> None:
    assert set(diagnoser().diagnose(DeviceDiagnose(camera="back")).cameras) == {"back"}
    with pytest.raises(CommandError, match="it has front, back, side"):
        diagnoser().diagnose(DeviceDiagnose(camera="cellar"))


def test_each_camera_says_where_its_picture_went_or_why_there_is_none() -> None:
    found = diagnoser().diagnose(DeviceDiagnose(snapshot=True))
    assert found.snapshots == {"front": "snapshots/front", "back": "dark", "side": "at most 1 picture a second"}


def test_a_picture_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.diagnose.PICTURES_S", 0.1)
    found = diagnoser(snapshot=lambda _: Deferred()).diagnose(DeviceDiagnose(snapshot=True, camera="front"))
    assert found.snapshots == {"front": "not there within 0.1 s; it may still come on snapshots/front"}


def test_bytes_are_not_told() -> None:
    found = diagnoser(Section("a", lambda: {"file": b"password: x"})).diagnose(DeviceDiagnose())
    assert found.sections["a"] == {"file": "(11 bytes)"}


keys = st.text(max_size=20).filter(lambda key: not is_secret_key(key))  # whose value would be hidden
values = st.recursive(
    st.none() | st.integers(-(2**40), 2**40) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=40,
)


@given(values, st.integers(100, 3000), st.booleans())
def test_a_section_never_exceeds_its_share_and_nothing_is_left_out_silently(
    value: Any, max_bytes: int, newest: bool
) -> None:
    section = Section("x", lambda: value, max_bytes, newest=newest)
    kept, note = fitted(section, value)
    assert len(msgspec.json.encode(kept)) <= max_bytes
    if not note:
        assert kept == value
    elif isinstance(value, list):
        assert kept == (value[len(value) - len(kept) :] if newest else value[: len(kept)])
    elif isinstance(value, dict):
        assert all(value[key] == inner for key, inner in kept.items())
