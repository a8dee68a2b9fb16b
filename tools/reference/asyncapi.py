"""The AsyncAPI 3.0 document of a device: its channels, what it sends and receives, and every message. Pure.

Written from the device's side: it *sends* what it reports and *receives* what an operator sends. Schemas are put in
draft 7, which AsyncAPI speaks: the array forms are all that differ.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from agent.link.discovery import HaDiscovery
from agent.link.forms import FORMS
from agent.link.messages import MAX_COMMAND_BYTES
from agent.link.schemas import MESSAGES
from agent.link.topics import KINDS
from agent.types import NAME_PATTERN
from tools.reference.schemas import message_components
from tools.reference.text import summary
from tools.reference.topics import PLAIN, RECEIVED, description_of

REF = "#/components/schemas/{name}"
BINDING = "0.2.0"
SESSION_EXPIRY_S = 24 * 3600

Json = dict[str, Any]

_ALL: dict[str, type[msgspec.Struct]] = {**MESSAGES, "home-assistant": HaDiscovery}

_NAMES = {
    "prefix": "mqtt.prefix of the device's configuration, by default lookout.",
    "device": f"Name of the device, like {NAME_PATTERN}.",
    "camera": "Name of one of its cameras.",
    "pipeline": "Name of one of its pipelines.",
    "part": "First half of a verb, such as model of model/deploy.",
    "verb": "Second half of a verb.",
    "group": "Name of a group of devices (device.groups).",
    "ha_prefix": "home_assistant.prefix of the device's configuration, by default homeassistant.",
}


def document(version: str) -> str:
    """Return the document as YAML."""
    roots, components = message_components(_ALL, REF)
    made: Json = {
        "asyncapi": "3.0.0",
        "info": _info(version),
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "parameters": {name: {"description": said} for name, said in _NAMES.items()},
            "messages": _messages(roots),
            "schemas": {name: draft7(schema) for name, schema in components.items()},
        },
    }
    return yaml.dump(made, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Repeats what stands twice instead of naming it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return True


def draft7(schema: Any) -> Any:
    """Return a schema of 2020-12 in draft 7, as far as ours differ."""
    if isinstance(schema, list):
        return [draft7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: draft7(value) for key, value in schema.items() if key != "prefixItems"}
    if "prefixItems" in schema:
        rest = found.pop("items", True)
        found |= {"items": draft7(schema["prefixItems"]), "additionalItems": rest}
    return found


def _info(version: str) -> Json:
    return {
        "title": "Lookout device",
        "version": version,
        "description": "What a Lookout device says and obeys over MQTT. Made from its code; docs/mqtt.md explains it.",
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _server() -> Json:
    return {
        "host": "broker.example.com:8883",
        "protocol": "mqtts",
        "protocolVersion": "5",
        "description": "The operator's broker; MQTT 3.1.1 where it has no 5.",
        "bindings": {
            "mqtt": {
                "clientId": "lookout-gate-7",
                "cleanSession": False,
                "lastWill": {"topic": "lookout/gate-7/status", "qos": 1, "message": "offline", "retain": True},
                "keepAlive": 30,
                "sessionExpiryInterval": SESSION_EXPIRY_S,
                "bindingVersion": BINDING,
            }
        },
    }


# --- channels and operations -----------------------------------------------------------------------------------------


def _channels() -> Json:
    found: Json = {}
    for kind, row in KINDS.items():
        if kind in ("cmd", "result"):
            continue
        address = "/".join(("{prefix}/{device}", kind, *(f"{{{name}}}" for name in row.names)))
        found[kind] = _channel(address, {kind: kind}, description_of(kind))
    for verb in FORMS:
        verbs = {"command": f"cmd/{verb}"}
        what = summary(FORMS[verb].__doc__ or "")
        found[_id("cmd", verb)] = _channel(f"{{prefix}}/{{device}}/cmd/{verb}", verbs, what)
        found[_id("result", verb)] = _channel(
            f"{{prefix}}/{{device}}/result/{verb}",
            {"result": "result", "progress": "progress"},
            f"Answers of {verb} that were asked for without a response topic.",
        )
    every = {_word(f"cmd/{verb}"): f"cmd/{verb}" for verb in FORMS}
    found["cmd-all"] = _channel("{prefix}/_all/cmd/{part}/{verb}", every, "A command to all devices.")
    found["cmd-group"] = _channel(
        "{prefix}/_group/{group}/cmd/{part}/{verb}", every, "A command to the devices of a group."
    )
    found["home-assistant"] = _channel(
        "{ha_prefix}/device/{device}/config", {"discovery": "home-assistant"}, summary(HaDiscovery.__doc__ or "")
    )
    return found


def _channel(address: str, messages: dict[str, str], description: str) -> Json:
    names = [part[1:-1] for part in address.split("/") if part.startswith("{")]
    return {
        "address": address,
        "description": description,
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "messages": {key: {"$ref": f"#/components/messages/{_word(name)}"} for key, name in messages.items()},
    }


def _operations() -> Json:
    found: Json = {}
    for kind, row in KINDS.items():
        if kind in ("cmd", "result"):
            continue
        action = "receive" if kind in RECEIVED else "send"
        found[f"{action}-{kind}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{kind}"},
            "summary": description_of(kind),
            "bindings": _bound(row.qos, retain=row.retain),
        }
    for verb in FORMS:
        found[f"receive-{_id('cmd', verb)}"] = _command(_id("cmd", verb), _id("result", verb), verb)
    for scope in ("cmd-all", "cmd-group"):
        found[f"receive-{scope}"] = _command(scope, None, "any verb, answered on each device's own topics")
    found["send-home-assistant"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/home-assistant"},
        "summary": "Announce the device to Home Assistant, where home_assistant.enabled is set.",
        "bindings": _bound(1, retain=True),
    }
    return found


def _command(channel: str, answers: str | None, what: str) -> Json:
    made: Json = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"Do {what}.",
        "bindings": _bound(1, retain=False),
    }
    if answers is not None:
        made["reply"] = {"channel": {"$ref": f"#/channels/{answers}"}}
    return made


def _bound(qos: int, *, retain: bool) -> Json:
    return {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": BINDING}}


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(roots: Json) -> Json:
    found: Json = {}
    for name, message in _ALL.items():
        if name == "cmd":
            continue
        payload = draft7(roots[name])
        if name.startswith("cmd/"):
            payload = _enveloped(payload)
        found[_word(name)] = {
            "name": name,
            "title": message.__name__,
            "summary": summary(message.__doc__ or ""),
            "payload": payload,
        } | (_correlated() if name.startswith("cmd/") else {})
    for kind, (content_type, payload) in PLAIN.items():
        found[kind] = {
            "name": kind,
            "title": kind,
            "summary": description_of(kind),
            "contentType": content_type,
            "payload": payload,
        }
    return found


def _enveloped(arguments: Json) -> Json:
    """Return the schema of a command with these arguments."""
    envelope = {"$ref": REF.format(name=MESSAGES["cmd"].__name__)}
    return {"allOf": [envelope, {"type": "object", "properties": {"args": arguments}}]}


def _correlated() -> Json:
    """Say where MQTT 5 carries whom to answer."""
    return {
        "description": f"At most {MAX_COMMAND_BYTES} bytes. Over MQTT 5 a response topic and correlation data are "
        "honoured; else the answer comes on the result topic.",
        "bindings": {
            "mqtt": {
                "correlationData": {"type": "string", "description": "Comes back with the answer."},
                "responseTopic": "{prefix}/operators/{operator}",
                "bindingVersion": BINDING,
            }
        },
    }


def _word(name: str) -> str:
    """Return a name of a message that may stand in a reference."""
    return name.replace("/", "-")


def _id(kind: str, verb: str) -> str:
    return f"{kind}-{verb.replace('/', '-')}"
