"""The sections of ``device/diagnose``'s bundle: which part of the device says what. Read by :mod:`agent.diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agent import overview
from agent.clock import rfc3339, utc_ms
from agent.config.layers import Loaded
from agent.config.shown import shown
from agent.deploy.journal import Journal
from agent.diagnose import KB, Section, open_files, threads
from agent.link.commands import Router
from agent.link.publisher import Publisher
from agent.logs.setup import Logging
from agent.loop.records import PipelineStatistics
from agent.readings import Readings
from agent.supervise.heartbeat import Heartbeats
from agent.telemetry.rows import latency_row

MAX_HISTORY = 20
"""States of each pipeline's past that are told."""


@dataclass(frozen=True)
class Parts:
    """Who is asked. ``loaded`` returns the configuration in force, ``more`` further sections by name."""

    identity: overview.Identity
    readings: Readings
    loaded: Callable[[], Loaded]
    journal: Journal
    publisher: Publisher
    router: Router
    logs: Logging
    beats: Heartbeats
    clock_doubt: Callable[[], str | None]
    more: Mapping[str, Callable[[], Any]]


def sections(parts: Parts) -> tuple[Section, ...]:
    """Return the rows, the most telling first."""
    return (
        Section("problems", lambda: overview.degraded(parts.readings.take()), 6 * KB),
        Section("device", lambda: _device(parts), 4 * KB),
        Section("deployments", lambda: parts.readings.deployer.status(), 8 * KB),
        Section("history", lambda: _history(parts), 8 * KB),
        Section("pipelines", lambda: _pipelines(parts.readings.pipeline_statistics()), 12 * KB),
        Section("link", lambda: _link(parts), 4 * KB),
        Section("process", lambda: _process(parts), 4 * KB),
        Section("logging", lambda: _logging(parts.logs), 1 * KB),
        *(Section(name, read, 6 * KB) for name, read in parts.more.items()),
        Section("config", lambda: shown(parts.loaded()), 20 * KB),
    )


def _device(parts: Parts) -> dict[str, Any]:
    identity, reading = parts.identity, parts.readings.take()
    return {
        "device": identity.device,
        "class": identity.device_class,
        "groups": identity.groups,
        "versions": dict(identity.versions),
        "host": dict(identity.host),
        "providers": reading.providers,
        "boot": reading.boot,
        "uptime_s": round(reading.uptime_s, 1),
        "trust": reading.trust,
        "clock": {"at": rfc3339(utc_ms()), "doubt": parts.clock_doubt()},
        "config_file": str(parts.loaded().file),
    }


def _history(parts: Parts) -> dict[str, Any]:
    """Return the last states of each pipeline, the newest first."""
    return {
        str(name): [
            {
                "at": rfc3339(entry.at_ms),
                "state": entry.state.value,
                "reference": entry.reference,
                "release": None if entry.release is None else msgspec.to_builtins(entry.release, enc_hook=str),
                "reason": entry.reason,
            }
            for entry in parts.journal.history(name)[:MAX_HISTORY]
        ]
        for name in parts.readings.pipelines
    }


def _pipelines(found: tuple[PipelineStatistics, ...]) -> dict[str, Any]:
    told = {}
    for one in found:
        plain = msgspec.to_builtins(one, enc_hook=str)
        del plain["inference"]  # ``serving`` sums it up
        plain["stages"] = {str(stage): latency_row(snapshot) for stage, snapshot in one.stages.items()}
        told[str(one.pipeline)] = plain
    return told


def _link(parts: Parts) -> dict[str, Any]:
    session = parts.readings.session
    return {
        "session": None if session is None else session.statistics(),
        "publisher": parts.publisher.statistics(),
        "commands": parts.router.statistics(),
    }


def _process(parts: Parts) -> dict[str, Any]:
    return {
        "pid": parts.identity.pid,
        "memory_mb": {name: round(mb, 1) for name, mb in parts.readings.memory_mb().items()},
        "threads": threads(),
        "open_files": open_files(),
        "late": parts.beats.late(),
    }


def _logging(logs: Logging) -> dict[str, Any]:
    found = logs.statistics()
    return {
        "dropped": found.dropped,
        "lost": found.lost,
        "problem": found.problem,
        "followers": found.followers,
        "level": logs.levels.level_of(None),
        "for_a_while": logs.levels.temporary(),
    }
