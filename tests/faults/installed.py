"""A device that ``install.sh`` has installed, from a folder of wheels and without a network, on a machine of its own.

Two fixtures, to be imported where they are used: ``folders`` (of wheels: a good release of ours, and broken ones) and
``installed`` (the machine, at work, and a person who looks on).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.device import CALM, CAMERA, PIPELINE, pictures
from tests.systemd.wheels import Change, folder_of_wheels, remade, wheel_in

from .campaign import now
from .conftest import RING
from .nspawn import Machine
from .onlooker import Onlooker

DEVICE = "installed"
OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "https_proxy": "http://127.0.0.1:9"}
SCRIPT = "/srv/lookout/install.sh"


@dataclass
class Installed:
    """The machine, who looks on, and the folders of wheels by name; what the first installation said and took."""

    machine: Machine
    person: Onlooker
    folders: dict[str, Path]
    said: str = ""
    took_s: float = 0.0

    def install(self, *arguments: str, code: int = 0) -> str:
        """Run install.sh in the machine and return all that it said."""
        done = self.machine.run("bash", SCRIPT, *arguments, timeout_s=240, **OFFLINE)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"exit {done.returncode}\n{said}\n{self.machine.log()}"
        return said

    def upgrade(self, folder: str, *arguments: str, code: int = 0) -> str:
        return self.install(*self.wheels(folder), *arguments, code=code)

    def wheels(self, folder: str) -> tuple[str, str]:
        """The arguments that install from one of the folders."""
        return ("--wheels", str(self.folders[folder]))

    @property
    def current(self) -> str:
        return self.machine.run("readlink", "-f", "/opt/lookout/current").stdout.strip()

    @property
    def version(self) -> str:
        return self.machine.run("/opt/lookout/bin/lookout", "version").stdout.split()[1]

    def boots(self) -> int:
        """How many starts the device's state remembers."""
        query = "SELECT value FROM meta WHERE key = 'boot_counter'"
        program = (
            f"import sqlite3; print(sqlite3.connect('/var/lib/lookout/journal.db').execute({query!r}).fetchone()[0])"
        )
        return int(self.machine.run("python3", "-c", program).stdout)

    def runtimes(self) -> list[str]:
        """The builds of ONNX Runtime in the version that runs."""
        program = "/opt/lookout/current/share/lookout/systemd/environment.py"
        listed = self.machine.run("/opt/lookout/current/bin/python", "-B", program, "runtime")
        return [line.split()[0] for line in listed.stdout.splitlines()]

    def sees(self) -> None:
        assert self.person.first_taken_after(now(), 30) is not None, self.machine.log()

    def tree(self) -> str:
        """Every file that is the installation's, with size, mode, owner, time and what it points to."""
        places = (
            "/opt/lookout",
            "/etc/lookout",
            "/etc/systemd/system",
            "/etc/sysusers.d",
            "/etc/tmpfiles.d",
            "/usr/local/bin",
        )
        show = ("(", "-type", "d", "-printf", "%p %m %u\\n", ")", "-o", "-printf", "%p %s %m %u %T@ %l\\n")
        return "\n".join(sorted(self.machine.run("find", *places, *show, timeout_s=60).stdout.splitlines()))


def _release(folder: Path, good: Path, version: str, **changes: Change) -> Path:
    """Make a folder of every wheel of ``good``, and ours in another version; ``changes`` of code by module."""
    folder.mkdir()
    for wheel in good.iterdir():
        if not wheel.name.startswith("lookout_agent-"):
            (folder / wheel.name).hardlink_to(wheel)
    edits = {f"agent/{module.replace('__', '/')}.py": change for module, change in changes.items()}
    remade(wheel_in(good, "lookout_agent"), folder, version=version, changes=edits)
    return folder


def _before(function: str, statement: str) -> Change:
    """Put a statement before a function of a module: it runs when the module is loaded."""
    begin = f"\ndef {function}("

    def changed(text: str) -> str:
        assert begin in text
        return text.replace(begin, f"\n{statement}\n\n{begin}", 1)

    return changed


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that hold every wheel, by what becomes of the release of ours in them."""
    base = tmp_path_factory.mktemp("wheels")
    (base / "good").mkdir()
    good = folder_of_wheels(base / "good")
    made = {
        "good": good,
        "exits": _release(base / "exits", good, "0.9.1", app=_before("run", "raise SystemExit(1)")),
        "hangs": _release(base / "hangs", good, "0.9.2", app=_before("run", "__import__('time').sleep(3600)")),
        # Its workers end at once, and it has brought the journal to a schema that no other version knows.
        "blind": _release(
            base / "blind",
            good,
            "0.9.3",
            serve__main=_before("main", "raise SystemExit(1)"),
            deploy__tables=lambda text: f"{text}\nMIGRATIONS = (*MIGRATIONS, ('CREATE TABLE newer (x)',))\n",
        ),
        "better": _release(base / "better", good, "0.9.4"),
        "gpu": _release(base / "gpu", good, "0.9.5"),
        "lacking": _release(base / "lacking", good, "0.9.6"),
    }
    wheel_in(made["lacking"], "paho_mqtt").unlink()
    runtime = wheel_in(good, "onnxruntime")
    remade(runtime, made["gpu"], version=runtime.stem.split("-")[1], name="onnxruntime_gpu")
    return made


@pytest.fixture(scope="module")
def installed(folders, shop, registry, broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The machine, with the good version installed and at work."""
    folder = tmp_path_factory.mktemp("m")
    machine = Machine(folder / "machine")
    machine.binds = [str(folder) for folder in folders.values()]
    for file in (ROOT / "systemd").iterdir():
        machine.place(f"/srv/lookout/{file.name}").write_bytes(file.read_bytes())
    config = {
        "schema": 1,
        "device": {"id": DEVICE},
        "mqtt": {
            "host": broker.host,
            "port": broker.port,
            "username": "gate",
            "password_file": "/run/credentials/lookout.service/mqtt-password",
        },
        "cameras": {CAMERA: {"source": {"kind": "images", "path": "/srv/pictures", "loop": True, "fps": 20}}},
        "pipelines": {PIPELINE: {"cameras": [CAMERA], "model": RING[0]}},
        "registry": {"url": registry.url, "trust_clock": True, "poll_s": 0},
        "deploy": CALM,
        "report": {"detections_hz": 1000},
    }
    machine.write("/srv/agent.yaml", json.dumps(config))
    machine.write("/srv/password", "secret\n")
    machine.place("/srv/root.json").write_bytes(shop.made.root.read_bytes())
    pictures(machine.place("/srv/pictures"))
    machine.wants()
    made = Installed(machine, Onlooker(broker.port, DEVICE), folders)
    try:
        machine.boot()
        began_s = time.monotonic()
        made.said = made.upgrade(
            "good",
            *("--config", "/srv/agent.yaml", "--root", "/srv/root.json"),
            *("--credential", "mqtt-password=/srv/password"),
        )
        made.took_s = time.monotonic() - began_s
        yield made
    finally:
        made.person.close()
        machine.power_off()
