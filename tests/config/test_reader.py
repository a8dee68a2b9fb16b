"""The YAML reader: bounded work, the line of every value, and no word of the text in what is said of an error."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.keypath import dotted
from agent.config.reader import Unreadable, read_yaml
from agent.errors import Problem
from tests.depth import examples
from tests.patience import patient


def said(text: str | bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read_yaml(text.encode() if isinstance(text, str) else text)
    return str(caught.value)


def test_values_come_with_the_line_they_were_written_in() -> None:
    text = read_yaml(b"a:\n  b: 1\n  c: [x,\n      y]\n")
    assert text.tree == {"a": {"b": 1, "c": ["x", "y"]}}
    assert text.lines[("a", "b")] == 2
    assert text.lines[("a", "c", 1)] == 4


def test_keys_are_text_as_they_were_written() -> None:
    assert read_yaml(b"no: 1\n7: 2\nnull: 3\n").tree == {"no": 1, "7": 2, "null": 3}


def test_dates_stay_text() -> None:
    assert read_yaml(b"a: 2026-11-24\n").tree == {"a": "2026-11-24"}


def test_a_key_that_stands_twice_is_told_with_both_lines() -> None:
    message = said("a:\n  x: 1\n  y: 2\n  x: 3\n")
    assert "a.x: stands twice" in message
    assert "line 2" in message
    assert "line 4" in message


def test_all_duplicates_are_told_at_once() -> None:
    assert said("a: 1\na: 2\nb: {c: 1, c: 2}\n").count("stands twice") == 2


def test_merge_keys_and_aliases_work_and_the_own_key_wins() -> None:
    text = read_yaml(b"base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n")
    assert text.tree["mine"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2", "line 1, column 9"),
        ("a: b: c", "line 1, column 5"),
        ("\ta: 1", "indent with spaces"),
        ("a: 1\n---\nb: 2\n", "one document"),
        (b"a: \xff", "not UTF-8"),
        (b"\x00\x01\x02", "does not allow"),
        ("a: !!python/object:os.system x", "has a tag"),
        ("a: !!binary aGk=", "has a tag"),
        ("? [a, b]\n: 1", "a list or a map"),
        ('a: "\\U99999999"', "no character"),
        ('a: "\\uD800"', "surrogate"),
        ("a: &x [*x]", "alias"),
        ("a: " + "[" * 500, "nested deeper"),
        ("<<: 3", "no map"),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, expected: str) -> None:
    assert expected in said(text)


def test_an_alias_bomb_costs_little() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begin = time.monotonic()
    assert "too many values" in said("\n".join(lines))
    assert time.monotonic() - begin < 5


def test_ten_megabytes_are_refused_at_once() -> None:
    begin = time.monotonic()
    assert "larger than" in said(b"a: 1\n" * 2_000_000)
    assert time.monotonic() - begin < patient(1)


@pytest.mark.parametrize(
    "text", ["x: *{}", "x: !{} 1", "{}: [", "x: '{}", "!{}!y z", "- {}: {}: 1", "x: %{}\n@", "&{} &{} x"]
)
def test_a_syntax_error_never_quotes_the_text(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_yaml(text.replace("{}", "hunter2").encode())
    assert "hunter2" not in str(caught.value)


def read_or_refused(data: bytes) -> None:
    refused: tuple[Problem, ...] | None = None
    try:
        read_yaml(data)
    except Unreadable as error:
        refused = error.problems
    assert refused != ()


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refused(data)


@settings(max_examples=examples(200))
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#, \n\t?\\0123uUx.<="), max_size=120))
def test_anything_that_looks_like_yaml_is_read_or_refused(text: str) -> None:
    read_or_refused(text.encode())


trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text("abc :#'é\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcyn-_", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=examples(150), deadline=None)
@given(trees)
def test_a_plain_tree_survives_a_round_trip(tree: object) -> None:
    assert read_yaml(yaml.safe_dump(tree, allow_unicode=True).encode()).tree == tree


def test_a_path_is_written_as_a_person_writes_it() -> None:
    assert dotted(("pipelines", "main", "cameras", 0)) == "pipelines.main.cameras[0]"
