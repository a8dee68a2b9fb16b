"""Reading what the kernel tells in small files, which may be absent, refuse to be read, or hold anything.

Nothing here raises: what cannot be had, or is no number of a size that the kernel could mean, is None.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_BYTES = 64 * 1024
LARGEST = 2**64
"""No counter of the kernel is larger."""


def text(path: Path | str) -> str | None:
    """Return what a file says, without the white space around it; None where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return None
    try:
        return os.read(fd, MOST_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(fd)


def integer(said: str | None, base: int = 10) -> int | None:
    """Return the whole number that ``said`` is, None where it is none or none that the kernel could mean."""
    if said is None or len(said) > 32:
        return None
    try:
        number = int(said, base)
    except ValueError:
        return None
    return number if -LARGEST < number < LARGEST else None


def number(path: Path | str, base: int = 10) -> int | None:
    """Return the whole number that a file holds."""
    return integer(text(path), base)


def numbers(paths: Iterable[Path]) -> Iterator[int]:
    """Give the numbers that can be read, in their order."""
    for path in paths:
        found = number(path)
        if found is not None:
            yield found


def matching(root: Path, *patterns: str) -> tuple[Path, ...]:
    """Return the paths below ``root`` that match, in the order of the patterns and then of their names."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(sorted(root.glob(pattern))))
        except OSError:  # a folder that went away, or refuses to be read
            continue
    return tuple(found)


def named(sys: Path, *names: str) -> tuple[Path, ...]:
    """Return the folders of the hardware monitors (hwmon) that call themselves one of ``names``."""
    return tuple(path for path in matching(sys, "class/hwmon/hwmon*") if text(path / "name") in names)
