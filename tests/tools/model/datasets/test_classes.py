"""A data set's classes in the model's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.errors import InputError
from tools.model.datasets.classes import align
from tools.model.datasets.records import Dataset, Picture

HERE = Path("1.png")


def seen(*numbers: int) -> Picture:
    rows = np.array([[number, 0.5, 0.5, 0.1, 0.1] for number in numbers])
    return Picture(HERE, rows, crowd=rows[:1], areas=np.arange(len(rows), dtype=float))


def test_classes_are_matched_by_name_and_strangers_left_out():
    dataset = Dataset((seen(0, 1, 2), seen(1)), ("Dining_Table", "unicorn", "tvmonitor"))
    done = align(dataset, ("tv", "dining table", "cat"), certain=True)
    first, second = done.dataset.pictures
    assert first.truth[:, 0].tolist() == [1, 0]
    assert first.areas is not None
    assert first.areas.tolist() == [0, 2]
    assert first.crowd[:, 0].tolist() == [1]
    assert (len(second.truth), len(second.crowd)) == (0, 0)
    assert done.dataset.classes == ("tv", "dining table", "cat")
    assert done.notes == (
        "Left out, because the model does not know them: unicorn.",
        "Not judged, because the data set does not have them: cat.",
    )


def test_the_same_classes_need_no_note():
    done = align(Dataset((seen(1),), ("b", "a")), ("a", "b"), certain=True)
    assert (done.dataset.pictures[0].truth[0, 0], done.notes) == (0, ())


def test_nothing_in_common_is_refused_and_names_both_sides():
    with pytest.raises(InputError, match=r"classes \(a, b\) are none of the model's \(x, y\)"):
        align(Dataset((seen(0),), ("a", "b")), ("x", "y"), certain=True)


def test_a_guess_gives_way_to_as_many_names():
    done = align(Dataset((seen(0),), ("a", "b")), ("class 0", "class 1"), certain=False)
    assert done.dataset.classes == ("a", "b")
    assert "order are taken" in done.notes[0]


def test_without_names_the_numbers_decide_and_must_fit():
    assert align(Dataset((seen(1),), ()), ("x", "y"), certain=True).dataset.classes == ("x", "y")
    with pytest.raises(InputError, match=r"1\.png: its labels name class 2, the model has 2"):
        align(Dataset((seen(2),), ()), ("x", "y"), certain=True)


def test_only_shared_classes_that_no_picture_shows_are_refused():
    with pytest.raises(InputError, match="no picture shows anything"):
        align(Dataset((seen(1),), ("a", "b")), ("a", "c"), certain=True)


def test_a_classifiers_pictures_of_unknown_classes_are_left_out():
    pictures = (Picture(HERE, label=0), Picture(HERE, label=1))
    done = align(Dataset(pictures, ("a", "b"), task="classify"), ("b", "c"), certain=True)
    assert [one.label for one in done.dataset.pictures] == [0]


def test_folders_named_otherwise_go_by_their_order_and_a_note_says_so():
    pictures = (Picture(HERE, label=1),)
    done = align(Dataset(pictures, ("n01", "n02"), task="classify"), ("tench", "shark"), certain=True)
    assert (done.dataset.pictures[0].label, done.dataset.classes) == (1, ("tench", "shark"))
    assert "the order of the folders decides" in done.notes[0]
