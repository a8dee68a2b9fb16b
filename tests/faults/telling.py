"""Half a device as a process of its own: publisher, outbox and session as the agent has them, fed with events.

``python telling.py FOLDER PORT RATE TOTAL``. It numbers what it tells (``track.id`` is the number, over all its lives)
and keeps a ledger, ``FOLDER/ledger``, that survives its death, a line each: ``told N`` before number N is published,
``put N …`` once the outbox has it, ``done N`` once the broker has acknowledged it. Killed and started again it goes on
behind the last number that it told. It ends when all that it told is acknowledged.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.clock import monotonic_ns, utc_ms
from agent.config.schema import Mqtt
from agent.link.backoff import Backoff
from agent.link.client import Session
from agent.link.durable import DurableOutbox, OutboxLimits
from agent.link.messages import encode, event_message, success
from agent.link.publisher import Publisher
from agent.link.starts import claim_start
from agent.link.topics import Topics
from agent.link.wire import Letter
from agent.logs.setup import configure
from agent.types import CameraName, Digest, Event, ModelName, Outgoing, ReleaseId, Track

CAMERAS = ("gate", "hall", "yard")
RELEASE = ReleaseId(ModelName("tiny"), "1.0.0", Digest("0" * 64))
RESULT_EVERY = 50
"""One in so many is the result of a command."""

DRAIN_PER_S = 400.0


class Ledger:
    """An append-only file; each line is whole, whatever kills the process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, word: str, *numbers: int) -> None:
        os.write(self._fd, f"{word} {' '.join(map(str, numbers))}\n".encode())


class NotedOutbox(DurableOutbox):
    """The agent's outbox, which also notes what it has and what is acknowledged."""

    def __init__(self, folder: Path, topics: Topics, ledger: Ledger) -> None:
        super().__init__(folder / "outbox.db", topics, OutboxLimits(drain_per_s=DRAIN_PER_S))
        self._ledger = ledger
        self._numbers: dict[int, int] = {}

    def put_all(self, letters: Iterable[Letter], now_ns: int) -> None:
        letters = tuple(letters)
        super().put_all(letters, now_ns)
        self._ledger.write("put", *(number_of(letter.payload) for letter in letters))

    def next(self, now_ns: int, *, window_open: bool) -> Letter | None:
        letter = super().next(now_ns, window_open=window_open)
        if letter is not None and letter.durable:
            self._numbers[letter.id] = number_of(letter.payload)
        return letter

    def done(self, letter_id: int) -> None:
        if letter_id in self._numbers:
            self._ledger.write("done", self._numbers.pop(letter_id))
        super().done(letter_id)


def number_of(payload: bytes) -> int:
    """The number that a message is told under."""
    message = msgspec.json.decode(payload)
    return int(message["result"]["what"]) if "result" in message else int(message["track"]["id"])


def outgoing(number: int, event_id: str) -> Outgoing:
    """Message ``number``."""
    if number % RESULT_EVERY == 0:
        answer = encode(success(f"c{number}", {"what": number}))
        return Outgoing("result/model/list", answer, qos=1, stream="results", priority=100, durable=True)
    camera = CameraName(CAMERAS[number % len(CAMERAS)])
    now_ns, now_ms = monotonic_ns(), utc_ms()
    track = Track(number, "person", 0.9, 0.95, (1.0, 2.0, 30.0, 40.0), now_ns, now_ns, now_ms, now_ms)
    event = Event(event_id, "new", now_ms, camera, RELEASE, track)
    topic = f"events/{camera}"
    return Outgoing(topic, event_message(event), qos=1, stream=topic, priority=5, durable=True)


def last_told(path: Path) -> int:
    """The highest number told so far; a line that a kill cut off is none."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return max((int(line.split()[1]) for line in lines if line.startswith(b"told")), default=0)


def main(folder: Path, port: int, rate: float, total: int) -> None:
    configure(environ=os.environ)
    first = last_told(folder / "ledger") + 1
    ledger = Ledger(folder / "ledger")
    topics = Topics("lookout", "cam1")
    outbox = NotedOutbox(folder, topics, ledger)
    start = claim_start([outbox.database], at_least=0, utc_ms=utc_ms())
    publisher = Publisher(topics, outbox)
    session = Session(
        Mqtt.model_validate({"host": "127.0.0.1", "port": port, "keepalive_s": 5}),
        topics,
        publisher,
        backoff=Backoff(base_s=0.2, cap_s=0.5),
    )
    for part in (outbox, session, publisher):
        part.start()
    begun = time.monotonic()
    for sequence, number in enumerate(range(first, total + 1), 1):
        ledger.write("told", number)
        publisher.publish(outgoing(number, f"{start}-{sequence}"))
        time.sleep(max(0.0, begun + sequence / rate - time.monotonic()))
    while not publisher.idle():
        time.sleep(0.05)
    publisher.stop()
    session.stop()
    outbox.stop()
    outbox.close()
    written = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    print("figures", written["write_bytes"], outbox.statistics().flushes, time.process_time(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
