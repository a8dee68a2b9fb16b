"""Reading Pascal VOC's XML, and refusing what attacks its reader."""

from __future__ import annotations

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
from tools.model.datasets.voc import read_voc

OBJECT = """  <object>
    <name>{name}</name>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>{x1}</xmin><ymin>3</ymin><xmax>8</xmax><ymax>6</ymax></bndbox>
  </object>
"""


def refusal(read: Callable[[], object]) -> str | None:
    """What bad input is told; None where it was read. Anything else that is raised fails the test."""
    try:
        read()
    except InputError as error:
        return error.message
    return None


def document(*, name: str = "dog", difficult: int = 0, x1: str = "5", size: str = "20") -> str:
    box = OBJECT.format(name=name, difficult=difficult, x1=x1)
    return f"<annotation>\n  <size><width>{size}</width><height>10</height></size>\n{box}</annotation>\n"


def write(folder: Path, **documents: str) -> Path:
    for below in ("Annotations", "JPEGImages"):
        (folder / below).mkdir(exist_ok=True)
    for name, text in documents.items():
        cv2.imwrite(str(folder / f"JPEGImages/{name}.jpg"), np.zeros((10, 20, 3), np.uint8))
        (folder / f"Annotations/{name}.xml").write_text(text)
    return folder


def test_corners_count_from_one_and_include_the_last_pixel(tmp_path):
    dataset = read_dataset(write(tmp_path, one=document(), two=document(name="cat")))
    assert dataset.classes == ("cat", "dog")
    assert dataset.pictures[0].truth == pytest.approx(np.array([[1, 6 / 20, 4 / 10, 4 / 20, 4 / 10]]))
    assert (dataset.task, dataset.form) == ("detect", "Pascal VOC")


def test_a_difficult_object_is_apart_from_the_truth(tmp_path):
    picture = read_dataset(write(tmp_path, one=document(difficult=1), two=document())).pictures[0]
    assert (len(picture.truth), len(picture.crowd)) == (0, 1)


def test_a_list_of_names_chooses_the_pictures(tmp_path):
    write(tmp_path, one=document(), two=document())
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("two\n")
    chosen = read_dataset(tmp_path / "ImageSets/Main/val.txt")
    assert [picture.path.stem for picture in chosen.pictures] == ["two"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (document(x1="9"), r"one\.xml:6: <bndbox> 9 3 8 6 is no box"),
        (document(x1="left"), r"one\.xml:6: <xmin> 'left' is no number"),
        (document(x1="nan"), r"one\.xml:6: <xmin> 'nan' is no finite number"),
        (document(size="0"), r"one\.xml:2: <size> of 0x10"),
        (document(name=" "), r"one\.xml:3: this <object> has no <name>"),
        (document().replace("<bndbox>", "<box>").replace("</bndbox>", "</box>"), r"one\.xml:3: .* has no <bndbox>"),
        (document().replace("<xmin>5</xmin>", ""), r"one\.xml:6: <bndbox> has no <xmin>"),
        (document().replace("size>", "sizes>"), r"one\.xml:1: <size> is missing"),
        (document()[:-5], r"one\.xml:8: is no XML"),
        ("<html></html>", r"one\.xml:1: the root is <html>"),
        ("", r"one\.xml:1: is no XML"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_dataset(write(tmp_path, one=text))


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>',
        '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">',
    ],
)
def test_entities_are_refused_before_they_are_read(tmp_path, dtd):
    with pytest.raises(InputError, match=r"one\.xml:2: has a DTD"):
        read_dataset(write(tmp_path, one='<?xml version="1.0"?>\n' + dtd + document(name="&x;")))


def test_a_declared_encoding_does_not_hide_a_dtd(tmp_path):
    folder = write(tmp_path, one=document())
    attack = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]><annotation/>'
    (folder / "Annotations/one.xml").write_bytes(attack.encode("utf-16"))
    with pytest.raises(InputError, match=r"one\.xml: is no text in UTF-8"):
        read_dataset(folder)


def test_a_picture_that_is_not_there_is_named(tmp_path):
    folder = write(tmp_path, one=document())
    (folder / "JPEGImages/one.jpg").unlink()
    with pytest.raises(InputError, match=r"one\.xml: .*JPEGImages has no picture one"):
        read_dataset(folder)


@settings(max_examples=examples(80), deadline=None)
@given(st.text(max_size=40), st.integers(0, 200))
def test_whatever_is_put_into_a_file_is_read_or_refused_as_bad_input(tmp_path_factory, noise, place):
    text = document()
    folder = write(tmp_path_factory.mktemp("voc"), two=document())
    (folder / "Annotations/two.xml").write_text(text[:place] + noise + text[place:], encoding="utf-8", errors="replace")
    said = refusal(lambda: read_voc(folder / "Annotations", folder / "JPEGImages"))
    assert said is None or "two.xml" in said or "Annotations: no picture has a label" in said
