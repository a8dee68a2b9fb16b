"""A machine of its own for the agent: a real systemd as PID 1, over a throwaway overlay of this host's root.

``systemd-nspawn`` boots it in a private mount namespace, with the host's network, so that a broker and a registry of
the test are reached on loopback. Only the units that a test asks for start. The unit under test is the one that is
shipped; a drop-in changes where the program lies (the checkout's environment) and nothing else. What the machine
writes lies in :attr:`Machine.upper`. Its processes are the host's, too: they are seen and killed from outside.

Needs root, Debian's ``systemd-container`` and a kernel that lets it boot; the test is skipped where it does not, with
the machine's own words.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.integration.processes import look, until

BOOT_S = 40.0
UNIT = "lookout.service"
TARGET = "rig.target"
AROUND = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
HOMES = ("/home/", "/root/", "/run/user/")
TEMPORARY = ("/tmp/", "/var/tmp/")
"""What ``ProtectHome=`` and ``PrivateTmp=`` hide: a checkout or an interpreter there is bound into the unit's view."""

_MOUNT_AND_BOOT = """
set -e
folder=$1; name=$2; shift 2
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
exec systemd-nspawn --directory "$folder/root" --machine "$name" --register=no --keep-unit --quiet "$@"
"""


class Machine:
    """One booted systemd. Write files with :meth:`write` before :meth:`boot`."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may boot a systemd of its own")
        for program in ("systemd-nspawn", "nsenter", "unshare"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is absent: apt-get install systemd-container util-linux")
        self.folder = folder
        self.upper, self.console = folder / "upper", folder / "console.log"
        self.binds: list[str] = []
        """What of the host it sees besides, read-only: a path, or ``path:path in the machine``."""
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.uid = 0

    # --- before it runs ----------------------------------------------------------------------------------------------

    def write(self, path: str, text: str) -> Path:
        """Write a file of the machine's, readable for everybody."""
        there = self.place(path)
        there.write_text(text)
        return there

    def place(self, path: str) -> Path:
        """Return where a file of the machine's lies on the host; its folder is made."""
        there = self.upper / path.lstrip("/")
        for folder in reversed(there.relative_to(self.upper).parents):
            (self.upper / folder).mkdir(mode=0o755, exist_ok=True)
        return there

    def add_user(self, name: str, number: int = 990) -> None:
        """Add a system user with a group of the same name, and the group of accelerators where this host has none."""
        self.uid = number
        groups = Path("/etc/group").read_text() + f"{name}:x:{number}:\n"
        if "\nrender:" not in groups:
            groups += f"render:x:{number - 1}:\n"
        self.write(
            "/etc/passwd", Path("/etc/passwd").read_text() + f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n"
        )
        self.write("/etc/group", groups)

    def install(self, unit: Path, command: str, *, drop_in: str = "") -> None:
        """Install a service that runs ``command`` instead of what it says; it starts with the machine."""
        lines = ["[Service]", "ExecStart=", f"ExecStart={command}"]
        hidden = [path for path in needed() if f"{path}/".startswith((*HOMES, *TEMPORARY))]
        if any(f"{path}/".startswith(HOMES) for path in hidden):
            lines.append("ProtectHome=tmpfs")
        lines += [f"BindReadOnlyPaths={path}" for path in hidden]
        self.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
        self.write(f"/etc/systemd/system/{unit.name}.d/rig.conf", "\n".join(lines) + "\n" + drop_in)
        self.wants(unit.name)

    def wants(self, *units: str) -> None:
        """Say which units start with the machine."""
        lines = ["[Unit]", "Description=What the test asks for", "Requires=sysinit.target"]
        self.write(f"/etc/systemd/system/{TARGET}", "\n".join([*lines, *(f"Wants={unit}" for unit in units)]) + "\n")

    # --- its life ----------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Boot, and return once its systemd answers; skips where it cannot."""
        binds = [f"--bind-ro={path}" for path in (*needed(), *self.binds)]
        alone = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT_AND_BOOT, "sh")
        with self.console.open("wb") as console:
            self._process = subprocess.Popen(
                [*alone, str(self.folder), f"lookout-{os.getpid()}", *binds, "--boot", "--", f"systemd.unit={TARGET}"],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        try:
            until(self._answers, BOOT_S)
        except AssertionError:
            words = self.console.read_text(errors="replace")[-2000:]
            self.power_off()
            pytest.skip(f"systemd-nspawn cannot boot here:\n{words}")

    def power_off(self) -> None:
        """End it as a mains cut would; everything in it is gone afterwards."""
        if self._process is None:
            return
        if self._leader:
            os.kill(self._leader, signal.SIGKILL)  # the kernel ends every process of the namespace with its first
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process, self._leader = None, 0

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it ended"
        self._leader = self._leader or self._find_leader()
        return self._leader != 0 and self.run("systemctl", "show", "--property=Version").returncode == 0

    def _find_leader(self) -> int:
        """The machine's PID 1: the child of nspawn that is an init."""
        assert self._process is not None
        mine = [process for process in look() if process.parent == self._process.pid and process.command]
        return next((one.pid for one in mine if Path(one.command[0]).name in ("systemd", "init")), 0)

    # --- looking at it -----------------------------------------------------------------------------------------------

    def run(self, *command: str, timeout_s: float = 30, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as its root, with nothing of this process's environment."""
        inside, around = self._inside(command), {**AROUND, **env}
        return subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s, check=False, env=around)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the machine, as its root; nobody hears what it says."""
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self._inside(command), text=True, env=AROUND, **silent)

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", "--target", str(self._leader), "--all", *command]

    def show(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def main_pid(self, unit: str = UNIT) -> int:
        """Return the pid, as the host sees it, of a unit's main process; 0 while there is none."""
        inside = self.show("MainPID", unit)
        for process in look():
            if inside != "0" and _namespaced(process.pid) == inside and self.holds(process.pid):
                return process.pid
        return 0

    def holds(self, pid: int) -> bool:
        """Tell whether a process of the host runs in this machine."""
        try:
            return Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{self._leader}/ns/pid").readlink()
        except OSError:
            return False

    def log(self, unit: str = UNIT, lines: int = 40) -> str:
        """Return the last lines that a unit logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}").stdout

    def wait(self, what: Callable[[], Any], timeout_s: float) -> Any:
        """Return what ``what`` gives as soon as it is true; a failure quotes the unit's log."""
        return until(what, timeout_s, lambda: f"not seen\n{self.run('systemctl', 'status', UNIT).stdout}\n{self.log()}")


def needed() -> list[str]:
    """What the unit must be able to read: the checkout, its environment, the interpreter behind it."""
    found: list[str] = []
    for path in (str(ROOT), sys.prefix, sys.base_prefix):
        if path not in ("/", "/usr") and not any(Path(path).is_relative_to(other) for other in found):
            found.append(path)
    return found


def _namespaced(pid: int) -> str:
    """The pid of a process as its own namespace counts; empty where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[-1] for line in lines if line.startswith("NSpid:")), "")
