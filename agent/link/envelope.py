"""From a command's bytes to its typed arguments, or to the one error that says what is wrong. Pure.

The order matters: what the answer needs (the ``id``) is read first, so that every later complaint can carry it. Input
here is foreign: any bytes whatsoever end in a value or in a :class:`~agent.errors.CommandError`, nothing else.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from agent.errors import CommandError
from agent.link.forms import Arguments
from agent.link.messages import MAX_COMMAND_BYTES, Command
from agent.link.topics import Topics, is_publishable

MAX_RESPONSE_TOPIC_CHARS = 256
MAX_ID_CHARS = 128
MAX_QUOTED_CHARS = 64

_FIELD = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")

_A = TypeVar("_A", bound=Arguments)
_C = TypeVar("_C", bound=msgspec.Struct)


class TooLarge(CommandError):
    """The payload is longer than any command needs to be."""

    code = "too_large"


class NotJson(CommandError):
    """The payload is not a JSON object."""

    code = "bad_json"


class BadVersion(CommandError):
    """The envelope's ``v`` is not ours."""

    code = "bad_version"


class BadArgument(CommandError):
    """A key of the envelope or an argument of the verb is wrong, missing or unknown."""

    code = "bad_argument"


class UnknownVerb(CommandError):
    """There is no such verb."""

    code = "unknown_verb"


class Retained(CommandError):
    """A command was published as retained: it would run again at every connection."""

    code = "retained"


class Expired(CommandError):
    """The command came after its ``expires_at``."""

    code = "expired"


class ClockUnsynced(CommandError):
    """The command has an ``expires_at`` and this device does not know what time it is."""

    code = "clock_unsynced"


class BadResponseTopic(CommandError):
    """The MQTT 5 response topic cannot or must not be published to."""

    code = "bad_response_topic"


def too_large(size: int) -> TooLarge:
    """Say that a command of ``size`` bytes is not taken."""
    return TooLarge(f"the command has {size} bytes; at most {MAX_COMMAND_BYTES} are taken")


def decode(payload: bytes) -> dict[str, Any]:
    """Read the JSON object. Raises :class:`TooLarge`, :class:`NotJson`."""
    if len(payload) > MAX_COMMAND_BYTES:
        raise too_large(len(payload))
    try:
        envelope = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotJson(f'the command is not JSON: {error}; send {{"v":1,"id":"…","args":{{…}}}}') from error
    if not isinstance(envelope, dict):
        raise NotJson(f"the command is a JSON {type(envelope).__name__}, not an object with v, id and args")
    return envelope


def identify(envelope: dict[str, Any]) -> str | None:
    """Return the command's id where it has a usable one, for the answer."""
    identity = envelope.get("id")
    return identity if isinstance(identity, str) and 0 < len(identity) <= MAX_ID_CHARS else None


def validate(envelope: dict[str, Any]) -> Command:
    """Check the envelope's keys. Raises :class:`BadVersion`, :class:`BadArgument`."""
    version = envelope.get("v")
    if version != 1 or isinstance(version, bool):
        raise BadVersion(f"v is {_short(repr(version))}; this agent speaks version 1", field="v")
    return _convert(envelope, Command, "")


def check_expiry(command: Command, utc_ms: Callable[[], int | None]) -> None:
    """Refuse a command that came too late; ``utc_ms`` gives None while the clock is not trusted.

    Raises :class:`Expired`, :class:`ClockUnsynced`, :class:`BadArgument`.
    """
    if command.expires_at is None:
        return
    try:
        at = msgspec.convert(command.expires_at, datetime.datetime)
    except msgspec.ValidationError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadArgument(
            f"expires_at {command.expires_at!r} is no RFC 3339 time with a zone, such as 2026-11-24T16:02:00Z",
            field="expires_at",
        )
    now_ms = utc_ms()
    if now_ms is None:
        raise ClockUnsynced(
            f"expires_at {command.expires_at} cannot be judged: this device's clock is not synchronised yet",
            field="expires_at",
        )
    if at.timestamp() * 1000 <= now_ms:
        raise Expired(f"the command expired at {command.expires_at}; send it again", field="expires_at")


def arguments(command: Command, form: type[_A]) -> _A:
    """Return the verb's typed arguments. Raises :class:`BadArgument`."""
    return _convert(command.args, form, "args")


def unknown_verb(verb: str, known: Iterable[str]) -> UnknownVerb:
    """Say that there is no such verb, and which one may have been meant."""
    known = sorted(known)
    near = difflib.get_close_matches(_short(verb), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return UnknownVerb(f"verb {_short(verb)!r} is unknown; {hint}")


def check_response_topic(topic: str, topics: Topics) -> None:
    """Refuse a response topic that is no topic, or where an answer would be taken for something else.

    Raises :class:`BadResponseTopic`.
    """
    if len(topic) > MAX_RESPONSE_TOPIC_CHARS or not is_publishable(topic) or topic.startswith("$"):
        raise BadResponseTopic(
            f"response topic {_short(topic)!r} cannot be used: at most {MAX_RESPONSE_TOPIC_CHARS} characters, "
            "no + or #, not beginning with $"
        )
    address = topics.parse(topic)
    if address is not None and address.kind != "result":
        raise BadResponseTopic(f"response topic {topic!r} has a meaning of its own; choose one for answers only")


def _short(text: str) -> str:
    """Cut foreign text to what a message or a log may repeat."""
    return text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…"


def _convert(value: dict[str, Any], form: type[_C], path: str) -> _C:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise _explain(str(error), form, path) from error
    except RecursionError as error:
        raise BadArgument(f"{path or 'the command'} is nested too deeply", field=path or None) from error


def _explain(text: str, form: type[msgspec.Struct], path: str) -> BadArgument:
    """Turn msgspec's words into ours: the path of the key first, and the nearest key for an unknown one."""
    inner = ""
    if (at := _FIELD.search(text)) is not None:
        inner, text = at["path"], text[: at.start()]
    where = ".".join(part for part in (path, _short(inner)) if part)
    if (unknown := _UNKNOWN.search(text)) is not None:
        name = _short(unknown["name"])
        near = difflib.get_close_matches(name, form.__struct_fields__, n=1)
        keys = ", ".join(form.__struct_fields__) or "none"
        where = f"{where}.{name}" if where else name
        text = f"unknown key; {f'did you mean {near[0]!r}?' if near else f'there are: {keys}'}"
    return BadArgument(f"{where or 'the command'}: {text}", field=where or None)
