"""Keeps masks from being got around: on a device that masks pictures, what its cameras look at is set locally. Pure.

``masks``, ``crop`` and ``rotate`` cannot be set from afar. That would be worth nothing if the source of a masked camera
could be given to another one, or a camera of another name be added with it; nor can a name, an address or a path tell
for certain that two sources are not the same camera. So where the local configuration masks any camera, the overlay may
add synthetic ones only, and change how a source is read (timeouts, rates, the user and password in its URL), not which.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from agent.config.keypath import KeyPath
from agent.config.schema import Config

WHICH = ("kind", "url", "device", "number")
"""Keys of a source that say which camera it is; ``path`` and ``pipeline`` are not remote at all."""

SIZES = ("width", "height")
"""Keys that move what a mask in pixels covers."""


def unmasked(tree: Mapping[str, Any], base: Config) -> Iterator[KeyPath]:
    """Yield the leaves of the overlay's ``tree`` that could show what the masks of ``base`` hide.

    Values of a wrong type are passed over: the schema refuses them.
    """
    if not any(camera.masks for camera in base.cameras.values()):
        return
    cameras = tree.get("cameras")
    for name, camera in cameras.items() if isinstance(cameras, Mapping) else ():
        source = camera.get("source") if isinstance(camera, Mapping) else None
        if isinstance(source, Mapping) and source.get("kind") != "pattern":
            for key in _other(source, name, base):
                yield ("cameras", name, "source", key)


def _other(source: Mapping[str, Any], name: str, base: Config) -> Iterator[str]:
    """Yield the keys by which a source shows something else, or at another size under a mask in pixels."""
    camera = base.cameras.get(name)
    local: Mapping[str, Any] = {} if camera is None else camera.source.model_dump()
    in_pixels = camera is not None and any(part > 1 for mask in camera.masks for corner in mask for part in corner)
    deciding = (*WHICH, *(SIZES if in_pixels else ()))
    yield from (key for key in source if key in deciding and _address(source[key]) != _address(local.get(key)))


def _address(value: Any) -> Any:
    """Return a URL without its user and password; anything else as it is."""
    if not isinstance(value, str) or "://" not in value:
        return str(value) if type(value) is int else value
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError:
        return value
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
