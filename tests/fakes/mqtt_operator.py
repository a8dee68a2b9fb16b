"""An operator at a broker: what a person with an MQTT client sees and sends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.patience import patient


class Operator:
    """Subscribes to everything and remembers it."""

    def __init__(self, port: int, *, modern: bool = True, client_id: str = "operator", **credentials: str) -> None:
        self.seen: list[paho.MQTTMessage] = []
        self._changed = threading.Condition(threading.RLock())
        self._modern = modern
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311,
        )
        if credentials:
            self._client.username_pw_set(**credentials)
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._subscribed = threading.Event()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(patient(5))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.seen.append(message)
            self._changed.notify_all()

    def send(self, topic: str, payload: bytes | dict[str, Any], **options: Any) -> None:
        """Publish with QoS 1 and wait until the broker has it; ``response_topic``, ``correlation``, ``retain``."""
        properties = None
        if self._modern:
            properties = Properties(PacketTypes.PUBLISH)
            if "response_topic" in options:
                properties.ResponseTopic = options.pop("response_topic")
            if "correlation" in options:
                properties.CorrelationData = options.pop("correlation")
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        info = self._client.publish(topic, body, qos=1, properties=properties, **options)
        info.wait_for_publish(patient(5))

    def on(self, topic: str) -> list[paho.MQTTMessage]:
        with self._changed:
            return [message for message in self.seen if message.topic == topic]

    def payloads(self, topic: str) -> list[Any]:
        """What came on a topic, JSON decoded."""
        return [json.loads(message.payload) for message in self.on(topic)]

    def wait(self, what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Return what ``what`` gives as soon as it is true; it is asked again after every message."""
        deadline = time.monotonic() + patient(timeout_s)
        with self._changed:
            while not (found := what()):
                left = deadline - time.monotonic()
                assert left > 0, f"not seen within {timeout_s} s; saw {[(m.topic, m.payload[:80]) for m in self.seen]}"
                self._changed.wait(min(left, 0.1))
            return found

    def wait_for(self, topic: str, count: int = 1, timeout_s: float = 10.0) -> list[paho.MQTTMessage]:
        """Return the messages on ``topic`` as soon as there are ``count``."""
        return self.wait(lambda: len(found := self.on(topic)) >= count and found, timeout_s)  # type: ignore[no-any-return]

    def wait_for_payload(self, topic: str, payload: bytes, timeout_s: float = 10.0) -> None:
        """Return once the newest message on ``topic`` is this one."""
        self.wait(lambda: (found := self.on(topic)) and found[-1].payload == payload, timeout_s)
