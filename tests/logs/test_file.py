"""The log file: bounded, whole lines, nothing lost when it is rotated, and no harm from a bad disk."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import Logs
from agent.logs.entry import Entry
from agent.logs.file import FileSink
from agent.logs.setup import configure


def entries(*numbers: int, size: int = 10) -> list[Entry]:
    return [Entry.of({"event": "x", "level": "info", "n": n, "text": "t" * size}) for n in numbers]


def read(path: Path) -> list[int]:
    assert path.read_bytes().endswith(b"\n")
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


def files(path: Path) -> list[Path]:
    """The file's generations, the oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.*"), key=lambda found: -int(found.suffix[1:]))
    return [*numbered, path]


def test_a_file_is_made_for_its_user_and_group_alone(tmp_path: Path) -> None:
    path = tmp_path / "log" / "agent.log"
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(entries(1))
    assert path.stat().st_mode & 0o777 == 0o640 & ~os.umask(os.umask(0))
    sink.close()


@given(
    batches=st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=8), max_size=20),
    max_bytes=st.integers(50, 2000),
    keep=st.integers(0, 4),
)
def test_rotation_loses_nothing_but_the_oldest_file(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], max_bytes: int, keep: int
) -> None:
    path = tmp_path_factory.mktemp("l") / "agent.log"
    sink = FileSink(path, max_bytes=max_bytes, keep=keep)
    number = 0
    for sizes in batches:
        batch = []
        for size in sizes:
            batch += entries(number, size=size)
            number += 1
        sink.write(batch)
    sink.close()
    if not batches:
        return
    found = files(path)
    assert len(found) <= keep + 1
    numbers = [n for one in found for n in read(one)]
    assert numbers == list(range(number))[-len(numbers) :], "what is kept is the newest, each line once, in order"
    for one in found:
        assert one.stat().st_size <= max_bytes or len(read(one)) == 1
    assert (sink.lost, sink.problem) == (0, None)


def test_a_new_start_goes_on_in_the_file_and_ends_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    path.write_bytes(entries(1)[0].json + b'\n{"at":"2026')
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(entries(2))
    sink.close()
    first, torn, second = path.read_bytes().splitlines()
    assert (json.loads(first)["n"], torn, json.loads(second)["n"]) == (1, b'{"at":"2026', 2)


def test_a_file_that_was_moved_away_or_emptied_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(entries(1))
    path.rename(tmp_path / "elsewhere")
    sink.write(entries(2))
    assert read(path) == [2]
    os.truncate(path, 0)
    sink.write(entries(3))
    assert read(path) == [3]
    sink.close()


def test_a_full_disk_costs_lines_that_are_counted_and_leaves_none_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.log"
    sink = FileSink(path, max_bytes=100_000, keep=1)
    sink.write(entries(1))
    room = path.stat().st_size + len(entries(2)[0].json) + 20
    really = os.write

    def write(fd: int, data: bytes) -> int:
        left = room - os.fstat(fd).st_size
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(fd, data[:left])

    monkeypatch.setattr(os, "write", write)
    sink.write(entries(2, 3, 4))
    assert read(path) == [1, 2]
    assert sink.lost == 2
    assert sink.problem is not None
    assert str(path) in sink.problem
    sink.write(entries(5))
    assert sink.lost == 3
    monkeypatch.undo()
    sink.write(entries(6))
    assert read(path) == [1, 2, 6]
    assert (sink.lost, sink.problem) == (3, None)
    sink.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("name", ["/dev/full", "/proc/nothing/agent.log", "."])
def test_a_file_that_cannot_be_written_harms_nobody(name: str, out: io.BytesIO) -> None:
    logs = configure(Logs(), out, file=Path(name))
    structlog.get_logger(part="x").info("event")
    assert b"event" in out.getvalue()
    statistics = logs.statistics()
    assert statistics.lost == 1
    assert statistics.problem is not None
    assert "logs.file" in statistics.problem
