"""Reading COCO's JSON: its gaps and crowds, and damage that is named by file and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import InputError
from tests.depth import examples
from tools.model.datasets.coco import read_coco
from tools.model.datasets.read import read_dataset


def content() -> dict[str, Any]:
    return {
        "info": {"year": 2017},
        "images": [
            {"id": 7, "file_name": "b.png", "width": 20, "height": 10},
            {"id": 3, "file_name": "a.png", "width": 20, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 1, 4, 6], "area": 11.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 20, 10], "area": 100, "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    }


def refusal(read: Callable[[], object]) -> str | None:
    """What bad input is told; None where it was read. Anything else that is raised fails the test."""
    try:
        read()
    except InputError as error:
        return error.message
    return None


def write(folder: Path, facts: Any) -> Path:
    for name in ("a", "b"):
        (folder / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"images/{name}.png"), np.zeros((10, 20, 3), np.uint8))
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return path


def test_ids_with_gaps_become_numbers_and_pictures_are_in_order_of_their_names(tmp_path):
    dataset = read_dataset(write(tmp_path, content()))
    assert dataset.classes == ("person", "toothbrush")
    assert [picture.path.name for picture in dataset.pictures] == ["a.png", "b.png"]
    assert dataset.pictures[0].truth.shape == (0, 5)
    assert dataset.pictures[1].truth.tolist() == [[1, 0.2, 0.4, 0.2, 0.6]]
    assert dataset.pictures[1].areas is not None
    assert dataset.pictures[1].areas.tolist() == [11.5]
    assert (dataset.task, dataset.form) == ("detect", "COCO JSON")
    assert dataset.pictures[1].pixels().shape == (10, 20, 3)


def test_a_crowd_is_apart_from_the_truth(tmp_path):
    picture = read_dataset(write(tmp_path, content())).pictures[1]
    assert picture.crowd.tolist() == [[0, 0.5, 0.5, 1, 1]]


def test_the_folder_above_the_file_will_do(tmp_path):
    write(tmp_path, content())
    assert len(read_dataset(tmp_path).pictures) == 2


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("annotations", 0, "bbox"), [1, 2, 3], r"\$\.annotations\[0\]\.bbox"),
        (("annotations", 0, "bbox"), [1, 2, -3, 4], r"annotations\[0\]\.bbox: .* a size is negative"),
        (("annotations", 0, "bbox"), [50, 2, 3, 4], r"annotations\[0\]\.bbox: .* outside its picture b\.png of 20x10"),
        (("annotations", 1, "image_id"), 8, r"annotations\[1\]\.image_id: no image has the id 8"),
        (("annotations", 1, "category_id"), 2, r"annotations\[1\]\.category_id: no category has the id 2"),
        (("images", 1, "id"), 7, r"images\[1\]\.id: 7 is that of images\[0\] too"),
        (("images", 1, "file_name"), "b.png", r"images\[1\]\.file_name: 'b\.png' is listed twice"),
        (("images", 1, "file_name"), "../a.png", r"images\[1\]\.file_name: '\.\./a\.png' is no path below"),
        (("images", 1, "file_name"), "c.png", r"c\.png: this picture is missing \(1 of 2"),
        (("images", 0, "width"), 0, r"images\[0\]: width 0"),
        (("images", 0, "width"), "20", r"\$\.images\[0\]\.width"),
        (("categories", 0, "name"), "person", r"categories: the name 'person' is there twice"),
        (("categories",), [], r"categories: the list is empty"),
        (("images",), [], r"images: the list is empty"),
        (("annotations",), [], r"annotations: no picture has a label"),
    ],
)
def test_damage_is_named_by_its_field(tmp_path, path, value, words):
    facts = content()
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match=rf"(?s)(instances_val\.json|c\.png).*{words}|{words}"):
        read_coco(write(tmp_path, facts))


def test_broken_json_is_named_by_its_line(tmp_path):
    with pytest.raises(InputError, match=r"instances_val\.json:3: is no JSON"):
        read_coco(write(tmp_path, '{\n"images": [],\n"annotations": [}\n'))


def test_pictures_that_are_nowhere_are_told_with_the_places_that_were_looked_at(tmp_path):
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(content()))
    with pytest.raises(InputError, match=r"b\.png is in none of .*val, .*images"):
        read_coco(path)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)
    ),
    st.sampled_from(["images", "annotations", "categories", "images.0.id", "annotations.0.bbox", "annotations.0"]),
)
def test_whatever_stands_in_a_field_is_read_or_refused_as_bad_input(tmp_path_factory, value, field):
    facts = content()
    place: Any = facts
    *keys, last = [int(key) if key.isdecimal() else key for key in field.split(".")]
    for key in keys:
        place = place[key]
    place[last] = value
    folder = tmp_path_factory.mktemp("coco")
    said = refusal(lambda: read_coco(write(folder, facts)))
    assert said is None or "instances_val.json" in said or "missing" in said
