"""An operator who speaks with one device over MQTT."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.mqtt_operator import Operator
from tests.patience import patient

from .device import CAMERA, PIPELINE

PATIENCE_S = 30.0

_persons = itertools.count(1)


class Person(Operator):
    """Remembers every message of the broker; what is asked below is about one device."""

    def __init__(self, port: int, device: str, *, modern: bool = True, **credentials: str) -> None:
        super().__init__(port, modern=modern, client_id=f"operator-{next(_persons)}", **credentials)
        self.root = f"lookout/{device}/"
        self._ids = itertools.count(1)

    def topic(self, relative: str) -> str:
        return self.root + relative

    def said(self, relative: str) -> list[Any]:
        """What the device said on a topic of its own, JSON decoded."""
        return self.payloads(self.topic(relative))

    # --- commands ----------------------------------------------------------------------------------------------------

    def command(self, verb: str, *, id: str | None = None, **args: Any) -> Any:  # noqa: A002 - the wire's word
        """Send a command and return its answer."""
        identity = id or f"order-{next(self._ids)}"
        topic = self.topic(f"result/{verb}")
        before = len(self.on(topic))
        self.send(self.topic(f"cmd/{verb}"), {"v": 1, "id": identity, "args": args})

        def answer() -> Any:
            """Return its own answer: one to somebody else's command may come between."""
            told = (json.loads(message.payload) for message in self.on(topic)[before:])
            return next((one for one in told if one["id"] in {identity, None}), None)

        return self.wait(answer)

    def send_raw(self, verb: str, payload: bytes, **options: Any) -> Any:
        """Send any bytes as a command and return the answer."""
        topic = self.topic(f"result/{verb}")
        before = len(self.on(topic))
        self.send(self.topic(f"cmd/{verb}"), payload, **options)
        return json.loads(self.wait_for(topic, before + 1, PATIENCE_S)[before].payload)

    def throw(self, verb: str, command: dict[str, Any]) -> None:
        """Send a command without waiting for anything."""
        self._client.publish(self.topic(f"cmd/{verb}"), json.dumps(command), qos=1)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, properties: Any = None) -> None:
        """Publish anything, without waiting."""
        self._client.publish(topic, payload, qos, retain, properties)

    def wait(self, what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Return what ``what`` gives as soon as it is true; a failure quotes the last words."""
        deadline = time.monotonic() + patient(timeout_s)
        with self._changed:
            while not (found := what()):
                left = deadline - time.monotonic()
                if left <= 0:
                    talk = [m for m in self.seen if "/detections/" not in m.topic and not m.topic.endswith("telemetry")]
                    last = "\n".join(f"{m.topic}: {m.payload[:300]!r}" for m in talk[-20:])
                    raise AssertionError(f"not seen within {timeout_s:g} s; the last messages were\n{last}")
                self._changed.wait(min(left, 0.1))
            return found

    # --- deployments -------------------------------------------------------------------------------------------------

    def deploy(self, reference: str, **args: Any) -> int:
        """Order a deployment; return how many reports there were before."""
        before = len(self.deployments())
        answer = self.command("model/deploy", reference=reference, **args)
        assert answer["ok"], answer
        return before

    def deployments(self, since: int = 0) -> list[Any]:
        """The reports of the pipeline's deployments."""
        return self.said(f"deploy/{PIPELINE}")[since:]

    def states(self, reference: str, since: int = 0) -> list[str]:
        """The states of a deployment, each once, in order."""
        mine = [report["state"] for report in self.deployments(since) if report["reference"] == reference]
        return [state for state, _ in itertools.groupby(mine)]

    def wait_state(self, reference: str, *states: str, since: int = 0, timeout_s: float = PATIENCE_S) -> Any:
        """Return the first report since then that has one of the states."""

        def fits() -> Any:
            mine = (report for report in self.deployments(since) if report["reference"] == reference)
            return next((report for report in mine if report["state"] in states), None)

        return self.wait(fits, timeout_s)

    def deployed(self, reference: str, **args: Any) -> Any:
        """Deploy and return the report of the commit."""
        since = self.deploy(reference, **args)
        report = self.wait_state(reference, "committed", "failed", "rolled_back", since=since)
        assert report["state"] == "committed", report
        return report

    # --- frames ------------------------------------------------------------------------------------------------------

    def frames(self, camera: str = CAMERA) -> list[Any]:
        """The messages of detections."""
        return self.said(f"detections/{camera}")

    def sees(self, reference: str, count: int = 3, camera: str = CAMERA, timeout_s: float = PATIENCE_S) -> list[Any]:
        """Return the next ``count`` messages of detections that come from this release from now on."""
        topic = self.topic(f"detections/{camera}")
        before = len(self.on(topic))

        def fresh() -> Any:
            mine = [found for m in self.on(topic)[before:] if (found := json.loads(m.payload))["model"] == reference]
            return mine if len(mine) >= count else None

        return self.wait(fresh, timeout_s)[:count]  # type: ignore[no-any-return]
