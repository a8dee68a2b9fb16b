"""A device in memory: answers the operator's commands with the messages a real one would send, or with a twist."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from agent.deploy.machine import State
from agent.deploy.records import Latency, LatencyChange, Receipt, SlotRelease
from agent.link.messages import CommandResult, Deploy, Detections, Failure, Seen
from agent.types import ReleaseId
from tools.demo import releases
from tools.demo.operator import Heard, Tape

REASONS = {
    releases.TAMPERED: "blob 1234: SHA-256 is not the signed one",
    releases.LYING: "golden/frame-006.png: expected face 0.94 at [0, 0, 24, 24]",
    releases.NAN: "output 537: 6336 of 6336 numbers are not finite",
}


@dataclass
class FakeDevice:
    """Stands in for ``Operator``: it has a ``tape`` and takes ``command``. The fields after ``tape`` are the twists."""

    tape: Tape = field(default_factory=Tape)
    lost: int = 0
    skipped: int = 0
    gap_ms: float = 2.0
    accepts_commands: bool = True
    takes_bad_releases: bool = False
    wrong_reason: bool = False
    pause_on_bad_s: float = 0.0
    swallow_at_swap: int = 0
    repeats_a_frame: bool = False
    serving: str | None = None
    frame: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._pause_s = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._stream, name="fake-stream")]

    def __enter__(self) -> FakeDevice:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def command(self, verb: str, args: dict[str, Any]) -> str:
        assert verb == "model/deploy"
        version = args["reference"].partition(":")[2]
        worker = threading.Thread(target=self._deploy, args=("id-" + version, version), name="fake-deploy")
        self._threads.append(worker)
        worker.start()
        return "id-" + version

    def hear(self, topic: str, said: Any) -> None:
        self.tape.add(Heard(time.monotonic(), time.time(), topic, said))

    def _stream(self) -> None:
        while not self._stop.wait(0.005):
            if self._pause_s:
                self._stop.wait(self._pause_s)
                self._pause_s = 0.0
            with self._lock:
                if self.serving:
                    self.hear("detections/car", self.detections(self.frame, self.serving))
                    self.frame += 1

    def detections(self, frame: int, version: str) -> Detections:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03d}Z"
        return Detections(
            camera="car",
            frame=frame,
            index=frame % 120,
            at=at,
            size=(176, 144),
            model=releases.reference(version),
            digest="0" * 64,
            config=None,
            latency_ms=9.5,
            detections=(Seen(None, 0, "face", 0.93, (58.0, 34.0, 107.0, 95.0)),),
        )

    def _deploy(self, command_id: str, version: str) -> None:
        if not self.accepts_commands:
            refusal = Failure("refused", "busy", None)
            self.hear("result/model/deploy", CommandResult(id=command_id, ok=False, error=refusal))
            return
        self.hear("result/model/deploy", CommandResult(id=command_id, ok=True, result={}))
        self.hear("deploy/faces", self._status(State.TRIAL, version))
        if version in REASONS:
            self._pause_s = self.pause_on_bad_s
            self._stop.wait(0.03)
            if not self.takes_bad_releases:
                reason = "out of memory" if self.wrong_reason else REASONS[version]
                self.hear("deploy/faces", self._status(State.FAILED, version, reason))
                return
        self._swap(version)

    def _swap(self, version: str) -> None:
        with self._lock:
            old, self.serving = self.serving, version
            self.frame += self.swallow_at_swap if old else 0
            if self.repeats_a_frame and old:
                self.frame -= 1
        self._stop.wait(0.05)
        self.hear("deploy/faces", self._status(State.COMMITTED, version, receipt=self._receipt(old, version)))

    def _status(self, state: State, version: str, reason: str | None = None, receipt: Receipt | None = None) -> Deploy:
        current = SlotRelease("faces", self.serving, "0" * 64) if self.serving else None
        return Deploy(
            pipeline="faces",
            state=state,
            reference=releases.reference(version),
            reason=reason,
            receipt=receipt,
            current=current,
        )

    def _receipt(self, old: str | None, new: str) -> Receipt:
        latency = LatencyChange(Latency(9.0, 11.0, 60), Latency(6.0, 8.0, 60)) if old else LatencyChange()
        return Receipt(
            ReleaseId("faces", old, "0" * 64) if old else None,
            ReleaseId("faces", new, "1" * 64),
            self.gap_ms if old else None,
            self.lost,
            self.skipped,
            "2026-01-01T00:00:00.000Z",
            latency,
        )
