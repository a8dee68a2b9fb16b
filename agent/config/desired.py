"""The remote overlay: what an operator laid over the file, and how a patch or a ``desired`` changes it. Pure.

The overlay is one layer of the configuration, a tree of plain values that never holds null: nothing in it means that
the file's value holds. A ``desired`` is the complete overlay and replaces it, patches too; a patch changes it where no
``desired`` names the key. What comes in is refused here for its form (too large, too deep, no JSON value, a redacted
secret, a key that ``desired`` manages); whether its keys may be set from afar is :mod:`agent.config.allowed`'s to say,
and whether they are right that of the schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from agent.config.keypath import KeyPath, dotted
from agent.config.merge import leaves, merge_patch
from agent.config.problems import config_error, shown
from agent.config.reader import MAX_DEPTH
from agent.errors import CommandError, Problem
from agent.link.messages import Desired
from agent.redact import MARK

MAX_OVERLAY_BYTES = 64 * 1024
MAX_WHOLE_NUMBER = 2**63
_MAX_SHOWN = 20
_MAX_PATH_CHARS = 256


class ConfigRefused(CommandError):
    """A change of the configuration cannot be taken; nothing was changed. ``problems`` says why, key by key."""

    code = "config_refused"

    def __init__(self, problems: Sequence[Problem]) -> None:
        told = config_error([_clipped(problem) for problem in problems])
        lines = [str(problem).removeprefix("the file: ") for problem in told.problems]
        super().__init__("\n".join(lines), field=told.field)
        self.problems = told.problems


class KeyManaged(ConfigRefused):
    """A patch names keys that a ``desired`` sets: only a newer ``desired`` changes them."""

    code = "managed_by_desired"


class Overlay(msgspec.Struct, frozen=True):
    """The remote layer. ``managed`` is the tree that the last ``desired`` named, ``models`` its references by pipeline.

    ``epoch`` and ``version`` are that ``desired``'s; 0, 0: none was applied.
    """

    config: dict[str, Any] = {}
    models: dict[str, str] = {}
    managed: dict[str, Any] = {}
    epoch: int = 0
    version: int = 0


def remote_tree(overlay: Overlay) -> dict[str, Any]:
    """Return the tree of the remote layer: the overlay's keys, and the models of ``desired`` as keys of pipelines."""
    return merge_patch(overlay.config, {"pipelines": _models(overlay.models)} if overlay.models else {})


def patched(overlay: Overlay, patch: Mapping[str, Any]) -> Overlay:
    """Return the overlay changed by a JSON Merge Patch. Raises :class:`ConfigRefused`, :class:`KeyManaged`."""
    _refuse(_malformed(patch))
    managed = tuple(_managed(overlay, patch))
    if managed:
        raise KeyManaged(managed)
    config = _tidied(merge_patch(overlay.config, patch), patch)
    return _bounded(msgspec.structs.replace(overlay, config=config))


def desired(overlay: Overlay, message: Desired, refused: tuple[int, int] | None) -> Overlay | None:
    """Return the overlay that a ``desired`` is; None where it is not newer than what is applied, or was refused.

    ``refused`` is the epoch and version of the newest one that was refused or undone. Raises :class:`ConfigRefused`.
    """
    stamp = (message.epoch, message.version)
    if stamp <= max((overlay.epoch, overlay.version), refused or (0, 0)):
        return None
    _refuse(_malformed(message.config))
    _refuse(_malformed({"models": message.models}))
    named = _tidied(merge_patch({}, message.config), message.config)
    return _bounded(Overlay(named, dict(message.models), named, *stamp))


def _clipped(problem: Problem) -> Problem:
    """Return the problem with a path of sensible length: names are a stranger's, too."""
    long = len(problem.path) > _MAX_PATH_CHARS
    return replace(problem, path=f"{problem.path[: _MAX_PATH_CHARS - 1]}…") if long else problem


def _models(models: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"model": reference} for name, reference in models.items()}


def _refuse(problems: Iterator[Problem]) -> None:
    found = tuple(problem for problem, _ in zip(problems, range(_MAX_SHOWN), strict=False))
    if found:
        raise ConfigRefused(found)


def _bounded(overlay: Overlay) -> Overlay:
    size = len(msgspec.json.encode((overlay.config, overlay.models)))
    if size > MAX_OVERLAY_BYTES:
        hint = "put what is large into the file"
        raise ConfigRefused([Problem("", None, f"makes an overlay of {size} bytes, of {MAX_OVERLAY_BYTES}", hint)])
    return overlay


# --- what no patch may hold ------------------------------------------------------------------------------------------


def _malformed(tree: Any) -> Iterator[Problem]:
    """Tell what is no value that can be kept and read back, without recursion: the tree is a stranger's."""
    waiting: list[tuple[KeyPath, Any]] = [((), tree)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MAX_DEPTH:
            yield Problem(dotted(path[:2]), None, f"is nested deeper than {MAX_DEPTH} levels", "no key lies so deep")
            return
        if isinstance(value, Mapping):
            yield from (_bad_text(path, name) for name in value if not _is_text(name) or MARK in name)
            waiting += [((*path, name), below) for name, below in value.items() if _is_text(name)]
        elif isinstance(value, list | tuple):
            waiting += [((*path, index), below) for index, below in enumerate(value)]
        else:
            yield from _bad_scalar(path, value)


def _bad_scalar(path: KeyPath, value: Any) -> Iterator[Problem]:
    if isinstance(value, str):
        if not _is_text(value) or MARK in value:
            yield _bad_text(path, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Problem(dotted(path), None, "must be a finite number")
    elif isinstance(value, int):
        if abs(value) >= MAX_WHOLE_NUMBER:
            yield Problem(dotted(path), None, "should be a whole number of sensible size")
    elif value is not None:
        yield Problem(dotted(path), None, "is no value of JSON")


def _bad_text(path: KeyPath, text: Any) -> Problem:
    if isinstance(text, str) and MARK in text:
        hint = "send the secret itself, or leave the key out"
        return Problem(dotted(path), None, f"holds {MARK}, which stands where a secret was hidden", hint)
    return Problem(dotted(path), None, "is no text", "send UTF-8")


def _is_text(text: Any) -> bool:
    """Tell whether it is text that can be written as UTF-8 (half a character cannot)."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- what desired manages --------------------------------------------------------------------------------------------


def _managed(overlay: Overlay, patch: Mapping[str, Any]) -> Iterator[Problem]:
    """Tell which leaves of a patch touch a leaf that ``desired`` names: it, one above it or one below it."""
    tree = merge_patch(overlay.managed, {"pipelines": _models(overlay.models)})
    named = {path for path, value in leaves(tree) if not isinstance(value, Mapping)}  # an empty map changes nothing
    above = {path[:length] for path in named for length in range(len(path))}
    for path, value in leaves(patch):
        beside = isinstance(value, Mapping) and path in above
        if not beside and (path in above or any(path[:length] in named for length in range(1, len(path) + 1))):
            hint = "publish a desired with a higher version"
            yield Problem(dotted(path), shown(path, value), "is managed by desired", hint)


def _tidied(tree: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the maps that hold nothing once ``patch`` removed what was in them."""
    tidy = dict(tree)
    for name, asked in patch.items():
        if not isinstance(asked, Mapping) or not asked or not isinstance(tidy.get(name), dict):
            continue
        tidy[name] = _tidied(tidy[name], asked)
        if not tidy[name]:
            del tidy[name]
    return tidy
