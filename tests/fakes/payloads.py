"""Commands as an operator, a careless program or an enemy would write them: hypothesis strategies.

Made from the JSON Schemas that are published for the wire (:mod:`agent.link.schemas`), so that a new verb or argument
is attacked without anybody thinking of it: what fits a schema, what is at its bounds, what just misses it, and bytes
that are no command at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from agent.link.forms import FORMS
from agent.link.messages import MAX_COMMAND_BYTES
from agent.link.schemas import json_schemas

Strategy = st.SearchStrategy[Any]

SCHEMAS = json_schemas()
IDS = ("a", "b", "order-1", "x" * 128)
"""A few, so that the same one comes again."""

TEXTS = st.sampled_from(
    ["", " ", "\0", "\ufeff", "é" * 64, "\U0001f600", "-", "../../etc/passwd", "$(reboot)", "`id`", "; reboot", "%s%n",
     "null", "watch", "yard", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
     "x" * 5000]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, -1, 1, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 86_400.000001]
)
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text(max_size=20)
)
ANYTHING: Strategy = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)

PATCHES: Strategy = st.sampled_from(
    [
        {"report": {"detections_hz": 7}},
        {"report": {"detections_hz": None}},
        {"report": None},
        {"cameras": {"yard": {"max_fps": 15}}},
        {"cameras": None},
        {"pipelines": {"watch": {"score": 0.4}}},
        {"pipelines": {"watch": {"factory": "/etc"}}},
        {"mqtt": {"host": "evil.example"}},
        {"mqtt": {"password": "x"}},
        {"paths": {"state": "/"}},
        {"remote": {"restart": True}},
        {"logs": {"level": "debug"}},
        {"deploy": {"shadow_frames": 1e400}},
    ]
)
REFERENCES = st.sampled_from(
    ["tiny:1.0.0", "tiny:1.1.0", "tiny@stable", "tiny@^1.0", "nothing:1.0.0", "yanked:1.0.0", "lying:1.0.0", "../x:1",
     "tiny:", ":", "@", "tiny@", "x" * 256]
)  # fmt: skip


# --- from a schema ---------------------------------------------------------------------------------------------------


def fitting(schema: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Strategy:
    """What fits ``schema``, at its bounds rather than anywhere; ``whole`` holds what it refers to."""
    whole = schema if whole is None else whole
    if "$ref" in schema:
        return fitting(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return st.one_of([fitting(one, whole) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _OF_TYPE[schema["type"]](schema, whole)


def _object(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Strategy:
    known = {name: fitting(one, whole) for name, one in schema.get("properties", {}).items()}
    needed = {name: known.pop(name) for name in schema.get("required", ())}
    if not known and not needed and schema.get("additionalProperties", True):
        return st.dictionaries(TEXTS, ANYTHING, max_size=3)
    return st.fixed_dictionaries(needed, optional=known)


def _number(schema: Mapping[str, Any], _: object) -> Strategy:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    return st.floats(low, high, exclude_min="exclusiveMinimum" in schema, allow_nan=False, allow_infinity=False)


def _integer(schema: Mapping[str, Any], _: object) -> Strategy:
    low, high = schema.get("minimum"), schema.get("maximum")
    return st.sampled_from([edge for edge in (low, high) if edge is not None] or [0]) | st.integers(low, high)


def _string(schema: Mapping[str, Any], _: object) -> Strategy:
    if "pattern" in schema:
        return st.sampled_from(["watch", "yard", "main", "a", "x" * 64]) | st.from_regex(
            schema["pattern"], fullmatch=True
        )
    low, high = schema.get("minLength", 0), schema.get("maxLength", 64)
    return st.sampled_from(["x" * low, "é" * high]) | st.text(min_size=low, max_size=min(high, 40))


_OF_TYPE: dict[str, Any] = {
    "object": _object,
    "number": _number,
    "integer": _integer,
    "string": _string,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
    "array": lambda schema, whole: st.lists(fitting(schema.get("items", {"type": "null"}), whole), max_size=4),
}


def arguments(name: str) -> Strategy:
    """What fits the form of a verb; a deploy rather names a release that there is, a patch a key."""
    found = fitting(SCHEMAS[f"cmd/{name}"])
    if name == "model/deploy":
        return found | st.builds(lambda args, reference: {**args, "reference": reference}, found, REFERENCES)
    if name == "config/patch":
        return found | st.builds(lambda args, patch: {**args, "patch": patch}, found, PATCHES)
    return found


@st.composite
def spoiled(draw: st.DrawFn, whole: Strategy) -> Any:
    """An object with one thing about it that is wrong."""
    value = dict(draw(whole))
    how = draw(st.sampled_from(["swap", "drop", "add", "rename"]))
    if how == "add" or not value:
        return {**value, draw(TEXTS): draw(ANYTHING)}
    key = draw(st.sampled_from(sorted(value)))
    old = value.pop(key)
    if how == "swap":
        value[key] = draw(ANYTHING)
    elif how == "rename":
        value[draw(st.sampled_from([key.upper(), key[:-1], key + "s", key + "\0"]))] = old
    return value


# --- bytes -----------------------------------------------------------------------------------------------------------

MONSTERS = st.sampled_from(
    [
        b"",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 60_000,
        b'{"v":1,"args":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        b'{"v":1,"args":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"v":' + b"9" * 5000 + b"}",
        b'{"v":1e400}',
        b'{"v":NaN}',
        b'{"v":1,"v":2}',
        b'{"v":2,"v":1}',
        b'{"v":1,"id":"a","id":"b"}',
        b'{"v":1,"args":{"x":1},"args":{}}',
        b'{"v":1,"id":"\\ud800"}',
        b'{"v":1,"id":"\\u0000"}',
        b'{"v":1,"expires_at":"9999-12-31T23:59:59-14:00"}',
        b'{"v":1,"expires_at":"0001-01-01T00:00:00+14:00"}',
        b'{"v":1}' + b" " * (MAX_COMMAND_BYTES - 7),
        b'{"v":1}' + b" " * (MAX_COMMAND_BYTES - 6),
        b"x" * (MAX_COMMAND_BYTES + 1),
        b"\x00" * 1000,
        bytes(range(256)),
    ]
)


@st.composite
def mangled(draw: st.DrawFn, whole: st.SearchStrategy[bytes], least: int = 1, most: int = 3) -> bytes:
    """A message with some bytes cut off, dropped, changed, put in or turned round."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(least, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(["cut", "drop", "set", "insert", "turn"]))
        if how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + draw(st.integers(1, 8))]
        elif how == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "insert":
            data[at:at] = draw(
                st.binary(max_size=8)
                | st.sampled_from([b"null", b"[]", b"{}", b"1e999", b"-0", b'"\\ud800"', b"NaN", b"true", b'"v":1,'])
            )
        else:
            data[at : at + 20] = reversed(data[at : at + 20])
    return bytes(data)


def _envelope(name: str) -> Strategy:
    args = arguments(name)
    return st.fixed_dictionaries(
        {"v": st.just(1), "args": st.one_of(args, args, spoiled(args), ANYTHING)},
        optional={
            "id": st.sampled_from(IDS) | st.text(max_size=130),
            "progress": st.booleans(),
            "expires_at": st.sampled_from(["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]) | TEXTS,
        },
    )


def payloads(name: str) -> st.SearchStrategy[bytes]:
    """Bytes for one verb."""
    whole = _envelope(name)
    written = st.one_of(whole, whole, spoiled(whole), ANYTHING).map(_written)
    return st.one_of(written, written, written, mangled(written), MONSTERS, st.binary(max_size=200))


def _written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Sent:
    """A message to a topic of commands; ``scope`` is whom it is for."""

    name: str
    payload: bytes
    retained: bool = False
    qos: int = 1
    response_topic: str | None = None
    correlation: bytes | None = None
    scope: str = "device"


NAMES = st.sampled_from([*sorted(FORMS) * 2, "model/deplot", "no/verb", "device/ping2", "x/" + "y" * 64])
PLACES = st.none() | st.sampled_from(
    ["ops/me", "ops/" + "x" * 252, "x" * 257, "a/+/b", "a/#", "", "$SYS/broker", "lookout/cam1/status",
     "lookout/cam1/cmd/device/restart", "lookout/cam1/reported", "lookout/_all/cmd/device/restart",
     "lookout/_group/gate/cmd/device/ping", "lookout/cam2/desired", "lookout/cam1/result/device/ping", "\ud800", "a\0b"]
)  # fmt: skip
CORRELATIONS = st.none() | st.binary(max_size=20) | st.just(b"\xff" * 65_535)


@st.composite
def commands(draw: st.DrawFn) -> Sent:
    """A message as a whole."""
    name = draw(NAMES)
    known = name if name in FORMS else "device/ping"
    return Sent(
        name,
        draw(payloads(known)),
        retained=draw(st.sampled_from([False] * 19 + [True])),
        qos=draw(st.sampled_from([0, 1, 1, 2])),
        response_topic=draw(PLACES),
        correlation=draw(CORRELATIONS),
        scope=draw(st.sampled_from(["device", "device", "device", "_all", "_group/gate"])),
    )
