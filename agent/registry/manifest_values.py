"""Values of a manifest that need more than a pattern or a bound.

Pure. Each check returns its argument or raises :class:`PydanticCustomError`, whose message says what would be right.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from agent.registry.reference import is_range, is_version
from agent.types import Box

MAX_SIDE = 8192
MAX_PATH_CHARS = 255
MAX_DECODER_BYTES = 16 * 1024
"""Let through a decoder's parameters travel to the worker in one message of at most 64 KiB."""

_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_LARGEST_INT = 2**53

T = TypeVar("T")


def wrong(message: str) -> PydanticCustomError:
    """Return an error with ``message`` as it is (braces are not a template's)."""
    return PydanticCustomError("manifest", "{message}", {"message": message})


def path_problem(path: str) -> str | None:
    """Say why ``path`` is no relative path below the manifest's folder; None where it is one."""
    if not 0 < len(path) <= MAX_PATH_CHARS:
        return f"must have 1 to {MAX_PATH_CHARS} characters"
    if "\\" in path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "must not hold a backslash or a control character"
    if any(step in ("", ".", "..") for step in path.split("/")):
        return "must be relative, without '..', '.' or empty steps"
    return None


def check_path(path: str) -> str:
    """Let through a relative path below the manifest's folder."""
    problem = path_problem(path)
    if problem:
        raise wrong(problem)
    return path


def check_version(text: str) -> str:
    """Let through a semantic version."""
    if not is_version(text):
        raise wrong("must be a semantic version like 1.2.0")
    return text


def check_range(text: str) -> str:
    """Let through a range of versions."""
    if not is_range(text):
        raise wrong("must be a range of versions like '>=0.1'")
    return text


def check_unique(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Let through texts of which none is blank or repeated."""
    seen: set[str] = set()
    for text in texts:
        if not text.strip():
            raise wrong("must not hold a blank text")
        if text in seen:
            raise wrong(f"must not hold {text!r} twice")
        seen.add(text)
    return texts


def check_shape(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Let through an input's shape: batch 1, and sides that a picture can have."""
    if shape[0] != 1:
        raise wrong("must begin with a batch of 1")
    if not all(1 <= side <= MAX_SIDE for side in shape):
        raise wrong(f"must have sides of 1 to {MAX_SIDE}")
    return shape


def check_nonzero(numbers: tuple[float, float, float]) -> tuple[float, float, float]:
    """Let through divisors."""
    if not all(numbers):
        raise wrong("must not hold 0")
    return numbers


def check_box(box: Box) -> Box:
    """Let through a box ``[x1, y1, x2, y2]`` of pixels that is not empty."""
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= 65536 and 0 <= y1 < y2 <= 65536):
        raise wrong("must be [x1, y1, x2, y2] in pixels with 0 <= x1 < x2 and 0 <= y1 < y2")
    return box


def check_parameter(value: Any) -> Any:
    """Let through a decoder's parameter: a number, a text, true, false, or lists of them."""
    if not _is_parameter(value, depth=4):
        raise wrong("must be a number, a text, true, false or a list of these")
    return value


def check_decoder_size(decoder: T) -> T:
    """Let through a decoder whose parameters have sensible names and fit a message."""
    params: dict[str, Any] = decoder.params  # type: ignore[attr-defined]  # the base of both kinds of decoder
    for name in params:
        if not _PARAMETER.match(name):
            raise wrong(f"{name!r} is no name of a parameter (small letters, digits and '_')")
    if len(json.dumps(params)) > MAX_DECODER_BYTES:
        raise wrong(f"must have parameters of at most {MAX_DECODER_BYTES} bytes")
    return decoder


def check_metric(value: Any) -> Any:
    """Let through a metric: a number, a text, true or false, or a mapping of names to these."""
    entries: Sequence[Any] = list(value.values()) if isinstance(value, dict) else [value]
    if not all(_is_scalar(entry) for entry in entries):
        raise wrong("must be a number, a text, true, false, or a mapping of names to these")
    return value


def _is_scalar(value: Any) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= _LARGEST_INT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) and len(value) <= 2000


def _is_parameter(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_is_parameter(item, depth - 1) for item in value)
    return _is_scalar(value)


RelativePath = Annotated[str, AfterValidator(check_path)]
SemVer = Annotated[str, AfterValidator(check_version), Field(examples=["1.2.0"])]
NpmRange = Annotated[str, AfterValidator(check_range), Field(examples=[">=0.1"])]
UniqueTexts = AfterValidator(check_unique)
JsonParameter = Annotated[Any, AfterValidator(check_parameter)]
Metric = Annotated[
    Any,
    AfterValidator(check_metric),
    WithJsonSchema({"type": ["number", "string", "boolean", "object"]}),
]
