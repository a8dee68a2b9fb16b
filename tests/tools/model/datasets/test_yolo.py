"""Reading YOLO's text labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tools.model.datasets.read import read_dataset


def make(folder: Path, labels: dict[str, str | None], classes: str = "a\nb\n") -> Path:
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text(classes)
    for name, text in labels.items():
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((4, 6, 3), np.uint8))
        if text is not None:
            (folder / "labels" / f"{name}.txt").write_text(text)
    return folder


def test_pictures_come_in_order_and_one_without_a_label_file_shows_nothing(tmp_path):
    dataset = read_dataset(make(tmp_path, {"2": "1 0.5 0.5 0.2 0.4\n\n", "1": None}))
    assert [picture.path.stem for picture in dataset.pictures] == ["1", "2"]
    assert dataset.classes == ("a", "b")
    assert dataset.pictures[0].truth.shape == (0, 5)
    assert dataset.pictures[1].truth.tolist() == [[1, 0.5, 0.5, 0.2, 0.4]]
    assert dataset.pictures[1].pixels().shape == (4, 6, 3)


def test_the_halves_share_no_picture_and_are_everything(tmp_path):
    dataset = read_dataset(make(tmp_path, {str(index): "0 0.5 0.5 1 1" for index in range(5)}))
    even, odd = dataset.half("even").pictures, dataset.half("odd").pictures
    assert [picture.path.stem for picture in even] == ["0", "2", "4"]
    assert [picture.path.stem for picture in odd] == ["1", "3"]
    assert dataset.half("all") == dataset


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2", "is not 'class cx cy w h'"),
        ("person 0.5 0.5 0.2 0.2", "is not 'class cx cy w h'"),
        ("0.5 0.5 0.5 0.2 0.2", "is not 'class cx cy w h'"),
        ("0 nan 0.5 0.2 0.2", "is not 'class cx cy w h'"),
        ("2 0.5 0.5 0.2 0.2", "class 2, but classes.txt has 2"),
    ],
)
def test_a_wrong_line_is_named_with_its_file_and_number(tmp_path, line, words):
    folder = make(tmp_path, {"1": f"0 0.5 0.5 0.2 0.2\n{line}"})
    with pytest.raises(InputError, match=rf"1\.txt:2: .*{words}"):
        read_dataset(folder)


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    with pytest.raises(InputError, match="no labels in it; the known forms"):
        read_dataset(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        read_dataset(tmp_path)


def test_a_data_set_without_any_label_is_refused(tmp_path):
    with pytest.raises(InputError, match="no picture has a label"):
        read_dataset(make(tmp_path, {"1": None}))


def test_a_picture_that_is_none_is_named(tmp_path):
    folder = make(tmp_path, {"1": "0 0.5 0.5 0.2 0.2"})
    (folder / "images/1.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"1\.png: this picture cannot be read"):
        read_dataset(folder).pictures[0].pixels()
