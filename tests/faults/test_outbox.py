"""Nothing that was told is lost: thousands of events through outages, kills and a broker that forgot everything.

The device is half of one (:mod:`tests.faults.telling`), as a process of its own; the broker is a real mosquitto that is
stopped, killed and wiped; the subscriber stays, with a session of its own. What the broker had acknowledged when it was
killed is the broker's to lose, and is looked at apart.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.clock import monotonic_ns
from agent.link.durable import DurableOutbox, OutboxLimits
from agent.link.topics import Topics
from agent.link.wire import Letter
from tests.conftest import ROOT, Broker, free_port, start_mosquitto
from tests.integration.processes import until

from . import telling
from .disk import Disk, FragileDisk

WINDOW = 20
"""Letters that may be unacknowledged at a time."""


class Subscriber:
    """Somebody who listens all the time and keeps a session at the broker; numbers and ids, in the order they came."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, int, str, bytes]] = []
        self.subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="subscriber", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_connect = lambda client, *_: client.subscribe("lookout/#", 1)
        self._client.on_disconnect = lambda *_: self.subscribed.clear()
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, 30, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self.subscribed.wait(10)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if "/events/" in message.topic or "/result/" in message.topic:
            said = json.loads(message.payload)
            number = telling.number_of(message.payload)
            stream = "results" if "result" in said else message.topic
            self.seen.append((stream, number, said["id"], bytes(message.payload)))

    def numbers(self) -> set[int]:
        return {number for _, number, _, _ in self.seen[:]}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Teller:
    """The device's process, killed and started as one likes."""

    def __init__(self, folder: Path, port: int, *, rate: float, total: int) -> None:
        self.folder = folder
        self._arguments = [str(folder), str(port), str(rate), str(total)]
        self.process = self._start()
        self.kills = 0

    def _start(self) -> subprocess.Popen[str]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, telling.__file__, *self._arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def told(self) -> int:
        return telling.last_told(self.folder / "ledger")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.kills += 1
        self.process = self._start()

    def end(self, timeout_s: float) -> list[str]:
        """Wait until it has told all and all is acknowledged; return what it said of itself."""
        out, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, (self.folder / "log").read_text()[-3000:]
        return out.split()

    def ledger(self) -> dict[str, set[int]]:
        """What was told, put and acknowledged."""
        found: dict[str, set[int]] = {"told": set(), "put": set(), "done": set()}
        for line in (self.folder / "ledger").read_text().split("\n")[:-1]:
            word, *numbers = line.split()
            found[word].update(map(int, numbers))
        return found


class World:
    """Broker, subscriber and device, and what may happen to them."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "broker"
        self.store.mkdir()
        self.broker: Broker = start_mosquitto(
            folder,
            f"allow_anonymous true\npersistence true\npersistence_location {self.store}/\nautosave_interval 1\n"
            "max_queued_messages 100000\nmax_inflight_messages 0",
        )
        self.subscriber = Subscriber(self.broker.port)
        self.outages = 0
        self._folder = folder / "device"
        self._folder.mkdir()

    def tell(self, *, rate: float, total: int) -> Teller:
        self.device = Teller(self._folder, self.broker.port, rate=rate, total=total)
        return self.device

    def at(self, number: int) -> None:
        """Return once the device has told this number."""
        deadline = time.monotonic() + 120
        while self.device.told() < number:
            assert self.device.process.poll() is None, (self._folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stopped(self, seconds: float) -> None:
        """The broker stands still and goes on."""
        self.outages += 1
        self.broker.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.broker.process.send_signal(signal.SIGCONT)

    def away(self, seconds: float, *, wiped: bool = False, meanwhile: Callable[[], None] = lambda: None) -> None:
        """The broker is killed and comes back; the subscriber is there before the device.

        It is killed while it owes the subscriber little: what it acknowledged and had not passed on dies with it.
        """
        self.outages += 1
        until(lambda: len(self.device.ledger()["done"] - self.subscriber.numbers()) <= WINDOW, 60, lambda: "it is slow")
        self.broker.kill()
        time.sleep(seconds / 2)
        meanwhile()
        time.sleep(seconds / 2)
        if wiped:
            shutil.rmtree(self.store)
            self.store.mkdir()
        self.device.process.send_signal(signal.SIGSTOP)
        self.subscriber.subscribed.clear()
        self.broker.restart()
        assert self.subscriber.subscribed.wait(20)
        self.device.process.send_signal(signal.SIGCONT)

    def judge(self, total: int) -> str:
        """Look that all is there, in order, and each duplicate known by its id; return the figures."""
        ledger, seen = self.device.ledger(), self.subscriber.seen
        assert ledger["told"] == set(range(1, total + 1))
        unput = ledger["told"] - ledger["put"]
        assert len(unput) <= 50 * self.device.kills, "only what was on its way to the outbox may die with the agent"
        numbers = self.subscriber.numbers()
        missing = ledger["put"] - numbers
        assert missing - ledger["done"] == set(), "not acknowledged, and lost"
        assert len(missing) <= WINDOW * self.outages, "the broker lost more than it had under way"

        bodies: dict[str, set[bytes]] = {}
        ids: dict[int, set[str]] = {}
        firsts: dict[str, list[int]] = {}
        times: Counter[int] = Counter()
        for stream, number, identity, body in seen:
            bodies.setdefault(identity, set()).add(body)
            ids.setdefault(number, set()).add(identity)
            if not times[number]:
                firsts.setdefault(stream, []).append(number)
            times[number] += 1
        assert all(len(found) == 1 for found in ids.values()), "a message came with two ids"
        assert all(len(found) == 1 for found in bodies.values()), "an id was used twice"
        for stream, found in firsts.items():
            assert found == sorted(found), f"{stream} came out of order"
        again = sum(times.values()) - len(times)
        most = WINDOW * (self.outages + self.device.kills) * 2 + round(2 * telling.DRAIN_PER_S) * self.device.kills
        assert again <= most, "too many came twice"
        return (
            f"{len(ledger['put'])} put, {len(unput)} died on their way, {len(numbers)} arrived, {again} came again, "
            f"{len(missing)} acknowledged and lost by the broker"
        )

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self.device.process.kill()
            self.device.process.communicate()
        self.subscriber.close()
        self.broker.process.send_signal(signal.SIGCONT)
        self.broker.kill()


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.mark.faults
def test_events_survive_an_outage_and_a_kill_in_it(troubled: World) -> None:
    """A sample of the long one below."""
    device = troubled.tell(rate=150, total=1200)
    troubled.at(200)
    troubled.away(2, meanwhile=device.kill)
    troubled.at(900)
    troubled.stopped(1)
    device.end(60)
    print(troubled.judge(1200))


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_ten_thousand_events_survive_five_outages_three_kills_and_a_wiped_broker(troubled: World) -> None:
    device = troubled.tell(rate=120, total=10_000)
    troubled.at(800)
    troubled.away(5)
    troubled.at(2000)
    troubled.stopped(12)  # longer than the connection lives
    troubled.at(3500)
    device.kill()
    troubled.at(4500)
    troubled.away(6, meanwhile=device.kill)
    troubled.at(6000)
    troubled.stopped(2)  # shorter
    troubled.at(7000)
    troubled.away(6, wiped=True)
    troubled.at(8500)
    troubled.away(4, wiped=False, meanwhile=device.kill)
    figures = device.end(200)
    print(troubled.judge(10_000), *figures)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_power_cut_takes_what_is_younger_than_the_flush_and_nothing_else(
    fragile: FragileDisk, tmp_path: Path, seed: int
) -> None:
    ledger, state = tmp_path / "ledger", fragile.folder / "state"
    state.mkdir()
    (state / "ledger").symlink_to(ledger)
    device = Teller(state, free_port(), rate=100, total=10_000)  # nobody is there to acknowledge anything
    until(lambda: device.told() >= 300, 60)
    old = device.ledger()["put"]
    time.sleep(4)  # flush_ms is 1000: generous, for a busy machine
    device.process.kill()
    fragile.cut(seed)
    device.process.communicate()
    fragile.power_off()
    fragile.check()
    fragile.power_on()
    outbox = DurableOutbox(state / "outbox.db", Topics("lookout", "cam1"), OutboxLimits(drain_per_s=1e9))
    outbox.connected(monotonic_ns())
    found: list[int] = []
    while outbox.statistics().waiting:
        letter = outbox.next(monotonic_ns(), window_open=True)
        if letter is None:
            outbox.turn()
            continue
        found.append(telling.number_of(letter.payload))
        outbox.done(letter.id)
    assert outbox.statistics().problem is None
    outbox.close()
    assert old <= set(found)
    assert len(found) == len(set(found))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """A small disk that can be filled."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    made = Disk(tmp_path / "disk")
    made.mount()
    yield made
    made.unmount()


def test_a_full_disk_costs_no_event_also_not_one_of_the_start_before(small: Disk) -> None:
    ids = itertools.count(1)

    def opened() -> DurableOutbox:
        outbox = DurableOutbox(small.folder / "outbox.db", Topics("lookout", "cam1"), OutboxLimits(drain_per_s=10_000))
        outbox.start()
        outbox.connected(monotonic_ns())
        return outbox

    def put(outbox: DurableOutbox, count: int) -> list[int]:
        letters = [
            Letter(next(ids), "lookout/cam1/events/a", b"e" * 700, 1, False, "events/a", 5, True, None, None)
            for _ in range(count)
        ]
        outbox.put_all(letters, monotonic_ns())
        return [letter.id for letter in letters]

    def drained(outbox: DurableOutbox, count: int) -> list[int]:
        out: list[int] = []
        while len(out) < count:
            letter = until(lambda: outbox.next(monotonic_ns(), window_open=True), 10)
            outbox.done(letter.id)
            out.append(letter.id)
        return out

    outbox = opened()
    kept = put(outbox, 300)
    small.fill()
    for _ in range(10):
        kept += put(outbox, 50)
    told = outbox.statistics()
    assert told.unsaved > 300
    assert "free disk space; until then events and results are kept in memory only" in (told.problem or "")
    assert drained(outbox, 100) == kept[:100]
    small.free()
    until(lambda: outbox.statistics().unsaved == 0 and outbox.statistics().problem is None, 30)
    kept += put(outbox, 50)
    outbox.stop()
    outbox.close()

    small.fill()
    outbox = opened()
    assert drained(outbox, 400) == kept[100:500]
    outbox.stop()
    outbox.close()
    small.free()
    outbox = opened()
    left = drained(outbox, outbox.statistics().waiting)
    assert left == kept[-len(left) :]  # where there was no room to note it, what was acknowledged comes again
    assert len(left) >= 350
    outbox.stop()
    outbox.close()
