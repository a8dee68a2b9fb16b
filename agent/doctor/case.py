"""The case before the doctor: what every check may know, found out once, before the first of them begins.

The configuration that is looked at is the one in force: file, environment and, where this user may read what the agent
remembers, the overlay from afar. Where it is the service's, the service's folders and credentials are meant, and not
this user's. Everything asked here has a deadline.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config.desired import ConfigRefused, Overlay
from agent.config.layers import Loaded, load, read_file
from agent.config.places import Places, places
from agent.config.whole import compose_allowed
from agent.doctor.judge.access import User
from agent.doctor.look import records
from agent.doctor.look.people import user_of
from agent.doctor.look.systemd import Unit
from agent.doctor.look.systemd import look as look_at_unit
from agent.errors import ConfigError, LookoutError, Problem
from agent.supervise.local import ask
from agent.supervise.present import SERVICE_SOCKET, socket_path
from agent.supervise.status import Status, read_status

SERVICE_FILE = Path("/etc/lookout/agent.yaml")
SERVICE_STATE = Path("/var/lib/lookout")
CREDENTIALS = Path("/run/credentials/lookout.service")
ASK_S = 3.0


@dataclass(frozen=True)
class Case:
    """See the module. ``file`` None: there is no configuration; ``loaded`` None: none that is right (``problems``).

    ``status``: what the running agent says of itself, else ``silence`` why not, ``forbidden`` where this user may not
    ask. ``host`` is the root of the file system whose kernel's files are read.
    """

    file: Path | None
    loaded: Loaded | None
    problems: tuple[Problem, ...]
    notes: str
    environ: Mapping[str, str]
    places: Places
    socket: Path
    status: Status | None
    silence: str
    forbidden: bool
    unit: Unit
    user: User
    host: Path = Path("/")

    @property
    def usable(self) -> bool:
        """Whether the configuration is right, or there is none."""
        return not self.problems

    @property
    def credentials(self) -> Path | None:
        """The folder of systemd's credentials."""
        named = self.environ.get("CREDENTIALS_DIRECTORY")
        return Path(named) if named else None


def take(file: Path | None, environ: Mapping[str, str], *, host: Path = Path("/")) -> Case:
    """Find out what every check may know; ``file`` None: the service's configuration, where there is one."""
    unit = look_at_unit(host)
    file = file or (SERVICE_FILE if _is_there(SERVICE_FILE) else None)
    environ = _as_the_service(environ) if file == SERVICE_FILE else environ
    loaded, problems, notes = _loaded(file, environ)
    folders = places(environ, loaded)
    socket = socket_path(environ, loaded) if file is None else folders.socket
    status, silence, forbidden = _asked(socket)
    pid = status.pid if status else unit.pid if socket == SERVICE_SOCKET else None
    return Case(
        file=file,
        loaded=loaded,
        problems=problems,
        notes=notes,
        environ=environ,
        places=folders,
        socket=socket,
        status=status,
        silence=silence,
        forbidden=forbidden,
        unit=unit,
        user=user_of(pid, unit),
        host=host,
    )


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _as_the_service(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the folders that the unit gives the service, unless others are named."""
    theirs = {"STATE_DIRECTORY": str(SERVICE_STATE), "RUNTIME_DIRECTORY": str(SERVICE_SOCKET.parent)}
    if CREDENTIALS.is_dir():
        theirs["CREDENTIALS_DIRECTORY"] = str(CREDENTIALS)
    return {**theirs, **environ}


def _loaded(file: Path | None, environ: Mapping[str, str]) -> tuple[Loaded | None, tuple[Problem, ...], str]:
    """Return what is in force, or every problem of it, and a note on what could not be taken into account."""
    if file is None:
        return None, (), ""
    try:
        base = load(file, environ)
    except ConfigError as error:
        return None, error.problems, ""
    state = places(environ, base).state
    overlay = records.overlay(state)
    if overlay is None:
        hidden = _is_there(state / "config.db") and not os.access(state / "config.db", os.R_OK)
        return base, (), "what was changed from afar may not be read by this user" if hidden else ""
    return _with_overlay(file, environ, base, overlay)


def _with_overlay(
    file: Path, environ: Mapping[str, str], base: Loaded, overlay: Overlay
) -> tuple[Loaded, tuple[Problem, ...], str]:
    try:
        whole, cut = compose_allowed(file, environ, read_file(file), overlay)
    except (ConfigError, ConfigRefused):
        return base, (), "what was changed from afar does not fit this file"
    left_out = f"left out of what was changed from afar: {', '.join(cut.paths)}" if cut.paths else ""
    return whole.loaded, (), left_out


def _asked(socket: Path) -> tuple[Status | None, str, bool]:
    try:
        return read_status(ask(socket, "status", ASK_S)), "", False
    except LookoutError as error:
        return None, error.message, isinstance(error.__cause__, PermissionError)
