"""What people are told of a status, in tables and lines: once by ``lookout status``, often by its ``--watch``.

A text that the agent quotes may come from anywhere; it cannot steer the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.supervise.status import BrokerStatus, ConfigStatus, PipelineStatus, Status

BAR = 10
SPARKS = "▁▂▃▄▅▆▇█"
PLAIN_SPARKS = "_.:-=+*#"


def title(found: Status) -> str:
    """Return who this is."""
    return f"{found.device} · lookout {found.version} · pid {found.pid} · up {span(found.uptime_s)}"


def cameras(found: Status, trails: Mapping[str, Sequence[float]] | None = None, *, sparks: str = SPARKS) -> Table:
    """Return the cameras; with ``trails``, each one's frame rates of late, drawn beside the rate."""
    rates = ("fps",) if trails is None else ("fps", "of late")
    shown = table("camera", "pipeline", "health", *rates, "answered", "lost", "skipped", "gated")
    for camera in found.cameras:
        wrong = camera.reason or ", ".join(camera.conditions)
        health = f"{camera.health}: {wrong}" if wrong else camera.health
        trail = () if trails is None else (sparkline(trails.get(camera.name, ()), sparks),)
        counts = (str(number) for number in (camera.answered, camera.lost, camera.skipped, camera.gated))
        shown.add_row(*map(line, (camera.name, camera.pipeline, health, f"{camera.fps:.1f}", *trail, *counts)))
    return shown


def pipelines(found: Status) -> Table:
    """Return the pipelines: what serves, how fast, and where their deployments stand."""
    shown = table("pipeline", "model", "provider", "p50 / p95 ms", "deployment")
    for pipeline in found.pipelines:
        cells = (pipeline.name, _model(pipeline), ", ".join(pipeline.providers) or "-", _latency(pipeline))
        shown.add_row(*map(line, (*cells, _deployment(pipeline))))
    return shown


def rest(found: Status) -> tuple[str, ...]:
    """Return the lines below the tables: broker, configuration, memory."""
    lines = [f"broker  {broker(found.broker)}"]
    if found.config is not None:
        lines.append(f"config  {config(found.config)}")
    if found.memory_mb:
        lines.append("memory  " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in found.memory_mb.items()))
    return tuple(lines)


def table(*headings: str) -> Table:
    """Return an empty table."""
    shown = Table()
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    return shown


def line(text: str) -> Text:
    """Return a text in one line that cannot steer the terminal."""
    return Text("".join(char if char.isprintable() else "·" for char in text))


def sparkline(values: Sequence[float], sparks: str = SPARKS) -> str:
    """Return values as a row of bars, the highest one as high as it goes; nothing at all is the lowest bar."""
    top = max(values, default=0.0)
    steps = len(sparks) - 1
    return "".join(sparks[0 if top <= 0 else round(max(0.0, value) / top * steps)] for value in values)


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
    return f"{pipeline.deployment}{wanted}{_progress(pipeline)}" + (f": {pipeline.reason}" if pipeline.reason else "")


def _progress(pipeline: PipelineStatus) -> str:
    if pipeline.progress is None:
        return ""
    filled = round(min(1.0, max(0.0, pipeline.progress)) * BAR)
    return f" [{'#' * filled}{'.' * (BAR - filled)}] {pipeline.progress:.0%}"


def broker(found: BrokerStatus) -> str:
    """Return how the connection stands."""
    if found.address is None:
        return "none configured"
    protocol = f" (MQTT {found.protocol})" if found.protocol else ""
    queued = f", {found.queued} messages wait" if found.queued else ""
    return f"{found.address} {found.state}{protocol}{queued}" + (f": {found.reason}" if found.reason else "")


def config(now: ConfigStatus) -> str:
    """Say what is in force, and what somebody still has to do about it."""
    epoch, version = now.desired
    parts = [f"revision {now.revision}", f"desired {epoch}.{version}" if version else ""]
    if now.state == "probation":
        until = f" until {now.until}" if now.until else " after the next start"
        parts.append(f"on probation{until}{', needs config/confirm' if now.needs_confirm else ''}")
    elif now.state == "reverted":
        parts.append(f"the last change was undone: {now.reason}")
    parts += [f"refused: {error}" for error in now.errors]
    if now.restart_needed:
        parts.append(f"after a restart: {', '.join(now.restart_needed)}")
    return "; ".join(filter(None, parts))


def span(seconds: float) -> str:
    """Return a time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2]) or "0 s"
