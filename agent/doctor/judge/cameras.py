"""One camera: is it there, by a name that lasts, may it be opened, is it free, and does it give a picture. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.doctor.findings import Finding, Value, blinding, failed, ok, skipped, warning
from agent.supervise.status import CameraStatus

DARK = 16.0
"""Mean brightness, of 255, below which there is nothing to see."""

QUIET = frozenset({"reporting", "nothing_there", "ended", "model_absent"})
"""Words for why nothing is reported that need no explanation here."""

BLINDING = frozenset({"stale", "frozen"})


@dataclass(frozen=True)
class Device:
    """The file of a V4L2 camera. ``path`` empty: there is none. ``lasting``: a name of it that stays the same.

    ``capture`` False: it belongs to a camera and gives no pictures (metadata). ``holders``: programs that have it open.
    ``allowed``: this user may open it, ``theirs``: the agent's user may.
    """

    wanted: str
    path: str
    lasting: str = ""
    capture: bool = True
    holders: tuple[str, ...] = ()
    allowed: bool = True
    theirs: bool = True


@dataclass(frozen=True)
class Glimpse:
    """What opening it brought: a picture of ``size`` and mean ``brightness``, or ``problem``."""

    size: tuple[int, int] | None = None
    brightness: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Camera:
    """All that is known of one. ``agent``: what the running agent says of it, else ``glimpse``: what was tried.

    ``reach``: of a network camera, why its address does not answer; empty: it does. ``present``: what is there.
    """

    name: str
    kind: str
    shown: str
    device: Device | None = None
    agent: CameraStatus | None = None
    glimpse: Glimpse | None = None
    reach: str = ""
    present: tuple[str, ...] = ()


def judge(found: Camera) -> Finding:
    """Return what is so of it: the first thing that is wrong."""
    name = f"camera {found.name}"
    values: dict[str, Value] = {"kind": found.kind, "source": found.shown}
    if found.agent is None and found.device is not None and (wrong := _device(name, found, found.device, values)):
        return wrong
    if found.agent is not None:
        return _watched(name, found, found.agent, values)
    if found.glimpse is None:
        return skipped(name, f"{found.shown}: was not opened", "", **values)
    return _tried(name, found, found.glimpse, values)


def _device(name: str, found: Camera, device: Device, values: dict[str, Value]) -> Finding | None:
    """Return what is wrong with its file, None where nothing is."""
    if not device.path:
        there = f"; there are: {', '.join(found.present)}" if found.present else "; no camera is there at all"
        remedy = f"plug it in, or name another: cameras.{found.name}.source.device (ls /dev/v4l/by-id)"
        return failed(name, f"{device.wanted} does not exist{there}", remedy, **values)
    if not device.theirs:
        return failed(
            name,
            f"{device.path}: the agent's user may not open it",
            "sudo usermod -aG video lookout, then start the agent again",
            **values,
        )
    if not device.capture:
        remedy = f"name its first one: cameras.{found.name}.source.device (ls /dev/v4l/by-id, …-index0)"
        return failed(name, f"{device.path} gives no pictures: it holds a camera's metadata", remedy, **values)
    if not device.allowed:
        return skipped(
            name, f"{device.path}: this user may not open it, the agent's may", "sudo lookout doctor", **values
        )
    return None


def _watched(name: str, found: Camera, seen: CameraStatus, values: dict[str, Value]) -> Finding:
    """Judge by the running agent's word: it has the camera, and nobody else may open it meanwhile."""
    values |= {"health": seen.health, "fps": round(seen.fps, 1)}
    said = f"{seen.health}, {seen.fps:.1f} fps answered (the agent has it)"
    log = f"lookout logs --part capture --grep {found.name}"
    if seen.health == "opening":
        return blinding(name, f"{said}: no picture yet", f"look again in a moment; {log}", **values)
    if seen.health not in ("streaming", "ended"):
        why = f": {seen.reason}" if seen.reason else ""
        remedy = _reachable(found) or log
        return failed(name, f"{seen.health}{why}", remedy, **values)
    if seen.conditions:
        make = blinding if BLINDING & set(seen.conditions) else warning
        return make(name, f"{said}, its picture is {', '.join(seen.conditions)}", "docs/cameras.md, Health", **values)
    if seen.why_not and seen.seeing not in QUIET:
        said += f"; reports nothing: {seen.why_not}"
    return _lasting(name, found, said, values)


def _tried(name: str, found: Camera, glimpse: Glimpse, values: dict[str, Value]) -> Finding:
    """Judge by what opening it brought, where no agent has it."""
    if glimpse.size is None:
        holders = found.device.holders if found.device else ()
        if holders:
            said = f"{found.shown} is in use by {', '.join(holders)}"
            return failed(name, said, "end that program: each camera belongs to one", **values)
        remedy = _reachable(found) or _REMEDIES.get(found.kind, "docs/cameras.md")
        return failed(name, glimpse.problem or "gave no picture in time", remedy, **values)
    width, height = glimpse.size
    values |= {"width": width, "height": height, "brightness": glimpse.brightness}
    said = f"{found.shown}: gives pictures of {width}x{height}"
    if glimpse.brightness is not None and glimpse.brightness < DARK:
        return warning(name, f"{said}, nearly black", "is its lens covered, or is it night?", **values)
    return _lasting(name, found, said, values)


def _lasting(name: str, found: Camera, said: str, values: dict[str, Value]) -> Finding:
    """Return that it works; a name that changes when things are plugged in anew is worth a warning."""
    device = found.device
    if (
        device is not None
        and device.path
        and device.lasting
        and device.lasting != device.wanted
        and "/by-" not in device.wanted
    ):
        remedy = f"cameras.{found.name}.source.device: {device.lasting}"
        named = f"{said}; {device.path} may be another camera after the next start"
        return warning(name, named, remedy, **values)
    return ok(name, said, **values)


def _reachable(found: Camera) -> str:
    return f"{found.reach}; check its address, and the network on the way" if found.reach else ""


_REMEDIES = {
    "url": "try it: ffprobe -rtsp_transport tcp URL; check path, user name and password in cameras.*.source.url",
    "device": "fuser -v /dev/video*; v4l2-ctl --list-formats-ext -d DEVICE says what it can",
    "picamera2": "rpicam-hello --list-cameras; docs/raspberry-pi.md",
    "gstreamer": "try it: gst-launch-1.0 PIPELINE ! fakesink; docs/jetson.md",
    "file": "check cameras.*.source.path",
    "images": "check cameras.*.source.path",
}
