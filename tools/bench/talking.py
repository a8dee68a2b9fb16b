"""What talking to a broker costs the agent's process: everything from a frame's result to the socket.

A process of its own holds the very parts that the agent has (announcer, publisher, outbox in memory, session), fed with
results at a fixed rate and connected to a real mosquitto; its processor time, less that of the same process at rest, is
the cost. ``python -m tools.bench.talking PORT SECONDS HZ BOXES`` is that process; it prints JSON.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import Annotated

import msgspec
import structlog
import typer

from agent.announce import Announcer
from agent.clock import NS_PER_S
from agent.config.schema import Mqtt, Report
from agent.link.client import Session
from agent.link.messages import detections_message
from agent.link.outbox import MemoryOutbox
from agent.link.publisher import Publisher
from agent.link.topics import Topics
from agent.types import CameraName, Detection, Digest, FrameRef, ModelName, ReleaseId, Result, Timings
from tools.bench.broker import NoBroker, mosquitto
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.quiet import Others

START_S = 10.0
MQTT_WANTED_PERCENT = 3.0
"""Of a core, at 30 messages of detections a second."""


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


def talking_case(*, seconds: float, hz: float, boxes: int) -> TalkingReport:
    """Measure, against a mosquitto of its own. Raises :class:`NoBroker`."""
    with Others() as others, mosquitto() as port:
        command = [sys.executable, "-m", "tools.bench.talking", str(port), str(seconds), str(hz), str(boxes)]
        done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.structs.replace(msgspec.json.decode(done.stdout, type=TalkingReport), others_cores=others.cores)


class Settings(msgspec.Struct, frozen=True):
    """How long, how often and how much."""

    seconds: Annotated[float, typer.Option(min=1, help="time to talk")] = 10.0
    hz: Annotated[float, typer.Option(min=0.1, help="messages of detections a second")] = 30.0
    boxes: Annotated[int, typer.Option(min=0, help="detections in each")] = 10


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure. Raises :class:`~tools.bench.broker.NoBroker`."""
    bench.progress(f"{settings.hz:g} messages a second for {settings.seconds:g} s")
    report = talking_case(seconds=settings.seconds, hz=settings.hz, boxes=settings.boxes)
    size = report.bytes / report.messages
    threads = (Figure(f"of it {name}", 100 * share, "%") for name, share in report.threads.items() if share > 0)
    return Outcome(
        figures=(
            Figure(
                f"of a core, for {report.messages / report.seconds:.0f} messages of {size:.0f} bytes a second",
                100 * report.cost,
                "%",
                wanted=Wanted(MQTT_WANTED_PERCENT, "at_most"),
            ),
            *threads,
        ),
        report=report,
        others_cores=report.others_cores,
    )


CASE = Case(
    name="mqtt",
    title="Talking to a broker",
    help="Measure what talking to a broker costs the agent's process, from the result of a frame to the socket.",
    settings=Settings(),
    quick=Settings(seconds=2.0),
    run=run,
)


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
