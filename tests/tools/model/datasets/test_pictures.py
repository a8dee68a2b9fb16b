from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import CameraError, InputError
from tools.model.datasets.pictures import as_dataset, pictures_of

STEP = 20
"""Of brightness between two frames: a film's encoding loses a little of it."""


def folder(path: Path, count: int) -> Path:
    path.mkdir()
    for index in range(count):
        cv2.imwrite(str(path / f"{index:03}.png"), np.full((8, 8, 3), index, np.uint8))
    return path


def film(path: Path, count: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((48, 64, 3), index * STEP, np.uint8))
    writer.release()
    return path


def values(source: Path, **options: int) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in pictures_of(str(source), **options)]  # type: ignore[arg-type]


def test_a_folder_is_sampled_evenly_over_its_length(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "f", 10)
    assert values(pictures, limit=100) == list(range(10))
    assert values(pictures, limit=4) == [0, 3, 6, 9]
    assert values(pictures, limit=3, every=2) == [0, 2, 4]


def test_a_film_is_sampled_evenly_over_its_length(tmp_path: Path) -> None:
    taken = values(film(tmp_path / "a.avi", 12), limit=4)
    assert [round(value / STEP) for value in taken] == [0, 3, 6, 9]


def test_halves_by_position_are_halves_by_time(tmp_path: Path) -> None:
    dataset = as_dataset(str(film(tmp_path / "a.avi", 9)), limit=9)
    frames = [round(int(picture.pixels()[0, 0, 0]) / STEP) for picture in dataset.pictures]
    assert frames[0::2] == [0, 1, 2, 3, 4]
    assert frames[1::2] == [5, 6, 7, 8]


@pytest.mark.parametrize("name", ["film.mp4", "text.avi"])
def test_what_is_no_film_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no film")
    with pytest.raises(InputError, match="no video"):
        list(pictures_of(str(tmp_path / name), limit=3))


def test_an_image_that_is_none_is_named(tmp_path: Path) -> None:
    pictures = folder(tmp_path / "f", 2)
    (pictures / "bad.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"bad\.jpg: this is no picture"):
        list(pictures_of(str(pictures), limit=10))


def test_an_empty_folder_and_an_absent_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures in it"):
        list(pictures_of(str(tmp_path / "empty"), limit=3))
    with pytest.raises(InputError, match="no such folder, video or camera"):
        list(pictures_of(str(tmp_path / "absent"), limit=3))


def test_a_camera_that_is_not_there_is_an_error_without_its_password() -> None:
    with pytest.raises(CameraError) as caught:
        list(pictures_of("rtsp://user:secret@127.0.0.1:9/cam", limit=3))
    assert "secret" not in caught.value.message
