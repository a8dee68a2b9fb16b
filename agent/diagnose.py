"""The answer of ``device/diagnose``: one bounded bundle of all that helps to find out how a device does.

Its sections come from rows ``(name, how it is read, most bytes)``. A section that cannot be read says why in its place,
and the others are still told: this is asked when something is broken. One that is too large is cut to what fits, whole
entries at a time, and ``truncated`` says what was left out; so the whole has at most :data:`MAX_BYTES`. Everything goes
through the redactor once more on its way out.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import rfc3339, utc_ms
from agent.errors import CommandError, LookoutError
from agent.known_secrets import hide_in
from agent.link.forms import CameraSnapshot, DeviceDiagnose
from agent.link.topics import relative
from agent.link.verbs import Deferred
from agent.snapshots import SnapshotTaken
from agent.types import CameraName
from agent.vision.whynot import WhyNot

KB = 1024
MAX_BYTES = 120 * KB
"""Below the 128 KB that the strictest of the large brokers takes."""

MAX_LOGS_BYTES = 48 * KB
SPARE_BYTES = 2 * KB

PICTURES_S = 4.0
"""How long is waited for pictures; the router's patience is longer."""


class Diagnosis(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer of ``device/diagnose``.

    ``cameras``: of each, why it reports nothing (code ``reporting``: it does). ``sections``: see ``docs/logs.md``;
    ``snapshots``: by camera the topic on which its picture was published, or why there is none. ``truncated`` names
    what was left out of which section, so that the bundle stays bounded.
    """

    cameras: dict[str, WhyNot]
    at: str = ""
    sections: dict[str, Any] = {}
    snapshots: dict[str, str] = {}
    truncated: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """A row: what it is called, how it is read (it may raise LookoutError or OSError), and its share of the bundle.

    ``newest``: of a list that is too long, the end is kept.
    """

    name: str
    read: Callable[[], Any]
    max_bytes: int = 8 * KB
    newest: bool = False


class Diagnoser:
    """Puts the bundle together; any thread may ask. ``logs`` returns the newest records, as many as are asked for."""

    def __init__(
        self,
        sections: Sequence[Section],
        *,
        why_not: Callable[[], Mapping[CameraName, WhyNot]],
        logs: Callable[[int], Sequence[Mapping[str, Any]]],
        snapshot: Callable[[CameraSnapshot], Deferred],
    ) -> None:
        self._sections = tuple(sections)
        self._why_not = why_not
        self._logs = logs
        self._snapshot = snapshot

    def diagnose(self, args: DeviceDiagnose) -> Diagnosis:
        """Do what ``device/diagnose`` asks; waits for pictures for :data:`PICTURES_S`. Raises :class:`CommandError`."""
        cameras = _chosen(self._why_not(), args.camera)
        pictures = self._pictures(tuple(cameras)) if args.snapshot else {}
        found: dict[str, Any] = {}
        left_out: list[str] = []

        def add(section: Section) -> None:
            value, note = fitted(section, _read(section))
            found[section.name] = value
            if note:
                left_out.append(f"{section.name}: {note}")

        for section in self._sections:
            add(section)
        room = MAX_BYTES - SPARE_BYTES - _size([found, cameras, pictures, left_out])
        add(Section("logs", lambda: self._logs(args.logs), min(room, MAX_LOGS_BYTES), newest=True))
        return Diagnosis(
            cameras={str(name): reason for name, reason in cameras.items()},
            at=rfc3339(utc_ms()),
            sections=found,
            snapshots=pictures,
            truncated=tuple(left_out),
        )

    def _pictures(self, cameras: Sequence[CameraName]) -> dict[str, str]:
        """Have a picture of each camera published; say where, or why not."""
        done = threading.Condition()
        told: dict[str, str] = {}

        def tell(camera: str, outcome: msgspec.Struct | LookoutError) -> None:
            with done:
                said = outcome.topic if isinstance(outcome, SnapshotTaken) else _why(outcome)
                told[camera] = said
                done.notify_all()

        for camera in cameras:
            try:
                self._snapshot(CameraSnapshot(camera=str(camera))).then(functools.partial(tell, str(camera)))
            except LookoutError as error:
                tell(str(camera), error)
        with done:
            done.wait_for(lambda: len(told) == len(cameras), PICTURES_S)
            return {str(camera): told.get(str(camera)) or _late(camera) for camera in cameras}


def _late(camera: CameraName) -> str:
    return f"not there within {PICTURES_S:g} s; it may still come on {relative('snapshots', camera)}"


def fitted(section: Section, value: Any) -> tuple[Any, str]:
    """Return as much of a section as it may hold, in whole entries, and what was left out in words."""
    value = hide_in(value)
    size = _size(value)
    if size <= section.max_bytes:
        return value, ""
    if isinstance(value, list):
        return _fitted_list(value, section)
    if isinstance(value, dict):
        return _fitted_map(value, section.max_bytes)
    return None, f"it has {size // KB} KB, more than {section.max_bytes // KB}"


def _fitted_list(value: list[Any], section: Section) -> tuple[list[Any], str]:
    ordered = list(reversed(value)) if section.newest else value
    kept: list[Any] = []
    size = 2
    for entry in ordered:
        size += _size(entry) + 1
        if size > section.max_bytes:
            break
        kept.append(entry)
    which = "newest" if section.newest else "first"
    return (list(reversed(kept)) if section.newest else kept), f"only the {which} {len(kept)} of {len(value)}"


def _fitted_map(value: dict[str, Any], max_bytes: int) -> tuple[dict[str, Any], str]:
    """Keep the small entries rather than the large ones."""
    sizes = {key: _size(inner) + _size(key) + 2 for key, inner in value.items()}
    kept: set[str] = set()
    size = 2
    for key in sorted(sizes, key=lambda key: sizes[key]):
        size += sizes[key]
        if size > max_bytes:
            break
        kept.add(key)
    left = [key for key in value if key not in kept]
    named = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
    return {key: inner for key, inner in value.items() if key in kept}, f"without {named[:400]}"


def threads() -> list[str]:
    """Return the names of the agent's threads."""
    return sorted(thread.name for thread in threading.enumerate())


def open_files() -> int:
    """Return how many files the agent has open. Raises :class:`OSError`."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _read(section: Section) -> Any:
    try:
        # Bytes are nobody's words, and in base64 no secret would be found in them.
        return msgspec.to_builtins(section.read(), builtin_types=(bytes,), enc_hook=str)
    except LookoutError as error:
        return {"cannot_be_read": error.message}
    except OSError as error:
        return {"cannot_be_read": error.strerror or str(error)}


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def _why(outcome: msgspec.Struct | LookoutError) -> str:
    return outcome.message if isinstance(outcome, LookoutError) else "no picture"


def _chosen(found: Mapping[CameraName, WhyNot], camera: str | None) -> dict[CameraName, WhyNot]:
    if camera is None:
        return dict(found)
    name = CameraName(camera)
    if name not in found:
        known = ", ".join(found)
        raise CommandError(f"args.camera: {camera!r} is no camera of this device; it has {known}", field="args.camera")
    return {name: found[name]}
