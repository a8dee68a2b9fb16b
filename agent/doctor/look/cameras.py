"""Reads what can be known of one camera without opening it, and then opens it, unless the running agent has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from agent.config.schema import UrlSource
from agent.doctor.case import Case
from agent.doctor.judge.access import may_open
from agent.doctor.judge.cameras import Camera, Device
from agent.doctor.look.access import node_at, video
from agent.doctor.look.glimpses import Glimpses
from agent.doctor.look.people import holders
from agent.process.messages import SourceSpec
from agent.redact import redact
from agent.settings import source_of
from agent.supervise.status import CameraStatus
from agent.telemetry import sysfs
from agent.types import CameraName

GLIMPSE_S = 14.0
REACH_S = 3.0
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
LASTING = ("dev/v4l/by-id", "dev/v4l/by-path")


def look(case: Case, name: CameraName, glimpses: Glimpses) -> Camera:
    """Return the facts of the camera ``name`` of the configuration."""
    assert case.loaded is not None
    source = source_of(case.loaded, name)
    device = _device(case, source) if source.kind == "device" else None
    watched = _status(case, name)
    may = device is None or (device.path != "" and device.allowed and device.theirs and device.capture)
    glimpse = glimpses.of(name, source, GLIMPSE_S) if watched is None and may else None
    works = glimpse.size is not None if glimpse else watched is not None and watched.health in ("streaming", "ended")
    address = case.loaded.config.cameras[name].source
    return Camera(
        name=name,
        kind=source.kind,
        shown=redact(source.location),
        device=device,
        agent=watched,
        glimpse=glimpse,
        reach="" if works or not isinstance(address, UrlSource) else unreachable(address.url),
        present=_present(case.host) if device is not None and not device.path else (),
    )


def _status(case: Case, name: CameraName) -> CameraStatus | None:
    cameras = case.status.cameras if case.status else ()
    return next((camera for camera in cameras if camera.name == name), None)


def _device(case: Case, source: SourceSpec) -> Device:
    path = video(source.location)
    node = node_at(path)
    if node is None:
        return Device(str(path), "")
    real = Path(os.path.realpath(path))
    return Device(
        wanted=str(path),
        path=str(real),
        lasting=_lasting(case.host, real),
        capture=_gives_pictures(case.host, real),
        holders=holders(real),
        allowed=os.access(real, os.R_OK | os.W_OK),
        theirs=may_open(case.user, node) or node.lists,
    )


def _lasting(host: Path, real: Path) -> str:
    """Return a name of the device that stays the same when cameras are plugged in anew, empty without one."""
    links = [link for folder in LASTING for link in sysfs.matching(host / folder, "*")]
    return next((str(link) for link in links if os.path.realpath(link) == str(real)), "")


def _gives_pictures(host: Path, real: Path) -> bool:
    """Tell a camera's first file from those beside it, which hold its metadata."""
    index = sysfs.number(host / "sys/class/video4linux" / real.name / "index")
    siblings = sysfs.matching(host / "sys/class/video4linux" / real.name / "device/video4linux", "video*")
    return not index or len(siblings) < 2


def _present(host: Path) -> tuple[str, ...]:
    """Return the cameras that are there: by lasting names, else by what their drivers call them."""
    links = sysfs.matching(host / "dev/v4l/by-id", "*-index0")
    if links:
        return tuple(map(str, links))
    folders = sysfs.matching(host / "sys/class/video4linux", "video*")
    return tuple(f"/dev/{folder.name} ({sysfs.text(folder / 'name') or 'unnamed'})" for folder in folders)


def unreachable(url: str) -> str:
    """Return why nothing answers at a network camera's address, empty where something does."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as error:
        return str(error)
    try:
        with socket.create_connection((host, port), timeout=REACH_S):
            return ""
    except socket.gaierror as error:
        return f"the name {host} cannot be resolved ({error.strerror})"
    except TimeoutError:
        return f"{host} does not answer on port {port}"
    except (OSError, UnicodeError) as error:
        return f"{host}, port {port}: {getattr(error, 'strerror', None) or error}"
