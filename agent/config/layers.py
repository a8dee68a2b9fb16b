"""The layers of the configuration, and how one is made of them: defaults < file < remote overlay < environment.

A layer is a tree and the knowledge where each of its values was written. :func:`combine` lays any number of layers
over one another. Maps are merged by key; a list or scalar replaces what was below it; an empty value (null) means the
default; a camera's source of another ``kind`` replaces the one below it, whose keys it does not know. In the
environment ``LOOKOUT__MQTT__PORT=8883`` sets ``mqtt.port``; texts are taken as they are, everything else is read as
YAML. Everything that is wrong in any layer is reported at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.config import describe
from agent.config.keypath import KeyPath, dotted
from agent.config.problems import config_error, validate
from agent.config.reader import MAX_BYTES, Unreadable, read_yaml
from agent.config.schema import Config
from agent.config.secrets_of import secrets_of
from agent.errors import ConfigError, Problem
from agent.known_secrets import remember

PREFIX = "LOOKOUT__"

LayerName = Literal["default", "file", "remote", "environment"]


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: the layer, and the file and line or the variable."""

    layer: LayerName
    where: str

    def __str__(self) -> str:
        """Say it in one word or two."""
        return self.where or self.layer


DEFAULT = Origin("default", "")


@dataclass(frozen=True)
class Layer:
    """One source of values. ``where`` says of each path in ``tree`` where it was written."""

    name: LayerName
    tree: Mapping[str, Any]
    where: Mapping[KeyPath, str]


@dataclass(frozen=True)
class Loaded:
    """A valid configuration. ``base`` is the folder that its relative paths start from."""

    config: Config
    sources: Mapping[str, Origin]
    file: Path
    base: Path

    def __post_init__(self) -> None:
        """Have its secrets hidden wherever they turn up: nobody can load a configuration without that."""
        remember(secrets_of(self.config))

    def source(self, path: str) -> Origin:
        """Return where the value at a dotted path comes from; ``DEFAULT`` where nobody wrote it."""
        return self.sources.get(path, DEFAULT)

    def path_of(self, text: str) -> Path:
        """Return the path that a key of the configuration names; relative ones start from the file's folder."""
        return self.base / text


def load(
    path: Path, environ: Mapping[str, str], *, remote: Mapping[str, Any] | None = None, text: bytes | None = None
) -> Loaded:
    """Read the file, or ``text`` as if it were the file's, and the environment, with ``remote`` laid between them.

    Raises :class:`ConfigError` that holds every problem of all of them.
    """
    try:
        file = file_layer(path, text)
    except Unreadable as error:
        raise config_error([_in_file(path, problem) for problem in error.problems]) from None
    overlay = Layer("remote", remote or {}, {})
    environment, problems = environment_layer(environ, below=_laid_over(file.tree, overlay.tree, (), overlay, {}))
    try:
        config, sources = combine((file, overlay, environment))
    except ConfigError as error:
        raise config_error([*problems, *error.problems]) from None
    if problems:
        raise config_error(problems)
    return Loaded(config, sources, file=path, base=path.absolute().parent)


def combine(layers: Sequence[Layer]) -> tuple[Config, Mapping[str, Origin]]:
    """Lay the layers over one another, the last on top, and validate the whole.

    Returns the configuration and the origin of each value that was written. Raises :class:`ConfigError`.
    """
    tree: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for layer in layers:
        tree = _laid_over(tree, layer.tree, (), layer, origins)

    def where(path: KeyPath) -> str | None:
        origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), None)
        return str(origin) if origin else None

    config = validate(tree, where)
    return config, {dotted(path): origin for path, origin in origins.items()}


def _laid_over(
    below: Mapping[str, Any], above: Mapping[str, Any], path: KeyPath, layer: Layer, origins: dict[KeyPath, Origin]
) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        here = (*path, name)
        under = merged.get(name)
        if value is None and (under is not None or describe.at(here)):
            continue  # not written; of an unknown key, or of a name that needs keys, the schema has to complain
        if isinstance(value, Mapping):
            if under is not None and not isinstance(under, Mapping):
                continue  # wrong below, where only a map can be: that must still be told
            if _is_other_source(here, under, value):
                under = None
                for gone in [path for path in origins if path[: len(here)] == here]:
                    del origins[gone]
            merged[name] = _laid_over(under or {}, value, here, layer, origins)
        else:
            merged[name] = value
        _note(here, value, layer, origins)
    return merged


def _is_other_source(path: KeyPath, under: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
    """Tell whether a camera's source is laid over one of another kind."""
    if len(path) != 3 or (path[0], path[2]) != ("cameras", "source"):
        return False
    kind, before = value.get("kind"), (under or {}).get("kind")
    return kind is not None and before is not None and kind != before


def _note(path: KeyPath, value: Any, layer: Layer, origins: dict[KeyPath, Origin]) -> None:
    """Note where a value and, of a list, its entries were written."""
    where = layer.where.get(path, "")
    origins[path] = Origin(layer.name, where)
    for index in range(len(value) if isinstance(value, list) else 0):
        entry = (*path, index)
        origins[entry] = Origin(layer.name, layer.where.get(entry, where))


# --- the file --------------------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """Return the bytes of the configuration file, for :func:`load`. Raises :class:`ConfigError`."""
    try:
        return _bytes(path)
    except Unreadable as error:
        raise config_error([_in_file(path, problem) for problem in error.problems]) from None


def file_layer(path: Path, data: bytes | None = None) -> Layer:
    """Read the configuration file, or ``data`` in its place. Raises :class:`Unreadable`."""
    text = read_yaml(_bytes(path) if data is None else data)
    if not isinstance(text.tree, dict):
        try:
            validate(text.tree)
        except ConfigError as error:
            raise Unreadable(error.problems) from None
    return Layer("file", text.tree, {key: f"{path.name}, line {line}" for key, line in text.lines.items()})


def _bytes(path: Path) -> bytes:
    """Return at most one byte more than is allowed, so that a huge file is never read whole."""
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Unreadable((Problem("", None, "is no regular file", "name the YAML file itself"),))
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        hint = _OPEN_HINTS.get(type(error), "check the path and the disk")
        reason = getattr(error, "strerror", None) or "the name is not allowed"
        raise Unreadable((Problem("", None, f"cannot be read: {reason}", hint),)) from None


_OPEN_HINTS: dict[type[Exception], str] = {
    FileNotFoundError: "write one, or name another with -c",
    PermissionError: "let the user of the agent read it",
    IsADirectoryError: "name the YAML file in it",
}


def _in_file(path: Path, problem: Problem) -> Problem:
    where = str(path) if problem.where is None else f"{path.name}, {problem.where}"
    keys = tuple(problem.path.split(".")) if problem.path else ()
    secret = next((n for n in range(len(keys)) if describe.is_secret(keys[:n])), None)
    shown = problem.path if secret is None else ".".join(keys[:secret])
    return Problem(shown, problem.value, problem.message, problem.hint, where)


# --- the environment -------------------------------------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], below: Mapping[str, Any]) -> tuple[Layer, list[Problem]]:
    """Return what ``LOOKOUT__…`` variables set, and what is wrong with those that cannot be read.

    A name of a map matches one in ``below`` that differs only in case and in ``-`` for ``_``, because variables
    cannot be called ``front-door``.
    """
    tree: dict[str, Any] = {}
    where: dict[KeyPath, str] = {}
    problems: list[Problem] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        path = _key_path(variable, below)
        try:
            value = _value(path, environ[variable])
            _place(tree, path, value)
        except Unreadable as error:
            problems += [Problem(dotted(path), None, p.message, p.hint, variable) for p in error.problems]
            continue
        for length in range(1, len(path) + 1):
            where[path[:length]] = variable
    return Layer("environment", tree, where), problems


def _key_path(variable: str, below: Mapping[str, Any]) -> KeyPath:
    path: KeyPath = ()
    node: Any = below
    for word in variable.removeprefix(PREFIX).lower().split("__"):
        known: Iterable[str] = node if isinstance(node, Mapping) else ()
        name = next((name for name in known if name.lower().replace("-", "_") == word), word)
        node = node.get(name) if isinstance(node, Mapping) else None
        path = (*path, name)
    return path


def _value(path: KeyPath, text: str) -> Any:
    if not all(path):
        raise Unreadable((Problem("", None, "names no key", f"write {PREFIX}MQTT__HOST for mqtt.host"),))
    if any("\ud800" <= char <= "\udfff" for char in text):  # how Python carries bytes that are not UTF-8
        raise Unreadable((Problem("", None, "is not UTF-8 text", "write it as UTF-8"),))
    found = describe.at(path)
    if found and any(key.textual for key in found):
        return text
    return read_yaml(text.encode()).tree


def _place(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Put ``value`` into ``tree``; a variable for a whole section and one for a key in it contradict each other."""
    node = tree
    for step in path[:-1]:
        node = node.setdefault(str(step), {})
        if not isinstance(node, dict):
            message = "is set although another variable sets the whole section"
            raise Unreadable((Problem("", None, message, "keep one of the two"),))
    node[str(path[-1])] = value
