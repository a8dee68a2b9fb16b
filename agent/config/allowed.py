"""Which keys of the overlay may be set from afar, and to which hosts they may point. Pure.

The overlay may come from a hostile broker, so everything is refused that is not known to be allowed: each leaf, lists
and empty maps too, must lie at a key that the schema calls remote, for the kind that its camera's source will have.
``mqtt.host`` and ``mqtt.port`` must name a broker, ``registry.url`` a registry, that the local configuration allows or
uses itself; and no mask may be got around (:mod:`agent.config.masked`). Whether the values are right is the schema's to
say.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.config import describe
from agent.config.desired import Overlay, remote_tree
from agent.config.keypath import KeyPath, dotted
from agent.config.masked import unmasked
from agent.config.merge import leaves
from agent.config.problems import shown
from agent.config.schema import Config, Remote
from agent.errors import Problem

BROKER: tuple[KeyPath, ...] = (("mqtt", "host"), ("mqtt", "port"))
REGISTRY: KeyPath = ("registry", "url")
_PORTS = {"http": 80, "https": 443}


def check_remote(overlay: Overlay, allow: Remote, base: Config) -> tuple[Problem, ...]:
    """Return what the overlay sets and may not, by the allow-lists ``allow``; ``base``: file and environment alone."""
    return tuple(problem for _, problem in forbidden(overlay, allow, base))


def forbidden(overlay: Overlay, allow: Remote, base: Config) -> Iterator[tuple[KeyPath, Problem]]:
    """Yield each leaf of the overlay that may not be set, with what to say of it."""
    tree = remote_tree(overlay)
    kinds = _kinds(tree, base)
    for path, value in leaves(tree):
        said = _complaint(path, value, kinds)
        if said is not None:
            yield path, Problem(dotted(path), shown(path, value), *said)
    for path in (*_elsewhere(tree, allow, base), *unmasked(tree, base)):
        yield path, Problem(dotted(path), shown(path, _at(tree, path)), *_NOT_ALLOWED[str(path[0])])


def without(overlay: Overlay, paths: Iterable[KeyPath]) -> Overlay:
    """Return the overlay without the leaves at ``paths``, nor what a ``desired`` names there."""
    gone = set(paths)
    models = {name: model for name, model in overlay.models.items() if ("pipelines", name, "model") not in gone}
    return Overlay(
        _pruned(overlay.config, gone), models, _pruned(overlay.managed, gone), overlay.epoch, overlay.version
    )


_NOT_ALLOWED = {
    "mqtt": ("is no broker that the device allows", "set one of remote.brokers, or add it there in the device's file"),
    "registry": (
        "is no registry that the device allows",
        "set one of remote.registries, or add it there in the device's file",
    ),
    "cameras": (
        "says what a camera looks at, and cannot be set from afar on a device that masks pictures",
        "set it in the device's file",
    ),
}


# --- keys ------------------------------------------------------------------------------------------------------------


def _kinds(tree: Mapping[str, Any], base: Config) -> dict[str, str]:
    """Return the kind of source that each camera will have."""
    kinds: dict[str, str] = {name: camera.source.kind for name, camera in base.cameras.items()}
    cameras = tree.get("cameras")
    for name, camera in cameras.items() if isinstance(cameras, Mapping) else ():
        source = camera.get("source") if isinstance(camera, Mapping) else None
        kind = source.get("kind") if isinstance(source, Mapping) else None
        if isinstance(kind, str):
            kinds[name] = kind
    return kinds


def _complaint(path: KeyPath, value: Any, kinds: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with setting this leaf, in words and with what would be right."""
    keys = _keys_of(path, kinds)
    if not keys and path[-1] == "kind":
        return "is no kind of source", "see lookout check --explain cameras.*.source.kind"
    if not keys:
        near = describe.suggest(".".join(map(str, path))[:256])
        return "is no known key", f"did you mean {near}?" if near else "see lookout check --explain"
    if all(key.remote for key in keys) and not any(key.secret for key in keys):
        return None
    if path[-1] == "kind" and isinstance(value, str):
        return "is no kind of source that can be set from afar", "set it in the device's file"
    return "cannot be set from afar", "set it in the device's file or environment"


def _keys_of(path: KeyPath, kinds: Mapping[str, str]) -> tuple[describe.Key, ...]:
    """Return the keys of the schema that rule a leaf: its own, or those of the map that its name stands in."""
    kind = kinds.get(str(path[1])) if len(path) > 3 and path[0] == "cameras" and path[2] == "source" else None
    for length in range(len(path), 0, -1):
        found = describe.at(path[:length])
        if not found:
            continue
        if length < len(path) and not _takes_names(found, path[length:]):
            return ()
        return tuple(key for key in found if kind is None or not key.kinds or kind in key.kinds)
    return ()


def _takes_names(found: tuple[describe.Key, ...], rest: KeyPath) -> bool:
    """Tell whether a key is a map whose names are free, and ``rest`` is one of its names."""
    return len(rest) == 1 and all(key.type.startswith("map of names") for key in found)


# --- hosts -----------------------------------------------------------------------------------------------------------


def _elsewhere(tree: Mapping[str, Any], allow: Remote, base: Config) -> Iterator[KeyPath]:
    """Yield the keys that point to a broker or registry that is not allowed. Values of a wrong type are passed over."""
    set_here = [path for path in BROKER if _at(tree, path) is not None]
    host, port = _at(tree, BROKER[0]) or base.mqtt.host, _at(tree, BROKER[1]) or base.mqtt.port
    if set_here and not _allows_broker(allow.brokers, base, host, port):
        yield from set_here
    url = _at(tree, REGISTRY)
    allowed = {_registry(known) for known in (*allow.registries, base.registry.url or "")}
    if url is not None and (not isinstance(url, str) or _registry(url) not in allowed):
        yield REGISTRY


def _allows_broker(allowed: Iterable[str], base: Config, host: Any, port: Any) -> bool:
    if not isinstance(host, str) or type(port) is not int:
        return False
    if base.mqtt.host is not None and (_host(host), port) == (_host(base.mqtt.host), base.mqtt.port):
        return True
    return any(_host(host) == known and only in (None, port) for known, only in map(_broker, allowed))


def _broker(address: str) -> tuple[str, int | None]:
    """Split an entry of ``remote.brokers``; without a port it stands for every port of that host."""
    if address.count(":") == 1 or "]:" in address:
        host, _, port = address.rpartition(":")
        return _host(host), int(port)
    return _host(address), None


def _host(text: str) -> str:
    """Return a name or address as it is compared: case, a last dot and the ways to write an address do not matter."""
    bare = text.strip("[]").removesuffix(".").lower()
    try:
        return ipaddress.ip_address(bare).compressed
    except ValueError:
        return bare


def _registry(url: str) -> tuple[str, ...]:
    """Return a registry's URL as it is compared; one that is none equals only itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return (url,)
    user, at, _ = parts.netloc.rpartition("@")
    port = port or _PORTS.get(parts.scheme, 0)
    return (parts.scheme, user + at, _host(host), str(port), parts.path.rstrip("/"), parts.query, parts.fragment)


# --- trees -----------------------------------------------------------------------------------------------------------


def _at(tree: Any, path: KeyPath) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree


def _pruned(tree: Mapping[str, Any], gone: set[KeyPath], path: KeyPath = ()) -> dict[str, Any]:
    """Return a copy without the leaves in ``gone``, nor the maps that they leave empty."""
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        here = (*path, name)
        if here in gone:
            continue
        below = _pruned(value, gone, here) if isinstance(value, Mapping) else value
        if below != {} or value == {}:
            kept[name] = below
    return kept
