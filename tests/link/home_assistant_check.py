"""Judges a discovery message by Home Assistant's own code; run by a Python that has the package ``homeassistant``.

The message comes in on stdin. What Home Assistant would make of it goes out as JSON: the components that its parser
found, with what its schema of their platform says of each. With ``--fields`` it writes the names of the fields instead,
for tests where Home Assistant is not installed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from typing import Any

import voluptuous as vol
from homeassistant.components.mqtt import abbreviations, discovery, schemas
from homeassistant.components.sensor.const import DEVICE_CLASS_UNITS, SensorDeviceClass, SensorStateClass
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame

PLATFORMS = ("binary_sensor", "sensor", "image", "button", "update")


def schema(platform: str) -> Any:
    return importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA


def names(of: Any) -> set[str]:
    """Every key that a schema names, through ``vol.All``."""
    if isinstance(of, vol.Schema):
        return names(of.schema)
    if isinstance(of, dict):
        return {str(getattr(key, "schema", key)) for key in of}
    if isinstance(of, vol.All | vol.Any):
        return set().union(*(names(part) for part in of.validators))
    return set()


def fields() -> dict[str, Any]:
    platforms = {platform: names(schema(platform)) for platform in PLATFORMS}
    known = set().union(names(schemas.DEVICE_DISCOVERY_SCHEMA), {"platform"}, *platforms.values())
    units = {str(name): sorted(map(str, found - {None})) for name, found in DEVICE_CLASS_UNITS.items()}
    return {
        "origin": f"names of fields of Home Assistant {__version__} (Apache-2.0), homeassistant.components.mqtt; "
        "made by tests/link/home_assistant_check.py --fields",
        "abbreviations": {short: name for short, name in sorted(abbreviations.ABBREVIATIONS.items()) if name in known},
        "device_abbreviations": dict(sorted(abbreviations.DEVICE_ABBREVIATIONS.items())),
        "origin_abbreviations": dict(sorted(abbreviations.ORIGIN_ABBREVIATIONS.items())),
        "device": sorted(names(schemas.MQTT_ENTITY_DEVICE_INFO_SCHEMA)),
        "origin_info": sorted(names(schemas.MQTT_ORIGIN_INFO_SCHEMA)),
        "discovery": sorted(names(schemas.DEVICE_DISCOVERY_SCHEMA)),
        "platforms": {platform: sorted(found) for platform, found in platforms.items()},
        "sensor_device_classes": sorted(SensorDeviceClass),
        "sensor_state_classes": sorted(SensorStateClass),
        "sensor_units": {
            name: units[name] for name in sorted(units) if name in ("temperature", "data_rate", "data_size", "duration")
        },
    }


async def judge(payload: str) -> dict[str, str]:
    """Return what is wrong with each component, ``""`` where nothing is."""
    hass = HomeAssistant(tempfile.gettempdir())  # templates are compiled in one
    frame.async_setup(hass)
    parsed = discovery._parse_device_payload(hass, payload, "device", None)
    assert parsed, "the device's own schema refuses it"
    found = {}
    for key, component in parsed["components"].items():
        platform = component.pop("platform")
        if not component:
            found[key] = "gone"
            continue
        unknown = ", ".join(f"unknown field {name}" for name in component if name not in names(schema(platform)))
        config = discovery.MQTTDiscoveryPayload(component)
        config["device"], config["origin"] = parsed["device"], parsed["origin"]
        discovery._merge_common_device_options(config, parsed)
        try:
            schema(platform)(dict(config))
            found[key] = unknown
        except vol.Invalid as error:
            found[key] = str(error)
    return found


if __name__ == "__main__":
    said = fields() if "--fields" in sys.argv else asyncio.run(judge(sys.stdin.read()))
    json.dump({"version": __version__, "judged": said} if "--fields" not in sys.argv else said, sys.stdout, indent=1)
