"""What must hold between several keys. Pure.

Works on the raw tree, before or after validation, so that these problems are told together with those of single
keys: anything of an unexpected shape is passed over here, because the schema complains about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.keypath import KeyPath

_LOOPBACK = re.compile(r"http://([^/@]*@)?(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?(/|$)")


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
    return (*_memberships(tree), *_credentials(_map(tree.get("mqtt"))), *_registry(_map(tree.get("registry"))))


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


def _credentials(mqtt: Mapping[str, Any]) -> Iterator[Clash]:
    has = {name for name, value in mqtt.items() if value is not None}
    if {"password", "password_file"} <= has:
        yield Clash(("mqtt", "password_file"), "stands beside mqtt.password", "keep one of the two")
    if has & {"password", "password_file"} and "username" not in has:
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
