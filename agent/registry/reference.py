"""What an operator writes to mean a release: ``name:version``, ``name@channel`` or ``name@range``.

Pure. A reference says which release is wanted, never whether it exists: that is the signed index's to answer. After
``@`` a word that begins with a letter is a channel (``stable``), everything else is a range in npm's notation
(``^1.2``, ``~1.2.3``, ``>=1 <2``, ``1.x``), because no range begins with a letter.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from semantic_version import NpmSpec, Version

from agent import errors
from agent.types import NAME_PATTERN, ModelName

CHANNEL_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"
MAX_VERSION_CHARS = 64
MAX_RANGE_CHARS = 128
FORMS = "write name:version (faces:1.2.0), name@channel (faces@stable) or name@range (faces@^1.2)"

_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_CHANNEL = re.compile(CHANNEL_PATTERN.replace("$", r"\Z"))
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*\Z")
_RANGE = re.compile(r"[0-9A-Za-z.+*^~<>=| -]+\Z")


class Reference(msgspec.Struct, frozen=True):
    """A model and how its release is chosen; ``str()`` gives back what :func:`parse_reference` reads."""

    model: ModelName
    kind: Literal["version", "channel", "range"]
    value: str

    def __str__(self) -> str:
        return f"{self.model}{':' if self.kind == 'version' else '@'}{self.value}"


def parse_reference(text: str) -> Reference:
    """Read an operator's reference. Raises :class:`ReferenceError`, which says what would be right."""
    text = text.strip()
    at, colon = text.find("@"), text.find(":")
    if at < 0 and colon < 0:
        raise errors.ReferenceError(f"{text!r} is no reference to a release: {FORMS}")
    by_version = at < 0 or 0 <= colon < at
    name, _, value = text.partition(":" if by_version else "@")
    if not _NAME.match(name):
        raise errors.ReferenceError(
            f"{text!r}: {name!r} is no name of a model (small letters, digits, '-' and '_'): {FORMS}"
        )
    if by_version:
        if not is_version(value):
            raise errors.ReferenceError(f"{text!r}: {value!r} is no version like 1.2.0: {FORMS}")
        return Reference(ModelName(name), "version", value)
    if is_channel(value):
        return Reference(ModelName(name), "channel", value)
    value = " ".join(value.split())
    if not is_range(value):
        raise errors.ReferenceError(f"{text!r}: {value!r} is neither a channel nor a range of versions: {FORMS}")
    return Reference(ModelName(name), "range", value)


def is_version(text: str) -> bool:
    """Tell whether ``text`` is a semantic version, in ASCII and of bounded length."""
    return _parsed_version(text) is not None


def is_channel(text: str) -> bool:
    """Tell whether ``text`` can be the name of a channel."""
    return _CHANNEL.match(text) is not None


def is_range(text: str) -> bool:
    """Tell whether ``text`` is a range of versions in npm's notation (and no channel's name)."""
    return _parsed_range(text) is not None


def precedence(version: str) -> Any:
    """Return a sort key: a later version has a greater one. Raises ValueError where ``version`` is none."""
    return Version(version).precedence_key


def newest_in_range(expression: str, versions: list[str]) -> str | None:
    """Return the newest of ``versions`` that the range admits (releases before pre-releases, as npm does)."""
    spec = _parsed_range(expression)
    if spec is None:
        return None
    return max((v for v in versions if spec.match(Version(v))), key=precedence, default=None)


def next_patch(versions: list[str]) -> str:
    """Suggest the version after the newest of ``versions``: ``1.2.3`` → ``1.2.4``; ``1.0.0`` where there is none."""
    newest = max((Version(v) for v in versions), default=None)
    return str(newest.next_patch()) if newest is not None else "1.0.0"


def _parsed_version(text: str) -> Any:
    if len(text) > MAX_VERSION_CHARS or not _VERSION.match(text):
        return None
    try:
        return Version(text)
    except ValueError:
        return None


def _parsed_range(text: str) -> Any:
    if not 0 < len(text) <= MAX_RANGE_CHARS or text[0].isalpha() or not _RANGE.match(text):
        return None
    try:
        return NpmSpec(text)
    except ValueError:
        return None
