from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InputError, StorageError
from tools.model.ship.workbook import Workbook, opened


def making(calls: list[str], facts: dict[str, Any] | None = None):
    def make(folder: Path) -> dict[str, Any]:
        calls.append(folder.name)
        (folder / "file").write_text("content")
        return facts or {"answer": 42}

    return make


def test_a_step_is_made_once_for_its_inputs(tmp_path: Path) -> None:
    calls: list[str] = []
    book = Workbook(tmp_path)
    first = book.step("clean", {"a": 1}, making(calls))
    again = Workbook(tmp_path).step("clean", {"a": 1}, making(calls))
    assert calls == ["clean"]
    assert (first.again, again.again) == (False, True)
    assert (again.facts, again.seconds) == (first.facts, first.seconds)


def test_other_inputs_make_it_anew_in_an_empty_folder(tmp_path: Path) -> None:
    calls: list[str] = []
    book = Workbook(tmp_path)
    book.step("clean", {"a": 1}, making(calls))
    (tmp_path / "clean" / "left over").write_text("x")
    book.step("clean", {"a": 2}, making(calls))
    assert calls == ["clean", "clean"]
    assert not (tmp_path / "clean" / "left over").exists()


def test_a_step_that_was_interrupted_was_never_done(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    calls: list[str] = []
    book = Workbook(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        book.step("clean", {}, interrupted)
    assert not book.step("clean", {}, making(calls)).again
    assert not (tmp_path / "clean" / "half").exists()


@pytest.mark.parametrize("damage", ["changed", "gone", "record"])
def test_a_step_whose_files_were_touched_is_made_anew(tmp_path: Path, damage: str) -> None:
    calls: list[str] = []
    book = Workbook(tmp_path)
    book.step("clean", {}, making(calls))
    if damage == "changed":
        (tmp_path / "clean" / "file").write_text("other")
    elif damage == "gone":
        (tmp_path / "clean" / "file").unlink()
    else:
        (tmp_path / "clean" / "step.json").write_text(json.dumps(["not a record"]))
    assert not book.step("clean", {}, making(calls)).again
    assert len(calls) == 2


def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    def full(_: Path) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        Workbook(tmp_path).step("clean", {}, full)


def test_two_ships_do_not_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path / "work"), pytest.raises(InputError, match="another"), opened(tmp_path / "work"):
        pass
    with opened(tmp_path / "work") as book:
        assert book.folder == tmp_path / "work"
