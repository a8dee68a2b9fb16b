"""What talking to a broker costs the agent's process: everything from a frame's result to the socket.

A process of its own holds the very parts that the agent has (announcer, publisher, outbox in memory, session), fed with
results at a fixed rate and connected to a real mosquitto; its processor time, less that of the same process at rest, is
the cost. ``python -m tools.bench.talking PORT SECONDS HZ BOXES`` is that process; it prints JSON.
"""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import structlog

from agent.announce import Announcer
from agent.clock import NS_PER_S
from agent.config.schema import Mqtt, Report
from agent.link.client import Session
from agent.link.messages import detections_message
from agent.link.outbox import MemoryOutbox
from agent.link.publisher import Publisher
from agent.link.topics import Topics
from agent.types import CameraName, Detection, Digest, FrameRef, ModelName, ReleaseId, Result, Timings
from tools.bench.quiet import Others

START_S = 10.0


class TalkingReport(msgspec.Struct, frozen=True):
    """Shares are of one core. ``threads``: of each thread by name; the feeding thread is the benchmark's own."""

    hz: float
    seconds: float
    boxes: int
    messages: int
    bytes: int
    share: float
    share_at_rest: float
    threads: dict[str, float]
    others_cores: float = 0.0

    @property
    def cost(self) -> float:
        """What the messages cost, as a share of one core."""
        return self.share - self.share_at_rest


class NoBroker(Exception):
    """mosquitto is not installed, or does not start."""


def talking_case(*, seconds: float, hz: float, boxes: int) -> TalkingReport:
    """Measure, against a mosquitto of its own. Raises :class:`NoBroker`."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise NoBroker("mosquitto is absent: apt-get install mosquitto")
    with tempfile.TemporaryDirectory() as folder, Others() as others:
        port = _free_port()
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        config.chmod(0o644)
        Path(folder).chmod(0o755)
        broker = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            _await_port(port)
            command = [sys.executable, "-m", "tools.bench.talking", str(port), str(seconds), str(hz), str(boxes)]
            done = subprocess.run(command, capture_output=True, check=True)
        finally:
            broker.terminate()
            broker.wait()
    return msgspec.structs.replace(msgspec.json.decode(done.stdout, type=TalkingReport), others_cores=others.cores)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NoBroker(f"mosquitto did not begin to listen within {START_S:g} s")


# --- the process that is measured ------------------------------------------------------------------------------------


def main() -> None:
    """Read the arguments, talk, measure, print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    port, seconds, hz, boxes = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    topics = Topics("lookout", "bench")
    publisher = Publisher(topics, MemoryOutbox())
    connected = threading.Event()
    session = Session(
        Mqtt(host="127.0.0.1", port=port),
        topics,
        publisher,
        listeners=[lambda state: connected.set() if state.state == "connected" else None],
    )
    announcer = Announcer(publisher.publish, Report(detections_hz=1000))
    publisher.start()
    session.start()
    announcer.start(lambda: None)  # type: ignore[arg-type,return-value] # nothing here asks for `info`
    if not connected.wait(START_S):
        raise NoBroker("no connection to mosquitto")
    at_rest = _share(seconds / 2)
    before, began = _clocks(), time.process_time()
    started = time.monotonic()
    result, sent = _result(boxes), 0
    while (left := started + sent / hz - time.monotonic()) > -1 and sent < seconds * hz:
        time.sleep(max(0.0, left))
        for sink in announcer.sinks:
            sink(result)
        sent += 1
    lasted, used = time.monotonic() - started, time.process_time() - began
    after = _clocks()
    size = len(msgspec.json.encode(detections_message(result)))
    session.stop()
    print(
        msgspec.json.encode(
            TalkingReport(
                hz=hz,
                seconds=lasted,
                boxes=boxes,
                messages=sent,
                bytes=sent * size,
                share=used / lasted,
                share_at_rest=at_rest,
                threads={name: round((after[name] - before.get(name, 0.0)) / lasted, 5) for name in after},
            )
        ).decode()
    )


def _share(seconds: float) -> float:
    began, started = time.process_time(), time.monotonic()
    time.sleep(seconds)
    return (time.process_time() - began) / (time.monotonic() - started)


def _clocks() -> dict[str, float]:
    """Return the processor time of each thread, seconds."""
    return {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    }


def _result(boxes: int) -> Result:
    frame = FrameRef(CameraName("front"), 1, 0, 123_456, 123_456, 10 * NS_PER_S, 1_790_000_000_000, 1280, 720)
    found = tuple(
        Detection(number % 80, "person", 0.87, (100.1 + number, 200.2, 300.3 + number, 400.4), number)
        for number in range(boxes)
    )
    release = ReleaseId(ModelName("yolox-nano"), "1.2.0", Digest("a" * 64))
    return Result(frame, release, found, None, Timings(0.1, 0.5, 6.5, 0.1), 21.3)


if __name__ == "__main__":
    main()
