"""JSON Merge Patch (RFC 7396) on trees of plain values, and which leaves two trees differ in. Pure.

A tree is maps, lists and scalars as JSON has them; nothing that comes in is changed. Both functions go as deep as the
trees do: whoever takes a tree from a peer has bounded its depth before (:func:`agent.config.desired.patched` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.config.keypath import KeyPath

_ABSENT = object()


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``target`` changed by ``patch``: maps are merged, null removes, anything else replaces."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            below = merged.get(name)
            merged[name] = merge_patch(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def leaves(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every leaf with its path: scalars, lists whole, and maps that are empty."""
    if isinstance(tree, Mapping) and (tree or not path):
        for name, value in tree.items():
            yield from leaves(value, (*path, name))
    else:
        yield path, tree


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[KeyPath, ...]:
    """Return the paths of the leaves that differ, were added or went, in the order of ``after``, then of ``before``.

    Maps are walked, lists are compared whole. What was a map and is none now, or the reverse, differs as one leaf.
    """
    return tuple(_changed(before, after, ()))


def _changed(before: Any, after: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*after, *before)):
            yield from _changed(before.get(name, _ABSENT), after.get(name, _ABSENT), (*path, name))
    elif before is _ABSENT or after is _ABSENT:
        yield from (found for found, _ in leaves(after if before is _ABSENT else before, path))
    elif type(before) is not type(after) or before != after:
        yield path
