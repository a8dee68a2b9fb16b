"""A whole device for benchmarks: the real ``lookout run``, a signed registry, a mosquitto, one VGA camera, YOLOX-Nano.

The first start deploys and commits the model; every later one finds it in the store and its optimised form in the
cache, as a device does that was switched off over night. Use :class:`Whole` as a context manager.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.clock import monotonic_ns
from agent.errors import LookoutError
from agent.supervise.local import ask
from agent.supervise.status import Status, read_status
from tools.bench.broker import mosquitto
from tools.bench.deployed import FIRST, manifest
from tools.bench.models import YOLOX_NANO
from tools.demo import device as devices
from tools.registry.init import init_registry
from tools.registry.keys import Keys
from tools.registry.publish import publish

VIDEO = "data/video/plaza.avi"
DEVICE, CAMERA, PIPELINE = "bench", "yard", "watch"
WIDTH, HEIGHT, FPS, FRAMES = 640, 480, 25.0, 50
START_S, STOP_S, LOOK_S = 90.0, 30.0, 0.2


class Whole:
    """The device; ``patience``: how many times longer than elsewhere everything may take here."""

    def __init__(self, shared: Path, *, patience: float = 1.0) -> None:
        self._shared = shared
        self._patience = patience
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Whole:
        with contextlib.ExitStack() as undo:
            self.folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="lookout-bench-")))
            port = undo.enter_context(mosquitto())
            self.ear = undo.enter_context(Ear(port))
            write_vga(self._shared / VIDEO, self.folder / "vga.avi")
            self.config = devices.write_config(self.folder, _config(self.folder, port))
            devices.provision(self.config, self._publish(), patience=self._patience)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def commit(self) -> None:
        """Run once until the model is committed, and end in order."""
        with self.running([*devices.lookout(), "run", "-c", str(self.config)]) as agent:
            self.wait(agent, lambda status: status.pipelines[0].deployment == "committed")

    @contextlib.contextmanager
    def running(self, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run the agent for the length of the block; gives its process. Raises :class:`TimeoutError` at the end."""
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S * self._patience)
            finally:
                process.kill()
                process.wait()

    def wait(self, agent: subprocess.Popen[bytes], what: Callable[[Status], bool]) -> Status:
        """Return the first status that ``what`` is true of. Raises :class:`TimeoutError` with its last words."""
        deadline = time.monotonic() + START_S * self._patience
        while agent.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(LookoutError, OSError):
                status = read_status(ask(self.folder / "run/agent.sock", "status"))
                if what(status):
                    return status
            time.sleep(LOOK_S)
        raise TimeoutError(f"the agent does not do what was waited for; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the agent's log."""
        lines = (self.folder / "agent.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def _publish(self) -> Path:
        """Publish the model in a signed registry of the device's own and return the registry's root."""
        draft = self.folder / "draft"
        draft.mkdir()
        data = (self._shared / "models" / YOLOX_NANO.file).read_bytes()
        (draft / "model.onnx").write_bytes(data)
        (draft / "manifest.json").write_text(json.dumps(manifest(YOLOX_NANO, FIRST, data)), encoding="utf-8")
        keys = Keys(self.folder / "keys", lambda _: None)
        made = init_registry(self.folder / "registry", keys)
        publish(made.registry, keys, draft / "manifest.json", golden=False)
        return made.root


class Ear:
    """Hears the device's detections; ``first_ns`` is when the first one since :meth:`forget` came."""

    def __init__(self, port: int) -> None:
        self.first_ns = 0
        self.heard = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-ear")
        self._client.on_connect = lambda client, *_: client.subscribe(f"lookout/{DEVICE}/detections/#")
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Ear:
        self._client.loop_start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def forget(self) -> None:
        """Wait for a first one anew."""
        self.heard.clear()

    def _message(self, *_: object) -> None:
        if not self.heard.is_set():
            self.first_ns = monotonic_ns()
            self.heard.set()


def write_vga(source: Path, target: Path) -> None:
    """Write two seconds of a video at 640x480."""
    video = cv2.VideoCapture(str(source))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    for _ in range(FRAMES):
        writer.write(cv2.resize(video.read()[1], (WIDTH, HEIGHT)))
    writer.release()
    video.release()


def _config(folder: Path, port: int) -> dict[str, Any]:
    video = {"kind": "file", "path": str(folder / "vga.avi"), "pace": "realtime", "loop": True}
    return {
        "schema": 1,
        "device": {"id": DEVICE},
        "paths": {"state": str(folder / "state"), "runtime": str(folder / "run")},
        "cameras": {CAMERA: {"source": video}},
        "pipelines": {PIPELINE: {"cameras": [CAMERA], "model": FIRST}},
        "inference": {"threads": 1},
        "registry": {"url": (folder / "registry").as_uri(), "trust_clock": True, "poll_s": 0},
        "mqtt": {"host": "127.0.0.1", "port": port},
        "report": {"detections_hz": 1000.0, "all": True},
        "deploy": {"safe_mode_after": 0, "probation": {"frames": 10, "seconds": 0.5}},
    }
