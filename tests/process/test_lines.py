"""What a child writes is sorted, bounded, and free of credentials."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.process.lines import BURST_LINES, KEPT_BYTES, LINES_PER_S, MAX_LINE_BYTES, ChildLines


def line(**record) -> bytes:
    return json.dumps({"event": "e", **record}).encode() + b"\n"


@given(st.lists(st.integers(1, 30), max_size=20))
def test_lines_are_the_same_however_the_bytes_are_cut(cuts):
    data = line(n=1) + b"native text\n" + line(n=2) + b"{broken\n" + b'{"no": "event"}\n' + line(n=3)
    lines = ChildLines("probe", 0)
    found = []
    for cut in cuts:
        found += lines.feed(data[:cut], 0)
        data = data[cut:]
    found += lines.feed(data, 0)
    assert [record["n"] for record in found] == [1, 2, 3]
    assert lines.native_text() == 'native text\n{broken\n{"no": "event"}'


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_bytes_are_taken(chunks):
    lines = ChildLines("probe", 0)
    for chunk in chunks:
        lines.feed(chunk, 0)
    lines.finish(0)
    assert len(lines.native_text().encode("utf-8", "replace")) <= 3 * KEPT_BYTES


def test_a_flood_is_dropped_and_counted():
    lines = ChildLines("probe", 0)
    told, *passed = lines.feed(line() * (BURST_LINES + 100), 0)
    assert told == {"event": "log.dropped", "level": "warning", "part": "probe", "lines": 100}
    assert len(passed) == BURST_LINES
    assert lines.feed(line() * 7, 0) == []
    told, *passed = lines.feed(line() * 3, NS_PER_S)
    assert told["lines"] == 7
    assert len(passed) == 3 < LINES_PER_S


def test_an_endless_line_is_cut_and_the_next_one_is_read():
    lines = ChildLines("probe", 0)
    for _ in range(100):
        assert lines.feed(b"x" * 1000, 0) == []
    assert lines.feed(b"xxx\n" + line(n=1), 0)[0]["n"] == 1
    assert len(lines.native_text()) <= KEPT_BYTES


def test_a_log_line_that_is_too_long_is_not_parsed():
    lines = ChildLines("probe", 0)
    assert lines.feed(line(text="x" * MAX_LINE_BYTES), 0) == []


def test_only_the_last_native_text_is_kept():
    lines = ChildLines("probe", 0)
    for number in range(2000):
        lines.feed(b"native %d\n" % number, 0)
    assert lines.native_text().endswith("native 1999")
    assert len(lines.native_text()) <= KEPT_BYTES


def test_what_was_left_without_an_end_counts():
    lines = ChildLines("probe", 0)
    lines.feed(b"last words", 0)
    assert lines.native_text() == ""
    lines.finish(0)
    assert lines.native_text() == "last words"


def test_credentials_are_taken_out():
    lines = ChildLines("probe", 0)
    lines.feed(b"cannot open rtsp://me:secret@camera/1\n", 0)
    assert "secret" not in lines.native_text()
    assert "camera/1" in lines.native_text()
