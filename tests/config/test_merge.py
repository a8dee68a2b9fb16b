"""JSON Merge Patch as RFC 7396 says, and which leaves differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.keypath import KeyPath
from agent.config.merge import changed, leaves, merge_patch

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3)
names = st.sampled_from(("a", "b", "c", "a.b", "")) | st.text(max_size=2)
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3), max_leaves=12
)
trees = st.dictionaries(names, values, max_size=4)


def without_nulls(value: Any) -> Any:
    return {k: without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


# Appendix A of RFC 7396, those whose original is a map (what patches a configuration is one always).
APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_the_examples_of_the_rfc(original: Any, patch: Any, result: Any) -> None:
    assert merge_patch(original, patch) == result


def test_the_example_of_section_3() -> None:
    original = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    assert merge_patch(original, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@given(trees, trees)
def test_a_patch_applied_twice_is_applied_once(target: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(trees, trees)
def test_nothing_that_comes_in_is_changed(target: dict[str, Any], patch: dict[str, Any]) -> None:
    before = repr(target), repr(patch)
    merge_patch(target, patch)
    assert (repr(target), repr(patch)) == before


@given(trees)
def test_an_empty_patch_changes_nothing_and_any_tree_patches_itself(tree: dict[str, Any]) -> None:
    assert merge_patch(tree, {}) == tree
    assert merge_patch({}, tree) == without_nulls(tree)


@given(trees, trees)
def test_what_a_patch_says_holds_and_the_rest_stays(target: dict[str, Any], patch: dict[str, Any]) -> None:
    result = merge_patch(target, patch)
    for name, value in patch.items():
        assert (name not in result) if value is None else True
        if not isinstance(value, dict) and value is not None:
            assert result[name] == value
    assert {name: result[name] for name in target if name not in patch} == {
        name: value for name, value in target.items() if name not in patch
    }


def at(tree: Any, path: KeyPath) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@given(trees)
def test_leaves_hold_the_whole_tree(tree: dict[str, Any]) -> None:
    rebuilt: dict[str, Any] = {}
    for path, value in leaves(tree):
        node = rebuilt
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = value
    assert rebuilt == tree


@given(trees, trees)
def test_changed_names_what_differs_and_only_that(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = changed(before, after)
    assert len(set(found)) == len(found)
    assert changed(before, before) == ()
    assert set(changed(after, before)) == set(found) or bool(found)
    kept = {path for path, _ in leaves(before)} & {path for path, _ in leaves(after)}
    for path in kept - set(found):
        assert at(before, path) == at(after, path)


def test_lists_are_compared_whole_and_maps_walked() -> None:
    before = {"a": {"x": 1, "y": [1, 2]}, "gone": {"z": {"w": 1}}, "kind": {"a": 1}, "same": 1}
    after = {"a": {"x": 1, "y": [1, 3]}, "new": {"q": {}}, "kind": 7, "same": 1}
    assert set(changed(before, after)) == {("a", "y"), ("gone", "z", "w"), ("new", "q"), ("kind",)}


def test_true_and_one_differ() -> None:
    assert changed({"a": 1}, {"a": True}) == (("a",),)
