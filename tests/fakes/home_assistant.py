"""A real Home Assistant with its MQTT integration and nothing else; run by a Python that has ``homeassistant``.

Takes a port on the command line and a request a line on stdin: ``states`` answers what each entity shows, ``press ID``
presses a button. Its web server and what hangs on it are left out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from homeassistant import bootstrap, config_entries, core, loader, setup
from homeassistant.helpers import entity_registry

LEFT_OUT = ("http", "file_upload")


async def started(port: int) -> core.HomeAssistant:
    folder = Path(tempfile.mkdtemp(prefix="home-assistant-"))
    (folder / "configuration.yaml").touch()
    hass = core.HomeAssistant(str(folder))
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    for domain in ("homeassistant", "persistent_notification"):
        assert await setup.async_setup_component(hass, domain, {})
    hass.http = SimpleNamespace(register_view=lambda view: None)
    for domain in LEFT_OUT:
        hass.config.components.add(domain)
    hass.set_state(core.CoreState.running)
    entry = config_entries.ConfigEntry(
        domain="mqtt",
        data={"broker": "127.0.0.1", "port": port, "protocol": "5"},
        options={},
        entry_id="mqtt",
        title="mqtt",
        source="user",
        unique_id=None,
        version=1,
        minor_version=2,
        discovery_keys=MappingProxyType({}),
        subentries_data=None,
    )
    await hass.config_entries.async_add(entry)
    assert entry.state is config_entries.ConfigEntryState.LOADED, entry.reason
    return hass


def states(hass: core.HomeAssistant) -> dict[str, Any]:
    """What each entity shows, by its unique id: its own id, its state, its attributes."""
    found = {}
    for entity in entity_registry.async_get(hass).entities.values():
        state = hass.states.get(entity.entity_id)
        attributes = None if state is None else {key: str(value) for key, value in state.attributes.items()}
        found[entity.unique_id] = [entity.entity_id, state and state.state, attributes]
    return found


async def serve(port: int) -> None:
    hass = await started(port)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        word, _, rest = line.decode().strip().partition(" ")
        if word == "press":
            await hass.services.async_call("button", "press", {"entity_id": rest}, blocking=True)
        print(json.dumps(states(hass) if word == "states" else {}), flush=True)
    await hass.async_stop()


asyncio.run(serve(int(sys.argv[1])))
