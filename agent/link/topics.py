"""Every MQTT topic of a device, built and parsed in one place. Pure.

Below ``<prefix>/<device>/`` lie the kinds of :data:`KINDS`; commands to many come on ``<prefix>/_all/cmd/…`` and
``<prefix>/_group/<group>/cmd/…`` (no device can be called so: names begin with a letter or a digit). Parts of the
agent speak in *relative* topics (:func:`relative`); only the publisher and the session know the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from agent.errors import InputError
from agent.types import NAME_PATTERN

Scope = Literal["device", "all", "group"]

MAX_TOPIC_BYTES = 65_535

MAX_LEVELS = 200

_NAME = re.compile(NAME_PATTERN)
_NON_CHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_UNWELCOME = re.compile(f"[+#\0-\x1f\x7f-\x9f\ufdd0-\ufdef{_NON_CHARACTERS}]")
_ALL = "_all"
_GROUP = "_group"


class Kind(msgspec.Struct, frozen=True):
    """A row of the table of topics: the names that follow it, its QoS and whether the broker keeps the last one."""

    names: tuple[str, ...] = ()
    qos: Literal[0, 1] = 0
    retain: bool = False


KINDS: dict[str, Kind] = {
    "status":     Kind((), qos=1, retain=True),
    "info":       Kind((), qos=1, retain=True),
    "state":      Kind(("camera",), qos=1, retain=True),
    "detections": Kind(("camera",)),
    "events":     Kind(("camera",), qos=1),
    "snapshots":  Kind(("camera",)),
    "telemetry":  Kind(()),
    "deploy":     Kind(("pipeline",), qos=1, retain=True),
    "update":     Kind(("pipeline",), qos=1, retain=True),
    "desired":    Kind((), qos=1, retain=True),
    "reported":   Kind((), qos=1, retain=True),
    "cmd":        Kind(("part", "verb"), qos=1),
    "result":     Kind(("part", "verb"), qos=1),
    "logs":       Kind(()),
}  # fmt: skip


class Address(msgspec.Struct, frozen=True):
    """What a topic means. ``target`` is the device or the group; None when it is meant for all devices."""

    kind: str
    names: tuple[str, ...] = ()
    scope: Scope = "device"
    target: str | None = None


def is_name(text: str) -> bool:
    """Tell whether ``text`` may name a device, camera, pipeline, group, part or verb."""
    return _NAME.fullmatch(text) is not None and not text.endswith("\n")


def check_name(what: str, text: str) -> str:
    """Return ``text`` if it is a name. Raises :class:`InputError`, which says what it was to name."""
    if not is_name(text):
        raise InputError(
            f"{what} {text!r}: use 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or a digit",
            field=what,
        )
    return text


def is_publishable(topic: str) -> bool:
    """Tell whether a broker takes a message on ``topic``: not empty, no wildcard, at most 65535 bytes and 200 levels.

    Nor may it hold control characters or what Unicode calls non-characters: mosquitto hangs up on them.
    """
    if not topic or _UNWELCOME.search(topic) or topic.count("/") >= MAX_LEVELS:
        return False
    try:
        return len(topic.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def relative(kind: str, *names: str) -> str:
    """Build a topic below the device's root: ``relative("state", "front")`` is ``state/front``.

    Raises :class:`InputError` for an unknown kind, the wrong number of names or a bad one.
    """
    row = KINDS.get(kind)
    if row is None:
        raise InputError(f"topic kind {kind!r} is unknown; there are {', '.join(KINDS)}")
    if len(names) != len(row.names):
        raise InputError(f"topic {kind!r} takes {len(row.names)} names {row.names}, not {len(names)}")
    for what, name in zip(row.names, names, strict=True):
        check_name(what, name)
    return "/".join((kind, *names))


class Topics:
    """The topics of one device under one prefix. Immutable; any thread."""

    def __init__(self, prefix: str, device: str) -> None:
        """Raise :class:`InputError` where ``device`` is not a name or ``prefix`` cannot begin a topic."""
        self.prefix = prefix.rstrip("/")
        self.device = check_name("device", device)
        if not self.prefix or self.prefix.startswith(("/", "$")) or not is_publishable(self.prefix):
            raise InputError(
                f"mqtt.prefix {prefix!r}: use words separated by '/', without '+', '#' or a leading '/' or '$'",
                field="mqtt.prefix",
            )
        self.root = f"{self.prefix}/{device}/"
        self.status = self.root + "status"

    def absolute(self, topic: str) -> str:
        """Put the device's root before a relative topic. Raises :class:`InputError` if no broker would take it."""
        whole = self.root + topic
        if not topic or not is_publishable(whole):
            raise InputError(f"topic {whole!r} cannot be published to: it is empty, too long or holds + or #")
        return whole

    def format(self, address: Address) -> str:
        """Build the topic of an address, of this or another device. Raises :class:`InputError`."""
        tail = relative(address.kind, *address.names)
        if address.scope != "device" and address.kind != "cmd":
            raise InputError(f"topic {tail!r}: only commands go to a group or to all")
        if address.scope == "all":
            return f"{self.prefix}/{_ALL}/{tail}"
        if address.scope == "group":
            return f"{self.prefix}/{_GROUP}/{check_name('group', address.target or '')}/{tail}"
        return f"{self.prefix}/{check_name('device', address.target or self.device)}/{tail}"

    def parse(self, topic: str) -> Address | None:
        """Read a topic of this prefix, of whichever device; None where it is none of ours."""
        head = self.prefix + "/"
        if not topic.startswith(head):
            return None
        levels = topic[len(head) :].split("/")
        scope: Scope = "device"
        target: str | None = None
        if levels[0] == _ALL:
            scope, levels = "all", levels[1:]
        else:
            if levels[0] == _GROUP:
                scope, levels = "group", levels[1:]
            target, levels = (levels[0], levels[1:]) if levels else ("", [])
            if not is_name(target):
                return None
        return _address(levels, scope, target)

    def command_filters(self, groups: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the subscriptions under which this device is commanded: its own, its groups', everybody's."""
        return (
            f"{self.root}cmd/+/+",
            f"{self.prefix}/{_ALL}/cmd/+/+",
            *(f"{self.prefix}/{_GROUP}/{check_name('group', group)}/cmd/+/+" for group in groups),
        )


def _address(levels: list[str], scope: Scope, target: str | None) -> Address | None:
    if not levels:
        return None
    kind, *names = levels
    row = KINDS.get(kind)
    if row is None or len(names) != len(row.names) or not all(map(is_name, names)):
        return None
    if scope != "device" and kind != "cmd":
        return None
    return Address(kind, tuple(names), scope, target)
