"""The operator of the demo: a plain MQTT 3.1.1 client that commands one device and writes down all it says.

Everything the demo claims is read from :class:`Tape`, in the order in which the broker delivered it. Messages are read
with the product's own definitions (:mod:`agent.link.messages`), strictly: one that breaks its form is kept as a fault,
and the demo fails on it. paho's thread writes, the main thread reads and waits.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.link.messages import CameraState, CommandResult, Deploy, Detections, Info, Telemetry
from tools.demo.failure import DemoFailed

FORMS: dict[str, type[msgspec.Struct]] = {
    "detections": Detections,
    "deploy": Deploy,
    "info": Info,
    "result": CommandResult,
    "state": CameraState,
    "telemetry": Telemetry,
}
CONNECT_TIMEOUT_S = 10.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Heard:
    """One message: when it arrived (monotonic and Unix seconds), its topic below the device's root, what it says."""

    at_s: float
    at_unix_s: float
    topic: str
    said: Any


class Tape:
    """Every message in order of arrival. A position is a number of messages: what lies before it is past."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heard: list[Heard] = []
        self._faults: list[str] = []
        self._listener: Callable[[Heard], None] | None = None

    def add(self, heard: Heard) -> None:
        """Append; the listener hears of it on this thread."""
        with self._changed:
            self._heard.append(heard)
            listener = self._listener
            self._changed.notify_all()
        if listener is not None:
            listener(heard)

    def fault(self, what: str) -> None:
        """Note a message that breaks its form."""
        with self._changed:
            self._faults.append(what)
            self._changed.notify_all()

    def listen(self, listener: Callable[[Heard], None] | None) -> None:
        """Tell ``listener`` of every message from now on; None: nobody."""
        with self._changed:
            self._listener = listener

    @property
    def position(self) -> int:
        """The number of messages so far."""
        with self._changed:
            return len(self._heard)

    @property
    def faults(self) -> tuple[str, ...]:
        """What broke its form."""
        with self._changed:
            return tuple(self._faults)

    def since(self, position: int, form: type[_T]) -> list[tuple[Heard, _T]]:
        """Return the messages of a form that came at or after ``position``."""
        with self._changed:
            heard = self._heard[position:]
        return [(one, one.said) for one in heard if isinstance(one.said, form)]

    def wait(
        self,
        position: int,
        form: type[_T],
        wanted: Callable[[_T], bool],
        *,
        timeout_s: float,
        what: str,
        alive: Callable[[], None] = lambda: None,
    ) -> tuple[Heard, _T]:
        """Return the first message of a form from ``position`` on that is ``wanted``.

        ``alive`` raises when waiting on makes no sense. Raises :class:`DemoFailed` that says ``what`` was awaited.
        """
        deadline = time.monotonic() + timeout_s
        looked = position
        while True:
            with self._changed:
                fresh = self._heard[looked:]
                looked = len(self._heard)
                faults = self._faults[:1]
                if not fresh and not faults:
                    self._changed.wait(min(1.0, max(0.0, deadline - time.monotonic())))
            if faults:
                raise DemoFailed(f"while waiting for {what}, a message broke its form: {faults[0]}")
            for one in fresh:
                if isinstance(one.said, form) and wanted(one.said):
                    return one, one.said
            alive()
            if time.monotonic() >= deadline:
                raise DemoFailed(f"waited {timeout_s:g} s for {what}, in vain; {self._last_words()}")

    def _last_words(self) -> str:
        """Say what was heard last, for a person who wonders why nothing came."""
        with self._changed:
            if not self._heard:
                return "nothing at all was heard from the device"
            last = self._heard[-1]
            deploys = [one.said for one in self._heard if isinstance(one.said, Deploy)]
        state = f"; the deployment said {describe(deploys[-1])}" if deploys else ""
        return f"last heard: {last.topic}, {time.monotonic() - last.at_s:.1f} s ago{state}"


def describe(deploy: Deploy) -> str:
    """Say a deployment's state in a few words."""
    reason = f" ({deploy.reason})" if deploy.reason else ""
    return f"{deploy.state.value} {deploy.reference or 'nothing'}{reason}"


class Operator:
    """A connected client; use it as a context manager."""

    def __init__(self, port: int, device: str, *, prefix: str = "lookout") -> None:
        self.tape = Tape()
        self._port = port
        self._root = f"{prefix}/{device}/"
        self._subscribed = threading.Event()
        self._refused = ""
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"demo-operator-{uuid.uuid4().hex[:8]}",
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Operator:
        """Connect and subscribe. Raises :class:`DemoFailed`."""
        try:
            self._client.connect("127.0.0.1", self._port)
        except OSError as error:
            raise DemoFailed(f"the operator cannot reach the broker on port {self._port}: {error}") from error
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_TIMEOUT_S):
            self._client.loop_stop()
            why = self._refused or f"no answer within {CONNECT_TIMEOUT_S:g} s"
            raise DemoFailed(f"the operator could not subscribe at the broker: {why}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect and end paho's thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def command(self, verb: str, args: dict[str, Any]) -> str:
        """Publish ``cmd/<verb>`` and return the command's id."""
        command_id = uuid.uuid4().hex
        payload = msgspec.json.encode({"v": 1, "id": command_id, "args": args})
        self._client.publish(f"{self._root}cmd/{verb}", payload, qos=1)
        return command_id

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._refused = str(code)
        else:
            client.subscribe(f"{self._root}#", qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed.set()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix(self._root)
        kind = topic.split("/", 1)[0]
        if kind == "cmd":  # our own voice
            return
        try:
            said = read(kind, bytes(message.payload))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.tape.fault(f"{topic}: {error}")
        else:
            self.tape.add(Heard(time.monotonic(), time.time(), topic, said))


def read(kind: str, payload: bytes) -> Any:
    """Read a payload as its kind of topic demands; one without a form stays text or bytes.

    Raises ``msgspec.DecodeError`` or ``UnicodeDecodeError``.
    """
    form = FORMS.get(kind)
    if form is not None:
        return msgspec.json.decode(payload, type=form)
    return payload if kind == "snapshots" else payload.decode()


def models_of(seen: list[tuple[Heard, Detections]]) -> Iterator[tuple[Heard, Detections, str]]:
    """Yield detections with the version that made them."""
    for heard, message in seen:
        yield heard, message, message.model.partition(":")[2]
