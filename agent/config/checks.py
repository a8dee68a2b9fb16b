"""What must hold between several keys. Pure.

Works on the raw tree, before or after validation, so that these problems are told together with those of single
keys: anything of an unexpected shape is passed over here, because the schema complains about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.keypath import KeyPath
from agent.config.polygons import complaints

_LOOPBACK = re.compile(r"http://([^/@]*@)?(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?(/|$)")
_OWN_HOST = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.IGNORECASE)


@dataclass(frozen=True)
class Clash:
    """Keys that contradict each other, told at one of them."""

    path: KeyPath
    message: str
    hint: str
    value: str | None = None


def nearest(word: str, known: list[str]) -> str | None:
    """Return the one of ``known`` that ``word`` was probably meant to be, or None."""
    found = difflib.get_close_matches(word[:256].lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    return next((name for name in known if found and name.lower() == found[0]), None)


def did_you_mean(word: str, known: list[str]) -> str:
    """Return a hint that names the nearest of ``known``, else all of them."""
    close = nearest(word, known)
    if close is not None:
        return f"did you mean {close}?"
    return f"known here: {', '.join(known[:20])}" if known else "nothing is known here"


def clashes(tree: Mapping[str, Any]) -> tuple[Clash, ...]:
    """Return every contradiction between keys of a raw or a dumped configuration."""
    return (
        *_memberships(tree),
        *_zones(tree),
        *_remapped(tree),
        *_credentials(_map(tree.get("mqtt"))),
        *_registry(_map(tree.get("registry"))),
        *_web(_map(tree.get("web"))),
    )


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _memberships(tree: Mapping[str, Any]) -> Iterator[Clash]:
    """Check that a camera belongs to exactly one pipeline, and that a pipeline knows its cameras."""
    cameras = [name for name in _map(tree.get("cameras")) if isinstance(name, str)]
    owner: dict[str, str] = {}
    for pipeline, body in _map(tree.get("pipelines")).items():
        listed = _map(body).get("cameras")
        for index, camera in enumerate(listed if isinstance(listed, list | tuple) else ()):
            path = ("pipelines", pipeline, "cameras", index)
            if not isinstance(camera, str):
                continue
            if camera not in cameras:
                yield Clash(path, "there is no such camera", did_you_mean(camera, cameras), camera)
            elif owner.setdefault(camera, pipeline) != pipeline:
                message = f"the camera already belongs to the pipeline {owner[camera]}"
                yield Clash(path, message, "a camera belongs to exactly one pipeline", camera)
    for camera in cameras:
        if camera not in owner:
            hint = "name it in the cameras of one pipeline, or remove it"
            yield Clash(("cameras", camera), "no pipeline watches this camera", hint)


def _zones(tree: Mapping[str, Any]) -> Iterator[Clash]:
    """Check that a zone is one thing, somewhere in the picture of a camera that is there."""
    cameras = [name for name in _map(tree.get("cameras")) if isinstance(name, str)]
    for name, zone in _map(tree.get("zones")).items():
        body, path = _map(zone), ("zones", name)
        camera = body.get("camera")
        if isinstance(camera, str) and camera not in cameras:
            yield Clash((*path, "camera"), "there is no such camera", did_you_mean(camera, cameras), camera)
        shapes = [key for key in ("polygon", "line") if body.get(key) is not None]
        if zone is not None and not shapes and isinstance(zone, Mapping):
            hint = "write polygon: [[x, y], [x, y], [x, y], …] or line: [[x, y], [x, y]]"
            yield Clash(path, "has neither polygon nor line", hint)
        if len(shapes) == 2:
            yield Clash((*path, "line"), "stands beside polygon", "make two zones of them, each with a name of its own")
        for key in shapes:
            for index, message, hint in complaints(body[key], closed=key == "polygon"):
                yield Clash((*path, key) if index is None else (*path, key, index), message, hint)
        yield from _zone_kind(path, body, is_line="line" in shapes)
        if body.get("ignore") is not True and (owner := _untracked(tree, camera)) is not None:
            hint = f"remove pipelines.{owner}.tracking.enabled: false"
            yield Clash(path, "needs tracks, and its camera's are switched off", hint)


def _zone_kind(path: KeyPath, body: Mapping[str, Any], *, is_line: bool) -> Iterator[Clash]:
    ignore = body.get("ignore") is True
    if ignore and is_line:
        yield Clash((*path, "ignore"), "a line holds nothing that could be ignored", "write a polygon, or remove it")
    if body.get("loiter_s") is not None and (is_line or ignore):
        what = "a line is crossed" if is_line else "what is here is ignored"
        yield Clash((*path, "loiter_s"), f"{what}: nobody loiters", "remove it")


def _untracked(tree: Mapping[str, Any], camera: Any) -> str | None:
    """Return the pipeline that watches this camera without tracking."""
    for name, body in _map(tree.get("pipelines")).items():
        listed = _map(body).get("cameras")
        if isinstance(listed, list | tuple) and camera in listed:
            return name if _map(_map(body).get("tracking")).get("enabled") is False else None
    return None


def _remapped(tree: Mapping[str, Any]) -> Iterator[Clash]:
    """Check that nothing is asked of a label that another one is reported in place of."""
    for name, body in _map(tree.get("pipelines")).items():
        path: KeyPath = ("pipelines", name)
        remap = _map(_map(body).get("remap"))
        gone = {old: new for old, new in remap.items() if old != new and old not in remap.values()}
        yield from _gone(path, _map(body), ("labels", "scores", "shapes"), gone)
        cameras, reported = _map(body).get("cameras"), _map(body).get("labels")
        for zone, inner in _map(tree.get("zones")).items():
            if isinstance(cameras, list | tuple) and _map(inner).get("camera") in cameras:
                yield from _gone(("zones", zone), _map(inner), ("labels", "limits"), gone)
                yield from _unreported(("zones", zone), _map(inner).get("labels"), name, reported, gone)


def _unreported(path: KeyPath, labels: Any, pipeline: str, reported: Any, gone: Mapping[Any, Any]) -> Iterator[Clash]:
    """Check that a zone does not wait for a label that its pipeline leaves out."""
    if not isinstance(reported, list | tuple) or not isinstance(labels, list | tuple):
        return
    known = [label for label in reported if isinstance(label, str)]
    for index, label in enumerate(labels):
        if isinstance(label, str) and label not in known and label not in gone:
            message = f"pipelines.{pipeline}.labels leaves this label out"
            yield Clash((*path, "labels", index), message, did_you_mean(label, known), label)


def _gone(path: KeyPath, body: Mapping[str, Any], keys: Iterable[str], gone: Mapping[Any, Any]) -> Iterator[Clash]:
    for key in keys:
        listed = body.get(key)
        for index, label in enumerate(listed if isinstance(listed, list | tuple | Mapping) else ()):
            if isinstance(label, str) and label in gone:
                step = label if isinstance(listed, Mapping) else index
                message = f"{label} is never reported: remap turns it into {gone[label]}"
                yield Clash((*path, key, step), message, f"write {gone[label]}")


def _credentials(mqtt: Mapping[str, Any]) -> Iterator[Clash]:
    has = {name for name, value in mqtt.items() if value is not None}
    if {"password", "password_file"} <= has:
        yield Clash(("mqtt", "password_file"), "stands beside mqtt.password", "keep one of the two")
    if {"username", "username_file"} <= has:
        yield Clash(("mqtt", "username_file"), "stands beside mqtt.username", "keep one of the two")
    if has & {"password", "password_file"} and not has & {"username", "username_file"}:
        name = "password" if "password" in has else "password_file"
        yield Clash(("mqtt", name), "a password without a user name", "set mqtt.username too")
    tls = {name for name, value in _map(mqtt.get("tls")).items() if value is not None}
    for name, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if name in tls and other not in tls:
            yield Clash(("mqtt", "tls", name), f"needs mqtt.tls.{other} beside it", "set both or neither")


def _registry(registry: Mapping[str, Any]) -> Iterator[Clash]:
    """Check that a certificate has its key, and that a token never goes over plain HTTP to another host."""
    has = {name for name, value in registry.items() if value is not None}
    for name, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if name in has and other not in has:
            yield Clash(("registry", name), f"needs registry.{other} beside it", "set both or neither")
    url = registry.get("url")
    if "token_file" in has and isinstance(url, str) and url.startswith("http://") and not _LOOPBACK.match(url):
        hint = "serve the registry over https://"
        yield Clash(("registry", "token_file"), "anybody on the way could read a token sent over http://", hint)


def is_loopback(host: str) -> bool:
    """Tell whether what is served at this host can be reached from the device itself only."""
    return _OWN_HOST.fullmatch(host) is not None


def _web(web: Mapping[str, Any]) -> Iterator[Clash]:
    """Check that nobody looks at the page from a network without a token, or without TLS."""
    has = {name for name, value in web.items() if value is not None}
    if {"token", "token_file"} <= has:
        yield Clash(("web", "token_file"), "stands beside web.token", "keep one of the two")
    host = web.get("host")
    on = web.get("enabled") is True or web.get("metrics") is True
    if not on or not isinstance(host, str) or is_loopback(host):
        return
    if not has & {"token", "token_file"}:
        message = "without a token whoever reaches this address sees what the cameras see"
        hint = "set web.token_file to a file with 16 characters or more, or serve at 127.0.0.1"
        yield Clash(("web", "host"), message, hint, host)
    if "tls" not in has and web.get("insecure") is not True:
        message = "without TLS whoever is on the way reads the token and the pictures"
        hint = "set web.tls, or web.insecure: true where a proxy adds TLS, or serve at 127.0.0.1"
        yield Clash(("web", "host"), message, hint, host)
