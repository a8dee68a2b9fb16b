"""Logging: one line a record, no secret in it, the level changes live, children's lines come through as theirs."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Logs
from agent.logs.children import forward
from agent.logs.entry import Entry
from agent.logs.output import StreamSink, goes_to_journal
from agent.logs.processors import MAX_RECORD_CHARS, MAX_TEXT_CHARS, as_json, clean
from agent.logs.ring import LogRing
from agent.logs.setup import Logging, configure

from .conftest import lines


def test_a_record_is_one_line_of_json_with_time_level_part_and_event_first(logs: Logging, out: io.BytesIO) -> None:
    structlog.get_logger(part="deploy").info("swap.done", gap_ms=3.5, pipeline="main", text="two\nlines")
    (line,) = lines(out)
    assert list(line)[:4] == ["at", "level", "part", "event"]
    assert (line["level"], line["event"], line["gap_ms"], line["text"]) == ("info", "swap.done", 3.5, "two\nlines")
    assert str(line["at"]).endswith("Z")


def test_an_exception_is_logged_with_its_traceback(logs: Logging, out: io.BytesIO) -> None:
    try:
        raise ValueError("rtsp://user:hunter2@host/x failed")
    except ValueError:
        structlog.get_logger(part="x").exception("failed")
    (line,) = lines(out)
    assert "Traceback" in str(line["exception"])
    assert "hunter2" not in str(line)


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"mqtt_token": "hunter2"},
        {"api_key": "hunter2"},
        {"secret": ["hunter2"]},
        {"url": "rtsp://admin:hunter2@10.0.0.1/x"},
        {"url": "https://h/x?user=a&token=hunter2&b=1"},
        {"text": "cannot open rtsp://admin:hunter2/@10.0.0.1/x, giving up"},
        {"config": {"mqtt": {"password": "hunter2"}}},
        {"list": [{"url": "http://a:hunter2@b"}]},
        {"error": ValueError("http://a:hunter2@b")},
        {"path": Path("http:/") / "x", "authorization": "Bearer hunter2"},
    ],
)
def test_a_secret_reaches_neither_the_stream_nor_the_ring(
    logs: Logging, out: io.BytesIO, fields: dict[str, object]
) -> None:
    structlog.get_logger(part="x").info("event", **fields)
    assert b"hunter2" not in out.getvalue()
    assert "hunter2" not in str(logs.ring.tail(1))
    assert len(lines(out)) == 1


def test_a_file_of_a_secret_is_no_secret(logs: Logging, out: io.BytesIO) -> None:
    structlog.get_logger(part="x").info("event", password_file="/run/x", keys=3)
    assert lines(out)[0]["password_file"] == "/run/x"


class Nasty:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        10**30,
        float("nan"),
        float("inf"),
        b"\xff",
        "\ud800",
        {1: 2},
        {3},
        Nasty(),
        [[[[[[[[1]]]]]]]],
        "x" * 100_000,
        object(),
    ],
)
def test_whatever_is_logged_becomes_one_bounded_line(logs: Logging, out: io.BytesIO, value: object) -> None:
    structlog.get_logger(part="x").info("event", value=value)
    assert len(lines(out)) == 1
    assert len(out.getvalue()) < MAX_TEXT_CHARS + 500


def test_a_record_is_bounded_as_a_whole(logs: Logging, out: io.BytesIO) -> None:
    structlog.get_logger(part="x").info("event", **{f"k{n}": "x" * 8000 for n in range(200)})
    structlog.get_logger(part="x").info("event", tree=[[["x" * 8000] * 100] * 100] * 100)
    first, second = out.getvalue().splitlines()
    assert len(first) < MAX_RECORD_CHARS + 4000
    assert len(second) < 8 * MAX_RECORD_CHARS


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5))
def test_any_record_can_be_written(record: dict[str, object]) -> None:
    assert b"\n" not in as_json(clean(None, "info", dict(record)))


def test_the_ring_keeps_the_newest_records_and_counts_the_rest() -> None:
    ring = LogRing(3)
    for n in range(5):
        ring.append(Entry.of({"event": str(n), "level": "info" if n % 2 else "error"}))
    assert [record["event"] for record in ring.tail(2)] == ["3", "4"]
    assert [record["event"] for record in ring.tail(10)] == ["2", "3", "4"]
    assert [record["event"] for record in ring.tail(10, "error")] == ["2", "4"]
    assert ring.tail(0) == ()
    assert ring.dropped == 2


def test_the_ring_is_bounded_by_bytes_too() -> None:
    ring = LogRing(1000, max_bytes=10_000)
    for n in range(100):
        ring.append(Entry.of({"event": str(n), "level": "info", "text": "x" * 1000}))
    assert 8 <= len(ring.tail(1000)) <= 10
    assert ring.tail(1)[0]["event"] == "99"


def test_a_childs_line_keeps_its_level_and_time_and_gets_its_name(logs: Logging, out: io.BytesIO) -> None:
    forward(
        "worker-7", {"event": "loaded", "level": "error", "at": "2026-01-01T00:00:00.000Z", "part": "serve", "ms": 3}
    )
    forward("worker-7", {"event": "chatter", "level": "debug"})
    (line,) = lines(out)
    assert (line["event"], line["child"], line["part"], line["ms"]) == ("loaded", "worker-7", "serve", 3)
    assert (line["level"], line["at"]) == ("error", "2026-01-01T00:00:00.000Z")


def test_a_childs_line_is_cleaned_like_our_own(logs: Logging, out: io.BytesIO) -> None:
    forward("capture", {"event": "open rtsp://a:hunter2@b", "password": "hunter2", "level": "warning"})
    assert b"hunter2" not in out.getvalue()


@given(
    st.dictionaries(
        st.sampled_from(
            ["self", "event", "level", "child", "method_name", "exc_info", "stack_info", "args", "at", "part", "%s"]
        )
        | st.text(max_size=4),
        values,
        max_size=8,
    )
)
def test_no_childs_line_can_make_the_agent_fail(line: dict[str, object]) -> None:
    out = io.BytesIO()
    configure(Logs(level="debug", fold_s=0), out)
    forward("worker-1", line)
    (written,) = lines(out)
    assert written["child"] == "worker-1"


ONE = [Entry.of({"event": "x", "level": "info"})]


def test_a_stream_that_is_gone_harms_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as stream:
        sink = StreamSink(stream, lambda entry: entry.json)
        sink.write(ONE)
    sink.write(ONE)
    assert sink.lost == 2
    assert sink.problem is not None


def test_a_reader_that_stands_still_is_waited_for_once_and_every_line_that_it_gets_is_whole() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as stream, os.fdopen(read, "rb", buffering=0) as reader:
        sink = StreamSink(stream, lambda entry: entry.json)
        big = Entry.of({"event": "x" * 10_000, "level": "info"})
        began = time.monotonic()
        sink.write([big] * 50)
        assert time.monotonic() - began < 10  # not 1 s each
        assert sink.lost > 30
        assert sink.problem == "nobody reads the agent's stderr"
        os.set_blocking(reader.fileno(), False)
        kept = reader.read(1 << 20)
        sink.write(ONE)
        assert sink.problem is None
        found = (kept + reader.read(1 << 20)).split(b"\n")
        assert found[-2] == ONE[0].json
        assert set(found[:3]) == {big.json}


def test_lines_of_many_threads_stay_whole(logs: Logging, out: io.BytesIO) -> None:
    def write() -> None:
        for n in range(50):
            structlog.get_logger(part="x").info("event", n=n, text="x" * 200)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(out)) == 200


def test_libraries_that_use_the_stdlib_are_heard_from_warnings_up(logs: Logging, out: io.BytesIO) -> None:
    logging.getLogger("paho.mqtt").warning("lost %s", "rtsp://a:hunter2@b")
    logging.getLogger("paho.mqtt").info("chatter")
    (first,) = lines(out)
    assert (first["part"], first["level"]) == ("paho", "warning")
    assert "hunter2" not in str(first)


def test_the_journal_gets_a_priority_and_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with path.open("wb") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert goes_to_journal(stream, environ)
        assert not goes_to_journal(stream, {"JOURNAL_STREAM": "1:2"})
        configure(Logs(level="debug"), stream, environ, journal=tmp_path / "nothing-listens-here")
        structlog.get_logger(part="x").error("bad")
        structlog.get_logger(part="x").debug("fine")
    first, second = path.read_bytes().splitlines()
    assert first.startswith(b"<3>{")
    assert second.startswith(b"<7>{")


def test_a_terminal_gets_lines_for_people() -> None:
    main, side = pty.openpty()
    with os.fdopen(side, "wb", buffering=0) as stream:
        configure(Logs(), stream)
        structlog.get_logger(part="deploy").info("swap.done", url="rtsp://a:hunter2@b")
        text = os.read(main, 4096).decode()
    os.close(main)
    assert "swap.done" in text
    assert not text.startswith("{")
    assert "hunter2" not in text


SCRIPT = """
import agent.lean
import sys
from agent.logs.setup import configure, log_unhandled
import threading, structlog
logs = configure()
logs.start()
log_unhandled(logs)
assert "rich" not in sys.modules, "rich was imported"
import rich
thread = threading.Thread(target=lambda: 1 / 0, name="lookout-x")
thread.start(); thread.join()
raise RuntimeError("http://a:hunter2@b")
"""


def test_what_ends_a_thread_or_the_process_is_logged_and_rich_stays_out() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], first["level"], first["thread"]) == ("crashed", "critical", "lookout-x")
    assert "ZeroDivisionError" in first["exception"]
    assert "RuntimeError" in second["exception"]
    assert "hunter2" not in done.stderr
