"""An operator who looks on for a long time: frames are kept as short records, telemetry not at all."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from tests.integration.device import PIPELINE
from tests.integration.person import Person
from tests.patience import patient

KEPT = 200_000


class Answer(NamedTuple):
    """One frame that was answered. ``seen_s``: when its message came, monotonic; ``at``: when it was taken."""

    seen_s: float
    at: str
    frame: int
    index: int
    model: str
    digest: str


class Onlooker(Person):
    """A person whose memory is bounded by what a test asks, not by how long it runs."""

    def __init__(self, port: int, device: str) -> None:
        self.answers: deque[Answer] = deque(maxlen=KEPT)
        self.reports: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.steps_back = 0
        """How often a frame's number did not grow: a new life of the agent, or a fault."""
        self.models: set[str] = set()
        """Everything that ever answered."""
        self._mine = f"lookout/{device}/"
        super().__init__(port, device)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        now, topic = time.monotonic(), message.topic
        mine = topic.startswith(self._mine)  # the broker holds what other devices have left
        if not mine or topic.endswith("/telemetry") or "/cmd/" in topic:
            return
        if "/detections/" in topic:
            told = json.loads(message.payload)
            answer = Answer(now, told["at"], told["frame"], told["index"], told["model"], told["digest"])
            with self._changed:
                if self.answers and answer.frame <= self.answers[-1].frame:
                    self.steps_back += 1
                self.answers.append(answer)
                self.models.add(answer.model)
                self._changed.notify_all()
            return
        with self._changed:
            if topic.endswith(f"/deploy/{PIPELINE}"):
                self.reports.append(json.loads(message.payload))
            elif "/result/" in topic:
                told = json.loads(message.payload)
                self.results[told["id"]] = told
            else:
                super()._on_message(_client, _data, message)
            self._changed.notify_all()

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def report(self) -> dict[str, Any] | None:
        """The newest report of the deployment: what the broker holds, retained."""
        return self.reports[-1] if self.reports else None

    @property
    def answer(self) -> Answer | None:
        """The newest answered frame."""
        return self.answers[-1] if self.answers else None

    def next_report(self, states: frozenset[str], since: int, timeout_s: float) -> dict[str, Any] | None:
        """Return the first report since then in one of the states; None where none comes in time."""
        deadline = time.monotonic() + patient(timeout_s)
        with self._changed:
            while True:
                for report in self.reports[since:]:
                    if report["state"] in states:
                        return report
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 0.1))

    def first_taken_after(self, at: str, timeout_s: float) -> Answer | None:
        """Return the first answered frame that was taken after ``at``; None where none comes in time."""
        deadline = time.monotonic() + patient(timeout_s)
        with self._changed:
            while True:
                found = None
                for answer in reversed(self.answers):
                    if answer.at <= at:
                        break
                    found = answer
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 0.1))

    def order(self, verb: str, identity: str, timeout_s: float, **args: Any) -> dict[str, Any] | None:
        """Send a command and return its answer; None where none comes in time: the same identity may be sent again."""
        self.throw(verb, {"v": 1, "id": identity, "args": args})
        deadline = time.monotonic() + patient(timeout_s)
        with self._changed:
            while identity not in self.results:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 0.1))
            return self.results[identity]

    def meets(self, reference: str) -> None:
        """Return once the device says that it is there, and that this release answers."""
        self.wait_for_payload(self.topic("status"), b"online", 20)
        self.wait(lambda: self.answer is not None and self.answer.model == reference and self.report is not None)

    def deployed_first(self, reference: str) -> None:
        """Deploy the release that all begins with."""
        self.wait_for_payload(self.topic("status"), b"online", 20)
        answer = self.order("model/deploy", f"first-{reference}", 20, reference=reference)
        assert answer is not None, "no answer"
        assert answer["ok"], answer
        end = self.next_report(Deploying.ENDS, 0, 40)
        assert end is not None, self.report
        assert end["state"] == "committed", end
        self.wait(lambda: self.answer is not None)


class Deploying(threading.Thread):
    """Deploys one release after another until told to stop; each is waited for until it has ended, well or not.

    Every third goes through a shadow, and every fourth commit is rolled back by hand.
    """

    ENDS = frozenset({"committed", "failed", "rolled_back", "cancelled", "superseded"})
    END_S = 60.0

    def __init__(self, person: Onlooker, references: tuple[str, ...], seed: int) -> None:
        super().__init__(name="test-deploying")
        self._person, self._references, self._seed = person, references, seed
        self._stop_asked = threading.Event()
        self.ends: list[tuple[str, str]] = []
        """Reference and the state that it ended in; ``stuck`` where it did not."""

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(self.END_S + 10)
        assert not self.is_alive()

    def run(self) -> None:
        number = 0
        while not self._stop_asked.is_set():
            reference = self._references[number % len(self._references)]
            number += 1
            shadow = {"shadow_frames": 3} if number % 3 == 0 else {}
            since = len(self._person.reports)
            if self._accepted(f"{self._seed}-{number}", reference, shadow):
                self.ends.append((reference, self._end(reference, since)))
                if number % 4 == 0 and self.ends[-1][1] == "committed":
                    self._person.order("model/rollback", f"{self._seed}-{number}-back", 1)

    def _accepted(self, identity: str, reference: str, args: dict[str, Any]) -> bool:
        """Order it again and again until it was taken up; force: a killed worker condemns its release."""
        attempt = 0
        while not self._stop_asked.is_set():
            answer = self._person.order(
                "model/deploy", f"{identity}-{attempt}", 1, reference=reference, force=True, **args
            )
            if answer is not None and answer["ok"]:
                return True
            if answer is not None:  # busy: rolling back, or on probation again after a death of the agent
                attempt += 1
                self._stop_asked.wait(0.1)
        return False

    def _end(self, reference: str, since: int) -> str:
        def ended() -> str | None:
            mine = (r for r in self._person.reports[since:] if r["reference"] == reference and r["state"] in self.ENDS)
            return next((report["state"] for report in mine), None)

        deadline = time.monotonic() + self.END_S
        while (state := ended()) is None:
            if time.monotonic() > deadline:
                return "stuck"
            self._person.next_report(self.ENDS, len(self._person.reports), 0.3)
        return state
