"""The journal: each record an entry with proper fields, whatever is in it; the stream where the journal is away."""

from __future__ import annotations

import array
import io
import json
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Logs
from agent.logs.entry import Entry
from agent.logs.journald import JournalSink, datagram, field_name
from agent.logs.output import StreamSink
from agent.logs.setup import Logging, configure


def parsed(data: bytes) -> list[tuple[str, bytes]]:
    """Read the native protocol, as its specification says."""
    found = []
    while data:
        name, _, rest = data.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            found.append((key.decode(), value))
            data = rest
            continue
        (size,) = struct.unpack_from("<Q", rest)
        found.append((name.decode(), rest[8 : 8 + size]))
        assert rest[8 + size : 9 + size] == b"\n"
        data = rest[9 + size :]
    return found


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def entry(self) -> dict[str, bytes]:
        data, ancillary, _, _ = self._socket.recvmsg(1 << 20, 1024)
        if ancillary:
            assert data == b""
            fds = array.array("i", ancillary[0][2])
            with os.fdopen(fds[0], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                data = mapped[:]
        return dict(parsed(data))

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal")
    yield made
    made.close()


@pytest.fixture
def journalled(journal: Journal, tmp_path: Path) -> Iterator[Logging]:
    with (tmp_path / "stream").open("wb", buffering=0) as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        logs = configure(Logs(level="debug"), stream, environ, journal=journal.path)
        yield logs
        logs.desk.close()


def test_a_record_is_an_entry_with_its_fields(journalled: Logging, journal: Journal, tmp_path: Path) -> None:
    structlog.get_logger(part="deploy").warning("swap.done", gap_ms=3.5, pipeline="main", child="worker-1", tags=["a"])
    entry = journal.entry()
    assert entry.pop("LOOKOUT_AT").endswith(b"Z")
    assert entry == {
        "MESSAGE": b'deploy worker-1 swap.done gap_ms=3.5 pipeline=main tags=["a"]',
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"lookout",
        "LOOKOUT_PART": b"deploy",
        "LOOKOUT_CHILD": b"worker-1",
        "LOOKOUT_EVENT": b"swap.done",
        "LOOKOUT_GAP_MS": b"3.5",
        "LOOKOUT_PIPELINE": b"main",
        "LOOKOUT_TAGS": b'["a"]',
    }
    assert (tmp_path / "stream").read_bytes() == b""


def test_a_traceback_is_shown_below_the_message(journalled: Logging, journal: Journal) -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        structlog.get_logger(part="x").exception("failed")
    entry = journal.entry()
    assert entry["PRIORITY"] == b"3"
    assert entry["MESSAGE"].startswith(b"x failed\nTraceback")
    assert entry["LOOKOUT_EXCEPTION"].endswith(b"ValueError: no\nway")


def test_what_is_too_large_for_a_datagram_goes_as_a_sealed_file(journal: Journal) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        limit = probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    sink = JournalSink(StreamSink(io.BytesIO(), lambda entry: entry.json), journal.path)
    sink.write([Entry.of({"event": "x", "text": "y" * limit})])
    assert len(journal.entry()["LOOKOUT_TEXT"]) == limit
    sink.close()


names = st.text(max_size=80)
values = st.text() | st.integers() | st.none() | st.lists(st.text(max_size=3), max_size=3)


@given(st.dictionaries(names, values, max_size=6))
def test_any_record_is_an_entry_that_can_be_read(record: dict[str, object]) -> None:
    found = parsed(datagram({"level": "info", "event": "e", **record}))
    for name, _ in found:
        assert 0 < len(name) <= 64
        assert name.isascii()
        assert name[0].isalpha()
        assert all(char.isdigit() or char == "_" or (char.isalpha() and char.isupper()) for char in name)
    for key, value in record.items():
        if key != "level" and value is not None:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            assert (field_name(key), text.encode("utf-8", "replace")) in found


def test_while_the_journal_is_away_the_stream_has_it_and_then_the_journal_again(
    journalled: Logging, journal: Journal, tmp_path: Path
) -> None:
    log = structlog.get_logger(part="x")
    log.info("one")
    assert journal.entry()["LOOKOUT_EVENT"] == b"one"
    journal.close()
    log.error("two")
    (line,) = (tmp_path / "stream").read_bytes().splitlines()
    assert line.startswith(b"<3>{")
    again = Journal(journal.path)
    log.info("three")
    assert again.entry()["LOOKOUT_EVENT"] == b"three"
    again.close()
    assert journalled.statistics().lost == 0
