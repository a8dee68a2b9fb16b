"""JSON Schemas of everything that a person or a program may write or read, by the name of their file. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.config.schema import Config
from agent.link.discovery import HaDiscovery
from agent.link.schemas import json_schemas
from agent.registry.manifest import manifest_json_schema
from tools.reference.text import prose

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def file_of(message: str) -> str:
    """Return the file name of a message's schema."""
    return f"{message.replace('/', '-')}.json"


def schema_files() -> dict[str, str]:
    """Return every schema as the text of its file."""
    found: dict[str, dict[str, Any]] = {file_of(name): schema for name, schema in json_schemas().items()}
    found["home-assistant.json"] = msgspec.json.schema(HaDiscovery)
    found["config.json"] = Config.model_json_schema(by_alias=True)
    found["manifest.json"] = manifest_json_schema()
    return {name: _text({"$schema": DIALECT, **tidied(schema)}) for name, schema in sorted(found.items())}


def message_components(
    messages: Mapping[str, type[msgspec.Struct]], ref: str
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each message by its name, and of all that they refer to.

    ``ref`` is how they refer to one another, such as ``#/components/schemas/{name}``.
    """
    roots, components = msgspec.json.schema_components(list(messages.values()), ref_template=ref)
    return dict(zip(messages, map(tidied, roots), strict=True)), tidied(components)


def tidied(schema: Any) -> Any:
    """Return a schema whose descriptions are prose, and which is the same whatever the version of Python."""
    if isinstance(schema, list):
        return [tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {
        key: prose(value) if key == "description" and isinstance(value, str) else tidied(value)
        for key, value in schema.items()
    }
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = sorted(found["anyOf"], key=_is_null)
    return found


def _is_null(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "null"


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
