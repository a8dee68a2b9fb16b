"""Reads YAML into plain maps, lists and scalars, within bounds, with the line of each value. Pure.

Never more work than :data:`MAX_BYTES`, :data:`MAX_DEPTH` and :data:`MAX_VALUES` allow: aliases are counted as often as
they are used. Beyond YAML 1.1 as PyYAML reads it: keys are always text as written (``no:`` is a name), a key may
stand once only, dates stay text, and no tag makes an object. What is said of a syntax error never quotes the text,
because it may be a secret's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from agent.config.keypath import KeyPath, dotted
from agent.errors import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_VALUES = 20_000

_TAG = "tag:yaml.org,2002:"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Text:
    """What was read: the tree (None for a text without content), and the line of each value, counted from 1."""

    tree: Any
    lines: Mapping[KeyPath, int]


class Unreadable(Exception):
    """The text is no YAML that we take; ``problems`` says why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


def read_yaml(data: bytes) -> Text:
    """Read a YAML document. Raises :class:`Unreadable` with every problem that could be found."""
    if len(data) > MAX_BYTES:
        raise _unreadable(
            f"is larger than {MAX_BYTES // 1024} KB", "a configuration is a few KB: is it the right file?"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable("is not UTF-8 text", "save it as UTF-8", line) from None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _unreadable("holds a character that YAML does not allow", "is it a text file?", line) from None
    except (ValueError, OverflowError):  # PyYAML's scanner on an escape such as "\U99999999"
        raise _unreadable("holds an escape that is no character", "write the character itself") from None
    builder = _Builder(loader)
    tree = None if node is None else builder.build(node, (), 0)
    if builder.problems:
        raise Unreadable(tuple(builder.problems))
    return Text(tree, builder.lines)


def _unreadable(message: str, hint: str | None, line: int | None = None) -> Unreadable:
    return Unreadable((Problem("", None, message, hint, None if line is None else f"line {line}"),))


def _without_quotes(said: str) -> str:
    """Leave out what PyYAML quotes of the text, but for single characters and its own words in angles."""
    return _QUOTED.sub(lambda found: found[0] if len(found[0]) <= 3 or found[0][1] in "<\\" else "…", said)


def _syntax(error: yaml.MarkedYAMLError) -> Unreadable:
    """Say a syntax error with its line and column, without the words of the text that it quotes."""
    said = _without_quotes(error.problem or "is no YAML")
    context = f" ({_without_quotes(error.context)})" if error.context else ""
    mark = error.problem_mark or error.context_mark
    where = None if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
    return Unreadable((Problem("", None, f"is no valid YAML: {said}{context}", _syntax_hint(said + context), where),))


def _syntax_hint(said: str) -> str:
    if "\\t" in said:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in said:
        return "a text with a colon and a blank in it goes in quotes"
    if "expected a single document" in said:
        return "keep one document, without ---"
    return "see the lines just before as well: quotes, brackets and indentation must match"


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, which recurses, with a bound on the depth."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node and what is below it."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # its stubs
            raise yaml.composer.ComposerError(None, None, f"is nested deeper than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Builder:
    """Makes plain values of composed nodes, and notes their lines and what is wrong with them."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._values = 0
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:
        """Return the value of ``node``, which stands at ``path``."""
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            # Only aliases lead here at depth: the composer has bounded what was written out.
            self._values = MAX_VALUES + 1
            message, hint = "holds too many values, or an alias to itself", "write out what the aliases stand for"
            if not any(problem.message == message for problem in self.problems):
                self.problems.append(Problem("", None, message, hint, f"line {node.start_mark.line + 1}"))
            return None
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._map(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(self._bounded(node))]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _bounded(self, node: yaml.Node) -> list[Any]:
        return list(node.value) if self._values <= MAX_VALUES else []

    def _problem(self, node: yaml.Node, path: KeyPath, message: str, hint: str) -> None:
        self.problems.append(Problem(dotted(path), None, message, hint, f"line {node.start_mark.line + 1}"))

    def _map(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in self._bounded(node):
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "has a key that is a list or a map", "write a name before the colon")
            elif key.tag == f"{_TAG}merge":
                merged |= self._merge(value, path, depth)
            elif key.value in own:
                here = (*path, key.value)
                hint = f"keep one; the first stands in line {self.lines.get(here, 0)}"
                self._problem(key, here, "stands twice", hint)
            else:
                here = (*path, key.value)
                self.lines[here] = key.start_mark.line + 1
                own[key.value] = self.build(value, here, depth + 1)
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: KeyPath, depth: int) -> dict[str, Any]:
        """Return what ``<<`` brings in; of a list of maps the first wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            value = self.build(source, path, depth + 1)
            if isinstance(value, dict):
                merged = {**value, **merged}
            elif value is not None:
                self._problem(node, path, "<< stands before something that is no map", "write << before an alias")
        return merged

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "timestamp", "value"):
            return self._text(node, path)
        if kind not in ("null", "bool", "int", "float"):
            self._problem(node, path, "has a tag", "leave out the word that begins with !")
            return None
        try:
            return self._loader.construct_object(node)
        except (ValueError, OverflowError, yaml.YAMLError, KeyError, IndexError):
            self._problem(node, path, "is no number or truth value that can be read", "put a text in quotes")
            return None

    def _text(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._problem(node, path, "holds half a character (a lone surrogate)", "write the character itself")
            return None
        return text
