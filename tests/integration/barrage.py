"""Thousands of commands at a real device through a real broker, and an account of what became of each."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.link.topics import is_publishable
from agent.process.memory import pss_bytes
from tests.fakes.payloads import Sent, commands

from .device import Device
from .person import Person
from .processes import descriptors, family, until

OUTSTANDING = 40
"""How many may be unanswered at a time."""

MORE_MB, MORE_THREADS, MORE_FILES = 60.0, 6, 12

CONFIG = {
    "device": {"groups": ["gate"]},
    "remote": {"restart": False, "confirm_s": 2},
    "deploy": {"shadow_timeout_s": 5},
}
"""A device that nobody takes away in the middle, and that does not wait for long."""


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


class Barrage:
    """Throws commands. Each carries a number as its correlation data: so its answer is known, wherever it goes."""

    def __init__(self, device: Device, person: Person) -> None:
        self.device, self.person = device, person
        self.sent: dict[int, Sent] = {}
        self._numbers = itertools.count(1)
        self._looked_at = 0
        self._answers: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.before = (pss_bytes(device.pid), threads(device.pid), descriptors(device.pid))

    def fire(self, count: int) -> None:
        """Throw ``count`` commands."""

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(commands())
        def throw(sent: Sent) -> None:
            self.throw(sent)
            self.person.wait(lambda: len(self.unanswered()) < OUTSTANDING, 60)

        throw()

    def throw(self, sent: Sent) -> None:
        if sent.retained and not sent.payload:
            return  # no command: it takes one back
        number = next(self._numbers)
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = f"{number}:".encode() + (sent.correlation or b"")[:65_000]
        place = (sent.response_topic or "").replace("cam1", self.device.name)
        if is_publishable(place):  # a real broker lets nothing else through
            properties.ResponseTopic = place
        self.sent[number] = sent
        root = self.person.root if sent.scope == "device" else f"lookout/{sent.scope}/"
        topic = f"{root}cmd/{sent.name}"
        self.person.publish(topic, sent.payload, sent.qos, sent.retained, properties)
        if sent.retained:
            self.person.publish(topic, b"", 1, True)

    def unanswered(self) -> set[int]:
        """Numbers of the commands that have no answer yet; looks at what came since the last time."""
        messages = self.person.seen[self._looked_at :]
        self._looked_at += len(messages)
        for message in messages:
            correlation = getattr(message.properties, "CorrelationData", None)
            if correlation is None or message.topic.split("/")[-3:-2] == ["cmd"]:
                continue  # it is none, or it is what we sent
            told = json.loads(message.payload)
            if "ok" in told:  # else it is progress
                self._check(told)
                self._answers[int(correlation.partition(b":")[0])] += 1
        return set(self.sent) - set(self._answers)

    def _check(self, told: Any) -> None:
        assert told["v"] == 1
        assert ("result" in told) == told["ok"] == ("error" not in told)
        code = "ok" if told["ok"] else told["error"]["code"]
        assert code not in ("internal", "error"), told
        self.codes[code] += 1

    def settle(self) -> None:
        """Look that each command had exactly one answer, and that the device is none the worse for it."""
        self.person.wait(lambda: not self.unanswered(), 120)
        answer = self.person.command("device/ping", id="after the barrage")
        assert answer["ok"], answer
        self.unanswered()
        assert {number: self.sent[number] for number, count in self._answers.items() if count > 1} == {}
        pid, (memory, count, files) = self.device.pid, self.before
        assert {process.pid for process in family(pid)} >= {pid}
        until(lambda: threads(pid) <= count + MORE_THREADS, 60, lambda: f"{threads(pid)} threads, {count} before")
        until(lambda: descriptors(pid) <= files + MORE_FILES, 60, lambda: f"{descriptors(pid)} files, {files} before")
        assert (pss_bytes(pid) - memory) / 1e6 < MORE_MB
        answered = self.device.status().cameras[0].answered
        self.device.wait_status(lambda seen: seen.cameras[0].answered > answered + 3)
