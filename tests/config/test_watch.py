"""The watch of the configuration file: told of every way in which files are replaced, and of nothing else."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config.watch import FileWatch, deciding_entries
from agent.errors import ProgrammingError

PATIENCE_S = 20.0
QUIET_S = 1.0


class Told:
    """Counts calls of ``changed`` and remembers what lay in the file then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._came = threading.Semaphore(0)
        self.texts: list[str | None] = []

    def changed(self) -> None:
        try:
            self.texts.append(self._path.read_text())
        except OSError:
            self.texts.append(None)
        self._came.release()

    def once(self) -> str | None:
        """Wait for one call; return the text it saw last."""
        assert self._came.acquire(timeout=PATIENCE_S), "nothing was told"
        return self.texts[-1]

    def nothing(self) -> bool:
        return not self._came.acquire(timeout=QUIET_S)

    def until(self, text: str | None) -> None:
        """Wait until it was told of this text: a slow machine may tell of steps between."""
        while self.once() != text:
            pass


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[Path], Told]]:
    started: list[FileWatch] = []

    def start(path: Path) -> Told:
        told = Told(path)
        watch = FileWatch(path, told.changed)
        watch.start()
        assert watch.problem is None
        started.append(watch)
        return told

    yield start
    for watch in started:
        watch.stop()
        watch.stop()
    assert not [thread.name for thread in threading.enumerate() if "lookout-config" in thread.name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "agent.yaml").write_text("one")
    return folder / "agent.yaml"


def replace(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text)
    beside.replace(file)


def test_a_file_written_in_place_is_told(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    file.write_text("two")
    told.until("two")


def test_a_file_renamed_over_the_old_one_is_told_each_time(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    for text in ("two", "three"):
        replace(file, text)
        told.until(text)


def test_a_file_that_is_moved_away_and_written_anew_is_told(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    file.rename(file.with_suffix(".bak"))
    file.write_text("two")
    told.until("two")


def test_a_swap_of_the_link_of_a_config_map_is_told(tmp_path: Path, watched: Callable[[Path], Told]) -> None:
    folder = tmp_path / "etc"
    for number in (1, 2, 3):
        (folder / f"..{number}").mkdir(parents=True)
        (folder / f"..{number}" / "agent.yaml").write_text(str(number))
    (folder / "..data").symlink_to("..1")
    (folder / "agent.yaml").symlink_to("..data/agent.yaml")
    told = watched(folder / "agent.yaml")
    for number in (2, 3):
        (folder / "..tmp").symlink_to(f"..{number}")
        (folder / "..tmp").rename(folder / "..data")
        shutil.rmtree(folder / f"..{number - 1}")
        told.until(str(number))
    (folder / "..3" / "agent.yaml").write_text("in place")
    told.until("in place")


def test_a_change_behind_a_link_to_elsewhere_is_told(
    tmp_path: Path, file: Path, watched: Callable[[Path], Told]
) -> None:
    elsewhere = tmp_path / "opt" / "site"
    elsewhere.mkdir(parents=True)
    (elsewhere / "real.yaml").write_text("real")
    file.unlink()
    file.symlink_to("../opt/site/real.yaml")
    told = watched(file)
    replace(elsewhere / "real.yaml", "two")
    told.until("two")


def test_a_folder_that_vanishes_and_comes_back_is_told(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    shutil.rmtree(file.parent)
    told.until(None)
    file.parent.mkdir()
    file.write_text("back")
    told.until("back")
    replace(file, "again")
    told.until("again")


def test_a_folder_replaced_by_a_rename_is_told(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    new = file.parent.with_name("new")
    new.mkdir()
    (new / file.name).write_text("two")
    file.parent.rename(file.parent.with_name("old"))
    new.rename(file.parent)
    told.until("two")
    file.write_text("three")
    told.until("three")


def test_several_missing_folders_may_come_one_after_the_other(tmp_path: Path, watched: Callable[[Path], Told]) -> None:
    file = tmp_path / "a" / "b" / "c" / "agent.yaml"
    told = watched(file)
    file.parent.mkdir(parents=True)
    file.write_text("one")
    told.until("one")


def test_other_files_reading_and_no_change_are_not_told(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    for number in range(50):
        file.with_name("agent.log").write_text(str(number))
    file.read_text()
    (file.parent / "state").mkdir()
    assert told.nothing()


def test_a_burst_of_writes_is_told_once_it_has_settled(file: Path, watched: Callable[[Path], Told]) -> None:
    told = watched(file)
    for number in range(200):
        replace(file, str(number))
    told.until("199")
    assert len(told.texts) < 50


def test_a_stopped_watch_tells_nothing_and_is_not_started_again(file: Path) -> None:
    told = Told(file)
    watch = FileWatch(file, told.changed)
    watch.start()
    watch.stop()
    file.write_text("two")
    assert told.nothing()
    with pytest.raises(ProgrammingError):
        watch.start()


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    found = deciding_entries(tmp_path / "a" / "agent.yaml")
    assert {name for _, name in found} >= {"a", "b"}


def test_a_plain_path_is_decided_by_its_last_two_entries(tmp_path: Path) -> None:
    real = os.path.realpath(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x").touch()
    assert deciding_entries(tmp_path / "etc" / "x") == ((real, "etc"), (f"{real}/etc", "x"))
    assert deciding_entries(tmp_path / "gone" / "deep" / "x")[-1] == (real, "gone")
