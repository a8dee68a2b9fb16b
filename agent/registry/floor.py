"""The device's own floor: the lowest version of each model that it will take, whoever asks for an older one. Pure.

It is local configuration (``registry.min_version``): a hostile broker may choose among signed releases, but an old
one with a known weakness was signed too.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent import errors
from agent.registry.reference import precedence


def below_floor(model: str, version: str, floors: Mapping[str, str]) -> bool:
    """Return whether the device must not take this version."""
    floor = floors.get(model)
    return floor is not None and bool(precedence(version) < precedence(floor))


def check_floor(model: str, version: str, floors: Mapping[str, str]) -> None:
    """Raise :class:`agent.errors.ReferenceError` where the device must not take this version."""
    if below_floor(model, version, floors):
        raise errors.ReferenceError(
            f"{model}:{version} is older than {floors[model]}, the oldest this device takes; "
            "lower registry.min_version in its file to allow it",
            field="registry.min_version",
        )
