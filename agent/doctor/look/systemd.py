"""The unit of the agent, as systemd tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.doctor.look.programs import ask

UNIT = "lookout.service"
PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "Result", "StatusText", "User", "MainPID",
    "SupplementaryGroups",
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """``manager``: systemd runs this host. ``properties`` None: it does not answer."""

    manager: bool
    properties: Mapping[str, str] | None

    @property
    def installed(self) -> bool:
        """Whether there is such a unit."""
        return self.properties is not None and self.properties.get("LoadState") not in (None, "", "not-found")

    @property
    def pid(self) -> int | None:
        """The agent that it runs."""
        text = (self.properties or {}).get("MainPID", "")
        return int(text) if text.isdecimal() and text != "0" else None

    def get(self, name: str) -> str:
        """Return a property, empty where it is not told."""
        return (self.properties or {}).get(name, "")


def look(host: Path) -> Unit:
    """Ask systemd, where it runs ``host``."""
    if not (host / "run/systemd/system").is_dir():
        return Unit(False, None)
    said = ask("systemctl", "show", UNIT, "--no-pager", *(f"--property={name}" for name in PROPERTIES))
    return Unit(True, None if said is None else read(said))


def read(said: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` lines."""
    pairs = (line.partition("=") for line in said.splitlines())
    return {name: value for name, equals, value in pairs if equals}
