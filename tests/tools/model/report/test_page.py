"""A page is one file that shows what it was given and runs nothing of it."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ProgrammingError
from tools.model.report import plots
from tools.model.report.page import LONG, Page

PNG = plots.lines({"a": ([0, 1], [0, 1])}, x_label="x", y_label="y")


def test_blocks_stand_in_the_order_of_the_calls_and_need_nothing_beside_the_file(tmp_path):
    page = Page("Title & more")
    page.heading("First")
    page.text("a paragraph")
    page.warning("careful")
    page.table(["name", "ms"], [["one", 1.5], ["two", None]], "a caption")
    page.picture(PNG, "below it", "what it shows")
    page.write(tmp_path / "new/report.html")
    html = (tmp_path / "new/report.html").read_text(encoding="utf-8")
    words = [
        "Title &amp; more",
        "First",
        "a paragraph",
        "careful",
        "one",
        "1.5",
        "a caption",
        "what it shows",
        "below it",
    ]
    body = html[html.index("<body>") :]
    places = [body.index(word) for word in words]
    assert places == sorted(places)
    assert re.findall(r'(?:src|href)="(?!data:|#)', html) == []
    assert "<script" not in html


@given(st.text())
def test_whatever_is_given_is_text(text):
    page = Page(text)
    page.heading(text)
    page.text(text)
    page.table([text], [[text]], text)
    page.picture(PNG, text, text + '"><script>alert(1)</script>')
    html = page.html()
    assert "<script" not in html
    assert html.count("<img ") == 1
    assert html.count("<td") == 1


def test_numbers_are_set_to_the_right_and_words_are_not():
    page = Page("t")
    page.table(["model", "ms", "mixed"], [["v1.2 x", "1.5", "–"], ["b", "−3 %", "none"]])  # noqa: RUF001 - as shown
    html = page.html()
    assert html.count('<th scope="col" class="number">') == 1
    assert html.count('<td class="number">') == 3


def test_a_long_table_is_folded_up():
    page = Page("t")
    page.table(["n"], [[number] for number in range(LONG)])
    assert "<details>" not in page.html()
    page.table(["n"], [[number] for number in range(LONG + 1)])
    assert f"Table of {LONG + 1} rows" in page.html()


def test_the_wrong_picture_or_row_is_the_callers_mistake():
    with pytest.raises(ProgrammingError, match="PNG or JPEG"):
        Page("t").picture(b"GIF89a", "", "")
    with pytest.raises(ProgrammingError, match="a row of 1 cells in a table of 2"):
        Page("t").table(["a", "b"], [["a"]])


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        plots.bars(["a", "b" * 60], {"one": [1, 2], "two": [3, 4]}, x_label="x"),
        plots.bars(["$x^$"], {"_hidden": [1]}, x_label="$"),
        plots.matrix(np.eye(3), "abc", "abc", x_label="x", y_label="y"),
        plots.matrix(np.eye(40), ["c"] * 40, ["c"] * 40, x_label="x", y_label="y"),
    ],
    ids=["lines", "bars", "odd names", "matrix", "large matrix"],
)
def test_plots_are_pictures_that_can_be_read(data):
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).size > 10_000
