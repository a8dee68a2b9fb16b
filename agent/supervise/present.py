"""What ``lookout status`` prints: the agent's answer as tables or JSON. Returns exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.config.layers import Loaded
from agent.config.places import SOCKET_NAME, places
from agent.errors import LookoutError
from agent.supervise.local import ask
from agent.supervise.status import BrokerStatus, ConfigStatus, PipelineStatus, Status, read_status

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
    console.print(Text(f"{found.device} · lookout {found.version} · pid {found.pid} · up {_span(found.uptime_s)}"))
    console.print(_cameras(found))
    for camera in found.cameras:
        if camera.why_not:
            console.print(Text(f"camera {camera.name} reports nothing: {camera.why_not}"))
    console.print(_pipelines(found))
    console.print(Text(f"broker  {_broker(found.broker)}"))
    if found.config is not None:
        console.print(Text(f"config  {_config(found.config)}"))
    if found.memory_mb:
        console.print(Text("memory  " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in found.memory_mb.items())))
    for reason in found.degraded:
        console.print(Text(f"degraded: {reason}", style="bold yellow"))


def _cameras(found: Status) -> Table:
    table = _table("camera", "pipeline", "health", "fps", "answered", "lost", "skipped", "gated")
    for camera in found.cameras:
        wrong = camera.reason or ", ".join(camera.conditions)
        health = f"{camera.health}: {wrong}" if wrong else camera.health
        counts = (str(number) for number in (camera.answered, camera.lost, camera.skipped, camera.gated))
        table.add_row(*map(Text, (camera.name, camera.pipeline, health, f"{camera.fps:.1f}", *counts)))
    return table


def _pipelines(found: Status) -> Table:
    table = _table("pipeline", "model", "provider", "p50 / p95 ms", "deployment")
    for pipeline in found.pipelines:
        cells = (pipeline.name, _model(pipeline), ", ".join(pipeline.providers) or "-", _latency(pipeline))
        table.add_row(*map(Text, (*cells, _deployment(pipeline))))
    return table


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _model(pipeline: PipelineStatus) -> str:
    if pipeline.model is None:
        return "none"
    digest = f" ({pipeline.digest[:12]})" if pipeline.digest else ""
    return f"{pipeline.model}:{pipeline.version}{digest}"


def _latency(pipeline: PipelineStatus) -> str:
    if pipeline.latency_ms_p50 is None or pipeline.latency_ms_p95 is None:
        return "-"
    return f"{pipeline.latency_ms_p50:.1f} / {pipeline.latency_ms_p95:.1f}"


def _deployment(pipeline: PipelineStatus) -> str:
    wanted = f" {pipeline.reference}" if pipeline.reference else ""
    return f"{pipeline.deployment}{wanted}" + (f": {pipeline.reason}" if pipeline.reason else "")


def _broker(broker: BrokerStatus) -> str:
    if broker.address is None:
        return "none configured"
    protocol = f" (MQTT {broker.protocol})" if broker.protocol else ""
    queued = f", {broker.queued} messages wait" if broker.queued else ""
    return f"{broker.address} {broker.state}{protocol}{queued}" + (f": {broker.reason}" if broker.reason else "")


def _config(config: ConfigStatus) -> str:
    """Say what is in force, and what somebody still has to do about it."""
    epoch, version = config.desired
    parts = [f"revision {config.revision}", f"desired {epoch}.{version}" if version else ""]
    if config.state == "probation":
        until = f" until {config.until}" if config.until else " after the next start"
        parts.append(f"on probation{until}{', needs config/confirm' if config.needs_confirm else ''}")
    elif config.state == "reverted":
        parts.append(f"the last change was undone: {config.reason}")
    parts += [f"refused: {error}" for error in config.errors]
    if config.restart_needed:
        parts.append(f"after a restart: {', '.join(config.restart_needed)}")
    return "; ".join(filter(None, parts))


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2]) or "0 s"
