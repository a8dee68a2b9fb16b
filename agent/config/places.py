"""Where the agent's state and its local socket lie, and who the device is where the configuration does not say.

Under systemd the folders are ``$STATE_DIRECTORY`` and ``$RUNTIME_DIRECTORY``; for a person they are the XDG folders.
``status`` and ``run`` must come to the same answer, so both ask here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import atomic
from agent.config.layers import Loaded, environment_layer
from agent.config.reader import Unreadable, read_yaml
from agent.errors import InputError, StorageError
from agent.types import DeviceId

SOCKET_NAME = "agent.sock"
LOCK_NAME = "lock"
MAX_SOCKET_PATH_BYTES = 107 - len("..4194304")
"""What fits in ``sockaddr_un``, less what the server's temporary name beside it needs."""

_MACHINE_ID = Path("/etc/machine-id")
_SALT = b"lookout-agent device id, version 1:"


@dataclass(frozen=True)
class Places:
    """The two folders of one agent."""

    state: Path
    runtime: Path

    @property
    def socket(self) -> Path:
        """The local socket that ``lookout status`` asks."""
        return self.runtime / SOCKET_NAME

    @property
    def lock(self) -> Path:
        """The file whose lock says that an agent uses this state."""
        return self.state / LOCK_NAME


def places(environ: Mapping[str, str], loaded: Loaded | None = None) -> Places:
    """Return the folders: as configured, else as systemd says, else the XDG folders of this user. Creates nothing."""
    paths = None if loaded is None else loaded.config.paths
    state = loaded.path_of(paths.state) if loaded and paths and paths.state else _default_state(environ)
    runtime = loaded.path_of(paths.runtime) if loaded and paths and paths.runtime else _default_runtime(environ)
    return Places(state, runtime)


def state_of(path: Path, environ: Mapping[str, str], text: bytes | None) -> Path:
    """Return the state folder that a configuration file means, even where the file is broken or (None) unreadable.

    What the last good configuration was lies in that folder, so it must be found before the file is believed. Of a file
    that is no YAML, the section ``paths`` alone is read. Creates nothing.
    """
    paths = {name: value for name, value in environ.items() if name.lower().startswith("lookout__paths")}
    named = _state_in(environment_layer(paths, {})[0].tree) or _state_in(_tree(text or b""))
    return path.absolute().parent / named if named else _default_state(environ)


def _state_in(tree: Any) -> str | None:
    """Return ``paths.state`` of a raw tree where that is something that can name a folder."""
    section = tree.get("paths") if isinstance(tree, Mapping) else None
    state = section.get("state") if isinstance(section, Mapping) else None
    return state if isinstance(state, str) and 0 < len(state) <= 4096 and "\0" not in state else None


def _tree(text: bytes) -> Any:
    for part in (text, *re.findall(rb"^paths[ ]*:.*(?:\n(?:[ #].*)?)*", text, re.MULTILINE)):
        with contextlib.suppress(Unreadable):
            return read_yaml(part).tree
    return None


def prepare(folders: Places) -> None:
    """Create both folders, for this user and group only. Raises :class:`StorageError` or :class:`InputError`."""
    length = len(os.fsencode(folders.socket))
    if length > MAX_SOCKET_PATH_BYTES:
        raise InputError(
            f"{folders.socket}: the path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes, this one has {length}; "
            "choose a shorter folder for paths.runtime",
            field="paths.runtime",
        )
    for folder, name in ((folders.state, "state"), (folders.runtime, "runtime")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise StorageError(
                f"{folder}: the folder cannot be made: {error.strerror}; choose another for paths.{name}",
                field=f"paths.{name}",
            ) from error
        # A disk that went read-only is told as degraded later on: what lies on it can still be served.
        if not os.access(folder, os.W_OK | os.X_OK) and not (name == "state" and is_read_only(folder)):
            raise StorageError(
                f"{folder}: user {os.geteuid()} may not write there; give the folder to that user or choose another "
                f"for paths.{name}",
                field=f"paths.{name}",
            )
    _refuse_foreign(folders.runtime)


def is_read_only(folder: Path) -> bool:
    """Tell whether the file system under ``folder`` takes no writes at all, by the kernel's word."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _refuse_foreign(runtime: Path) -> None:
    """Take no folder that another user has laid into one that all users share, such as /tmp."""
    shared = runtime.parent.stat().st_mode & stat.S_ISVTX
    found = runtime.lstat()
    if shared and (found.st_uid != os.geteuid() or stat.S_ISLNK(found.st_mode)):
        raise StorageError(f"{runtime}: belongs to another user; set paths.runtime", field="paths.runtime")


def _first(value: str | None) -> str | None:
    """Return the first of systemd's folders, which it divides by colons."""
    return value.split(":")[0] if value else None


def _absolute(value: str | None) -> Path | None:
    """Return an XDG folder; a relative one is to be ignored, says the specification."""
    return Path(value) if value and value.startswith("/") else None


def _default_state(environ: Mapping[str, str]) -> Path:
    by_systemd = _first(environ.get("STATE_DIRECTORY"))
    if by_systemd:
        return Path(by_systemd)
    home = Path(environ.get("HOME") or Path.home())
    return (_absolute(environ.get("XDG_STATE_HOME")) or home / ".local" / "state") / "lookout"


def _default_runtime(environ: Mapping[str, str]) -> Path:
    by_systemd = _first(environ.get("RUNTIME_DIRECTORY"))
    if by_systemd:
        return Path(by_systemd)
    by_xdg = _absolute(environ.get("XDG_RUNTIME_DIR"))
    return by_xdg / "lookout" if by_xdg else Path(tempfile.gettempdir()) / f"lookout-{os.geteuid()}"


# --- who the device is -----------------------------------------------------------------------------------------------


def device_id(loaded: Loaded, state: Path, *, machine_id: Path = _MACHINE_ID) -> DeviceId:
    """Return the configured id, else one made from the machine id, else a random one that is kept in ``state``.

    The machine id itself stays secret, as machine-id(5) asks. Raises :class:`StorageError`.
    """
    if loaded.config.device.id:
        return DeviceId(loaded.config.device.id)
    try:
        text = machine_id.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if re.fullmatch(r"[0-9a-f]{32}", text):
        return DeviceId(f"device-{hashlib.sha256(_SALT + text.encode()).hexdigest()[:12]}")
    return _kept_id(state / "device-id")


def _kept_id(file: Path) -> DeviceId:
    """Return the id that an earlier start kept, or make one: a container has no machine id of its own."""
    try:
        kept = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        kept = ""
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{file}: cannot be read; set device.id in the configuration", field="device.id") from error
    if re.fullmatch(r"device-[0-9a-f]{12}", kept):
        return DeviceId(kept)
    made = f"device-{secrets.token_hex(6)}"
    atomic.write_text(file, f"{made}\n")
    return DeviceId(made)
