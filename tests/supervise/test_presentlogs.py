"""How ``lookout logs`` shows a record."""

from __future__ import annotations

from agent.supervise.presentlogs import shown

RECORD = {
    "at": "2026-11-28T21:07:04.123Z",
    "level": "warning",
    "part": "deploy",
    "child": "worker-1",
    "event": "swap.late",
    "gap_ms": 3.5,
    "tags": ["a"],
}


def test_a_record_is_one_line() -> None:
    assert shown(RECORD).plain == '21:07:04.123 warning  deploy/worker-1 swap.late gap_ms=3.5 tags=["a"]'


def test_what_was_folded_says_how_often() -> None:
    assert shown({**RECORD, "repeated": 7}).plain.endswith("(again 7 times)")


def test_a_traceback_stands_below() -> None:
    text = shown({**RECORD, "exception": "Traceback\n  line\nValueError: x"}).plain
    assert text.splitlines()[1:] == ["Traceback", "  line", "ValueError: x"]


def test_lines_that_were_left_out_are_told() -> None:
    assert "7 lines were left out" in shown({"dropped": 7}).plain


def test_no_record_can_steer_the_terminal() -> None:
    nasty = "\x1b[2Jx\x07\n\r\u202e"
    record = {"at": nasty, "level": nasty, "part": nasty, "event": nasty, nasty: nasty, "list": [nasty]}
    text = shown({**record, "exception": "a\x1b[2J\nb"}).plain
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_record_without_anything_is_shown_too() -> None:
    assert shown({}).plain.strip().startswith("info")
