"""Asks a running device what its models take: its own telemetry, over MQTT, from the frames that it really answers.

Nothing is loaded beside the model that serves, so nothing is disturbed; what is told is the time of ``session.run`` in
the worker, under the load of the device's real cameras.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.errors import BrokerUnreachable, SurroundingsError
from agent.link.messages import Info, Telemetry
from tools.model.bench.records import Figures, Host, Report


class DeviceSilent(SurroundingsError):
    """A device said nothing of its models in time."""

    code = "device_silent"


class Broker(msgspec.Struct, frozen=True):
    """How to reach the broker. ``ca``: a file of certificates turns TLS on."""

    host: str = "localhost"
    port: int = 1883
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    prefix: str = "lookout"


class _Listener:
    """paho's thread writes, the caller waits."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._changed = threading.Condition()
        self.info: Info | None = None
        self.telemetry: Telemetry | None = None
        self.refused: str | None = None

    def on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        with self._changed:
            if code.is_failure:
                self.refused = str(code)
                self._changed.notify_all()
        client.subscribe([(f"{self._root}/info", 1), (f"{self._root}/telemetry", 0)])

    def on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            with self._changed:
                if message.topic.endswith("/info"):
                    self.info = msgspec.json.decode(message.payload, type=Info)
                else:
                    told = msgspec.json.decode(message.payload, type=Telemetry)
                    self.telemetry = told if told.models else self.telemetry
                self._changed.notify_all()
        except msgspec.MsgspecError as error:
            with self._changed:
                self.refused = f"{message.topic} holds what this version does not read: {error}"
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until both were told, or the broker refused, or ``timeout_s`` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self.refused or (self.info and self.telemetry), timeout_s)


def ask(device: str, broker: Broker, *, timeout_s: float) -> Report:
    """Wait for the device's next telemetry and return it as a report.

    Raises :class:`~agent.errors.BrokerUnreachable`, :class:`DeviceSilent`.
    """
    listener = _Listener(f"{broker.prefix}/{device}")
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, f"lookout-bench-{uuid.uuid4().hex[:8]}", protocol=MQTTProtocolVersion.MQTTv311
    )
    client.on_connect, client.on_message = listener.on_connect, listener.on_message
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.ca is not None:
        client.tls_set(broker.ca)
    where = f"{broker.host}:{broker.port}"
    try:
        client.connect(broker.host, broker.port)
    except OSError as error:
        raise BrokerUnreachable(
            f"{where}: {error.strerror or error}; is the broker running, and --broker right?"
        ) from error
    client.loop_start()
    try:
        listener.wait(timeout_s)
    finally:
        client.disconnect()
        client.loop_stop()
    if listener.refused is not None:
        raise BrokerUnreachable(f"{where}: {listener.refused}")
    if listener.info is None:
        raise DeviceSilent(f"{device} is not known to the broker {where}: is its name right, and the prefix?")
    if listener.telemetry is None:
        raise DeviceSilent(
            f"{device} told nothing of its models within {timeout_s:g} s: is it online, and is "
            f"telemetry (report.telemetry_s) on and shorter than that?"
        )
    return _report(device, listener.info, listener.telemetry)


def _report(device: str, info: Info, told: Telemetry) -> Report:
    facts = info.host
    host = Host(
        name=device,
        machine=str(facts.get("machine") or "unknown"),
        cpu=str(facts.get("board") or facts.get("cpu") or "unknown"),
        cores=int(facts.get("cores") or 1),
        onnxruntime=str(info.versions.get("onnxruntime") or "unknown"),
        how="mqtt",
    )
    figures = tuple(
        Figures(
            host=device,
            model=model,
            provider="as deployed",
            threads=None,
            p50_ms=row.p50_ms,
            p95_ms=row.p95_ms,
            p99_ms=row.p99_ms,
            throughput_s=1e3 / row.mean_ms if row.mean_ms else 0.0,
            load_ms=None,
            memory_mb=None,
            runs=row.count,
        )
        for model, row in sorted(told.models.items())
    )
    return Report(hosts=(host,), rounds=1, figures=figures)
