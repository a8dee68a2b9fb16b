"""A device of the tests: a folder, a configuration, and the installed ``lookout run`` as a real process.

It runs in an environment of its own (an empty home, its own folder for temporary files) and says when it is ready the
way it would tell systemd. Whoever ends it, by whatever signal, goes through :meth:`Device.gone`, which looks that
nothing was left behind; :meth:`Device.close` looks besides that nothing was written to the home folder and that
nothing ended in a traceback or was late for the watchdog.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.errors import LookoutError
from agent.registry.provision import provision
from agent.supervise.local import ask
from agent.supervise.status import Status, read_status
from tests.patience import patient

from .processes import CAPTURE, WORKER, children, family, kill, running, until

LOOKOUT = Path(sys.executable).with_name("lookout")
PIPELINE, CAMERA = "watch", "yard"
START_S = STOP_S = patient(30.0)
FPS = 10
"""Of a device's camera: each frame costs its processes some 3 ms, and few tests are about speed."""

LOOK_S = 0.1
"""Between two looks at the status: each costs the agent some 10 ms, for it measures all its processes."""

STARTED = b"waiting for the first answered frame"
"""What systemd is told once every part runs; a test may want a device that sees nothing, which is ready much later."""

CALM = {
    "probation": {
        "frames": 5,
        "seconds": 0.2,
        "slow_ratio": 100,  # the machine of the tests is busy: no test here judges speed
        "slow_extra_ms": 60_000,
        "rate_baseline_frames": 1_000_000,
    }
}


def pictures(folder: Path, *, cells: int = 1, count: int = 3) -> Path:
    """Write a few pictures of 64 by 64, each with ``cells`` red cells of 8 by 8, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        frame = np.zeros((64, 64, 3), np.uint8)
        for cell in range(cells):
            row, column = divmod(cell, 8)
            frame[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, 2] = 255
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


class Device:
    """One device. ``config`` may be changed while it does not run."""

    def __init__(self, folder: Path, name: str, *, spied: bool = False) -> None:
        self.folder, self.name = folder, name
        self.home, self.temporary = folder / "home", folder / "tmp"
        for made in (folder, self.home, self.temporary):
            made.mkdir(parents=True, exist_ok=True)
        self.state, self.file, self.log = folder / "state", folder / "agent.yaml", folder / "agent.log"
        self.log.touch()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
        }
        if spied:
            self.env["PYTHONPATH"] = str(Path(__file__).parent / "spy")
        self.config: dict[str, Any] = {
            "schema": 1,
            "device": {"id": name},
            "paths": {"state": "state", "runtime": "run"},
            "cameras": {CAMERA: {"source": {"kind": "images", "path": "pictures", "loop": True, "fps": FPS}}},
            "pipelines": {PIPELINE: {"cameras": [CAMERA]}},
            "registry": {"trust_clock": True, "poll_s": 0},  # nothing keeps a build machine's clock right
            "deploy": CALM,
            "inference": {"tune": False},  # it takes seconds of each first deployment; tests of it switch it on
            "report": {"detections_hz": 1000, "telemetry_s": 1.0},
        }
        self.prefix: list[str] = []
        """A command that ends in starting the one it is given, in its own place."""
        self.process: subprocess.Popen[bytes] | None = None
        self._was_killed = False
        self._shm = set(Path("/dev/shm").iterdir())

    # --- running it --------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def write(self) -> None:
        """Write the configuration; JSON is YAML."""
        pictures(self.folder / "pictures")
        self.file.write_text(json.dumps(self.config, indent=1))

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run another ``lookout`` command as this device's user would."""
        return subprocess.run(
            [str(LOOKOUT), *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )

    def trust(self, root: Path) -> None:
        """Do what ``lookout provision`` does, without a process of its own."""
        provision(root, self.state)

    def provision(self, root: Path) -> None:
        """Run ``lookout provision``."""
        self.write()
        done = self.run("provision", "--root", str(root), "-c", str(self.file))
        assert done.returncode == 0, done.stderr

    def resume_from(self, state: Path) -> None:
        """Take over a copy of another device's state."""
        shutil.copytree(state, self.state)

    def start(self, *, wait: bool = True, **env: str) -> None:
        """Start the agent and return once every part of it runs; at once, unless ``wait``."""
        assert self.process is None
        self.write()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            address = f"\0lookout-test-{os.getpid()}-{self.name}"
            ready.bind(address)
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [*self.prefix, str(LOOKOUT), "run", "-c", str(self.file)],
                    cwd=self.folder,
                    env={**self.env, **env, "NOTIFY_SOCKET": "@" + address[1:]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if wait:
                self._await_ready(ready)

    def _await_ready(self, ready: socket.socket) -> None:
        pidfd = os.pidfd_open(self.pid)
        try:
            while True:
                found, _, _ = select.select([ready, pidfd], [], [], START_S)
                if ready not in found:
                    kill([process.pid for process in family(self.pid)])
                    self.process = None
                    raise AssertionError(f"{self.name} is not ready:\n{self.last_words()}")
                if STARTED in ready.recv(4096):
                    return
        finally:
            os.close(pidfd)

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code."""
        assert self.process is not None
        members = family(self.pid)
        self.process.terminate()
        return self.gone({process.pid for process in members})

    def kill(self) -> None:
        """SIGKILL the agent alone."""
        members = {process.pid for process in family(self.pid)}
        self._was_killed = True
        kill([self.pid])
        self.gone(members)

    def kill_all(self, at_once: Callable[[], object] = lambda: None) -> None:
        """SIGKILL every process of the device at once; ``at_once`` is called before any of them is waited for."""
        members = {process.pid for process in family(self.pid)}
        self._was_killed = True
        kill(members)
        at_once()
        self.gone(members)

    def gone(self, members: set[int]) -> int:
        """Wait for the end and look that nothing is left behind; return the exit code."""
        assert self.process is not None
        code = self.process.wait(STOP_S)
        pid, self.process = self.process.pid, None

        def left() -> list[Any]:
            return [process for process in family(pid) if process.pid != pid]

        until(lambda: not left(), 5, lambda: f"{self.name} left behind {left()}")
        until(lambda: not running(members), 5, lambda: f"{self.name} left behind {running(members)}")
        assert set(Path("/dev/shm").iterdir()) - self._shm == set()
        return code

    def close(self) -> None:
        """End it if it runs, and look that all is tidy."""
        if self.process is not None:
            kill([process.pid for process in family(self.pid)], signal.SIGCONT)  # a test may have stopped some
            assert self.stop() == 0, self.last_words()
        self.look_tidy()

    def look_tidy(self) -> None:
        written = [str(path.relative_to(self.home)) for path in self.home.rglob("*")]
        assert written == [], f"{self.name} wrote into its home folder: {written}"
        left = [path.name for path in self.temporary.iterdir() if not path.name.startswith("spy-")]
        assert left == [] or self._was_killed, f"{self.name} left temporary files: {left}"
        log = self.log.read_text()
        assert "Traceback" not in log, self.last_words()
        assert "watchdog.late" not in log, self.last_words()

    def last_words(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # --- looking at it -----------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    def status(self) -> Status:
        """What ``lookout status`` is told."""
        return read_status(ask(self.socket, "status", patient(15)))

    def wait_status(self, what: Callable[[Status], Any], timeout_s: float = 20) -> Status:
        """Return the first status that ``what`` is true of."""
        seen: list[Status] = []

        def fits() -> Status | None:
            with contextlib.suppress(LookoutError):
                seen.append(self.status())
                return seen[-1] if what(seen[-1]) else None
            return None

        found = until(
            fits, timeout_s, lambda: f"not seen; the last was {seen[-1:]}\n{self.last_words()}", pause_s=LOOK_S
        )
        assert isinstance(found, Status)
        return found

    def wait_serving(self, reference: str, timeout_s: float = 20) -> Status:
        """Return once this release answers frames: ``answered`` grew while it served."""
        before = self.wait_status(lambda seen: serves(seen, reference), timeout_s)
        answered = before.cameras[0].answered
        return self.wait_status(lambda s: serves(s, reference) and s.cameras[0].answered > answered + 2, timeout_s)

    @property
    def worker(self) -> int:
        """The pid of the newest worker."""
        return children(self.pid, WORKER)[-1]

    @property
    def capture(self) -> int:
        return children(self.pid, CAPTURE)[-1]


def serves(status: Status, reference: str) -> bool:
    """Whether the first pipeline is served by this release."""
    pipeline = status.pipelines[0]
    return f"{pipeline.model}:{pipeline.version}" == reference


def merged(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over a configuration, maps by key."""
    found = dict(config)
    for key, value in changes.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return found
