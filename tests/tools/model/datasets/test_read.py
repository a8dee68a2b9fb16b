"""A path tells the form of a data set; one that fits two is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import InputError
from tests.depth import examples
from tools.model.datasets.read import read_dataset
from tools.model.datasets.yolo import read_yolo


def refusal(read: Callable[[], object]) -> str | None:
    """What bad input is told; None where it was read. Anything else that is raised fails the test."""
    try:
        read()
    except InputError as error:
        return error.message
    return None


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 6, 3), np.uint8))


def yolo(folder: Path, names: str | None = None) -> Path:
    picture(folder / "images/1.png")
    (folder / "labels").mkdir()
    (folder / "labels/1.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


@pytest.mark.parametrize("names", ["names: [a, b]", "names: {0: a, 1: b}", "path: x\nnames:\n  1: b\n  0: a\n"])
def test_data_yaml_names_the_classes(tmp_path, names):
    folder = yolo(tmp_path, names)
    assert read_dataset(folder).classes == ("a", "b")
    assert read_dataset(folder / "data.yaml").classes == ("a", "b")
    assert read_dataset(folder / "images").classes == ("a", "b")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("names: [a", r"data\.yaml:1: is no YAML"),
        ("names: 2001-99-99", r"data\.yaml: is no YAML"),
        ("names: 3", r"data\.yaml: names: a list of texts"),
        ("names: {0: a, 2: b}", r"data\.yaml: names: the keys must be 0 to 1"),
        ("names: [a]", r"1\.txt:1: class 1, but data\.yaml has 1"),
    ],
)
def test_a_wrong_data_yaml_is_named(tmp_path, names, words):
    with pytest.raises(InputError, match=words):
        read_dataset(yolo(tmp_path, names))


def test_two_files_of_names_must_say_the_same(tmp_path):
    folder = yolo(tmp_path, "names: [a, b]")
    (folder / "classes.txt").write_text("a\nc\n")
    with pytest.raises(InputError, match=r"data\.yaml: names differ from those of .*classes\.txt"):
        read_dataset(folder)


def test_one_split_of_several_can_be_named(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}/{split}.png")
        (tmp_path / f"labels/{split}").mkdir(parents=True)
        (tmp_path / f"labels/{split}/{split}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    assert len(read_dataset(tmp_path).pictures) == 2
    assert [one.path.stem for one in read_dataset(tmp_path / "images/val").pictures] == ["val"]


def test_pixels_instead_of_shares_are_refused(tmp_path):
    folder = yolo(tmp_path)
    (folder / "labels/1.txt").write_text("0 120 80 30 40\n")
    with pytest.raises(InputError, match=r"1\.txt:1: .* relative to the picture's size"):
        read_dataset(folder)


def test_folders_of_pictures_are_classes(tmp_path):
    for name in ("dog/1.png", "dog/2.png", "dog/3.png", "cat/1.png", "cat/2.png"):
        picture(tmp_path / name)
    dataset = read_dataset(tmp_path)
    assert (dataset.task, dataset.classes) == ("classify", ("cat", "dog"))
    assert sorted(one.label for one in dataset.pictures) == [0, 0, 1, 1, 1]
    for half in ("even", "odd"):
        assert {one.label for one in dataset.half(half).pictures} == {0, 1}


def test_splits_above_the_classes_are_pointed_out(tmp_path):
    picture(tmp_path / "train/cat/1.png")
    picture(tmp_path / "val/cat/1.png")
    with pytest.raises(InputError, match=r"holds train, val: give one of them, such as .*val"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path / "val").classes == ("cat",)


def test_a_class_without_pictures_is_named(tmp_path):
    picture(tmp_path / "cat/1.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(InputError, match=r"dog: no pictures of this class"):
        read_dataset(tmp_path)


def test_labels_in_two_forms_are_refused_and_each_can_be_named(tmp_path):
    folder = yolo(tmp_path, "names: [a, b]")
    facts = {
        "images": [{"id": 1, "file_name": "1.png", "width": 6, "height": 4}],
        "annotations": [{"image_id": 1, "category_id": 5, "bbox": [0, 0, 3, 2]}],
        "categories": [{"id": 5, "name": "x"}],
    }
    (folder / "instances.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"labels in 2 forms \(COCO JSON, YOLO text\)"):
        read_dataset(folder)
    assert read_dataset(folder / "instances.json").classes == ("x",)
    assert read_dataset(folder / "images").classes == ("a", "b")


def test_several_annotation_files_are_not_chosen_among(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train.json", "instances_val.json", "captions_val.json"):
        (tmp_path / "annotations" / name).write_text("{}")
    with pytest.raises(InputError, match=r"2 annotation files \(.*instances_train\.json, .*instances_val\.json\)"):
        read_dataset(tmp_path)


def test_what_is_no_data_set_is_told_the_forms_that_are(tmp_path):
    (tmp_path / "work/deep").mkdir(parents=True)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    for path in (tmp_path, tmp_path / "notes.pdf"):
        with pytest.raises(InputError, match=r"COCO JSON .*YOLO text .*Pascal VOC"):
            read_dataset(path)
    with pytest.raises(InputError, match="no such file or folder"):
        read_dataset(tmp_path / "absent")


@settings(max_examples=examples(80), deadline=None)
@given(st.text(max_size=30))
def test_whatever_a_label_file_says_is_read_or_refused_as_bad_input(tmp_path_factory, text):
    folder = yolo(tmp_path_factory.mktemp("yolo"))
    (folder / "labels/1.txt").write_text(text, encoding="utf-8", errors="replace")
    said = refusal(lambda: read_yolo(folder))
    assert said is None or "labels" in said
    assert said or np.isfinite(read_yolo(folder).pictures[0].truth).all()


@settings(max_examples=examples(60), deadline=None)
@given(st.text(max_size=30))
def test_whatever_data_yaml_says_is_read_or_refused_as_bad_input(tmp_path_factory, text):
    folder = yolo(tmp_path_factory.mktemp("yolo"))
    (folder / "data.yaml").write_text(text, encoding="utf-8", errors="replace")
    said = refusal(lambda: read_yolo(folder))
    assert said is None or "data.yaml" in said
