"""What ``lookout status`` prints: the agent's answer as tables or JSON. Returns exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from agent.config.layers import Loaded
from agent.config.places import SOCKET_NAME, places
from agent.errors import LookoutError
from agent.supervise.local import ask
from agent.supervise.presenttables import cameras, line, pipelines, rest, title
from agent.supervise.status import Status, read_status

FINE, FAILED, DEGRADED = 0, 1, 3

SERVICE_SOCKET = Path("/run/lookout") / SOCKET_NAME
"""Where the agent that systemd runs listens."""


def socket_path(environ: Mapping[str, str], loaded: Loaded | None) -> Path:
    """Return the socket to ask: that of the configuration, else of this user's agent, else of the service."""
    own = places(environ, loaded).socket
    return SERVICE_SOCKET if loaded is None and not own.exists() and SERVICE_SOCKET.exists() else own


def status(path: Path, *, as_json: bool) -> int:
    """Ask the agent and print its answer."""
    try:
        found = read_status(ask(path, "status"))
    except LookoutError as error:
        if as_json:
            print(json.dumps({"error": {"code": error.code, "message": error.message}}))
        print(error.message, file=sys.stderr)
        return FAILED
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        _print(found)
    return DEGRADED if found.degraded else FINE


def _print(found: Status) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(line(title(found)))
    console.print(cameras(found))
    for camera in found.cameras:
        if camera.why_not:
            console.print(line(f"camera {camera.name} reports nothing: {camera.why_not}"))
    console.print(pipelines(found))
    for said in rest(found):
        console.print(line(said))
    for reason in found.degraded:
        console.print(line(f"degraded: {reason}"), style="bold yellow")
