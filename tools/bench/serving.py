"""A whole device at work, looked at for a while: processor time, memory, what became of each camera's frames, ages.

For the cases ``tenfps`` and ``scale``. The device is that of :mod:`tools.bench.whole`, with as many cameras as asked
for (the same film at a fixed rate); what its results' ages are is heard from its own messages.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from typing import Any

import msgspec
import paho.mqtt.client as paho
import psutil
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from agent.process.memory import pss_bytes
from agent.supervise.status import CameraStatus, Status
from agent.types import MB
from tools.bench.whole import DEVICE, PIPELINE, Whole
from tools.demo import device as devices

PROCESSES = {"capture": "agent.capture.main", "worker": "agent.serve.main"}
AGENT = "agent"
LEAST_FRAMES = 5
"""Answered by each camera before anything is measured."""


class Seen(msgspec.Struct, frozen=True):
    """One look. ``cpu``: percent of a core, by process; ``pss``: MB, likewise.

    ``fps``: what was answered, by camera. ``ages_ms``: from capture to result, of every frame.
    """

    seconds: float
    cpu: dict[str, float]
    pss: dict[str, float]
    fps: dict[str, float]
    captured: int
    answered: int
    skipped: int
    lost: int
    ages_ms: tuple[float, ...]

    @property
    def cpu_together(self) -> float:
        """Of all processes."""
        return sum(self.cpu.values())

    @property
    def pss_together(self) -> float:
        """Likewise."""
        return sum(self.pss.values())

    @property
    def fairness(self) -> float:
        """What the camera that got least was answered over what the one that got most was, give or take one frame.

        A look begins and ends somewhere in the cameras' turns.
        """
        answers = [fps * self.seconds for fps in self.fps.values()]
        return min(1.0, (min(answers) + 1) / max(1.0, max(answers)))

    def age_ms(self, percent: int) -> float | None:
        """Return a percentile of the ages; None where too few were heard."""
        if len(self.ages_ms) < LEAST_FRAMES:
            return None
        return statistics.quantiles(self.ages_ms, n=100, method="inclusive")[percent - 1]


def set_cameras(device: Whole, cameras: int, fps: float) -> None:
    """Give the device so many cameras, which all play the same film at ``fps``, as if it had been set up so.

    It must not run. What it remembers of its configuration is removed: an edited file would go on probation, and be
    taken back by the next start because this one ends too soon.
    """
    config = _config(device)
    (source,) = {json.dumps(one["source"]): one["source"] for one in config["cameras"].values()}.values()
    names = [f"camera-{number}" for number in range(cameras)]
    config["cameras"] = {name: {"source": {**source, "fps": fps}} for name in names}
    config["pipelines"][PIPELINE]["cameras"] = names
    device.config.write_text(yaml.safe_dump(config, sort_keys=False))
    for remembered in (device.folder / "state").glob("config.db*"):
        remembered.unlink()


def _config(device: Whole) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(device.config.read_text())
    return config


def look(device: Whole, *, seconds: float) -> Seen:
    """Start the device, let it come to itself, and look for ``seconds``. Raises TimeoutError with its last words."""
    with (
        Ages(_config(device)["mqtt"]["port"]) as ages,
        device.running([*devices.lookout(), "run", "-c", str(device.config)]) as agent,
    ):
        device.wait(agent, lambda status: all(one.answered >= LEAST_FRAMES for one in status.cameras))
        processes = _processes(agent.pid)
        device.wait(agent, lambda status: all(one.fps > 0 for one in status.cameras))
        before, used, began = _status(device, agent), _cpu_s(processes), time.monotonic()
        ages.begin()
        time.sleep(seconds)
        heard = ages.end()
        after, spent, took = _status(device, agent), _cpu_s(processes), time.monotonic() - began
        memory = {name: pss_bytes(process.pid) / MB for name, process in processes.items()}
    early = {camera.name: camera for camera in before.cameras}
    return Seen(
        seconds=took,
        cpu={name: 100 * (spent[name] - used[name]) / took for name in processes},
        pss=memory,
        fps={camera.name: (camera.answered - early[camera.name].answered) / took for camera in after.cameras},
        captured=_more(before, after, "captured"),
        answered=_more(before, after, "answered"),
        skipped=_more(before, after, "skipped"),
        lost=_more(before, after, "lost"),
        ages_ms=heard,
    )


def _more(before: Status, after: Status, what: str) -> int:
    def total(cameras: tuple[CameraStatus, ...]) -> int:
        return sum(int(getattr(camera, what)) for camera in cameras)

    return total(after.cameras) - total(before.cameras)


def _status(device: Whole, agent: Any) -> Status:
    return device.wait(agent, lambda _: True)


def _processes(agent: int) -> dict[str, psutil.Process]:
    found = {AGENT: psutil.Process(agent)}
    for child in found[AGENT].children():
        line = child.cmdline()
        found |= {name: child for name, module in PROCESSES.items() if module in line}
    return found


def _cpu_s(processes: dict[str, psutil.Process]) -> dict[str, float]:
    times = {name: process.cpu_times() for name, process in processes.items()}
    return {name: float(one.user + one.system) for name, one in times.items()}


class Ages:
    """Hears how old each result was when it was made, between :meth:`begin` and :meth:`end`."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._ages: list[float] | None = None
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-ages")
        self._client.on_connect = lambda client, *_: client.subscribe(f"lookout/{DEVICE}/detections/#")
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Ages:
        self._client.loop_start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def begin(self) -> None:
        """Keep what is heard from now on."""
        with self._lock:
            self._ages = []

    def end(self) -> tuple[float, ...]:
        """Return what was heard."""
        with self._lock:
            heard, self._ages = self._ages, None
        return tuple(heard or ())

    def _message(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self._lock:
            if self._ages is not None:
                self._ages.append(float(json.loads(message.payload)["latency_ms"]))
