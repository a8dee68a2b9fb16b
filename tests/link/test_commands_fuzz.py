"""Whatever bytes come in, wherever the answer is to go: one answer and one acknowledgement each, and nothing grows."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from agent.deploy.commands import KEEP, CommandMemory
from agent.deploy.journal import Journal
from agent.deploy.records import Accepted, StoredModel
from agent.errors import CameraError, DeploymentRefused
from agent.link.commands import Router
from agent.link.forms import FORMS, CameraSnapshot
from agent.link.topics import Topics, is_publishable
from agent.link.verbs import Deferred, Verb, verb
from agent.link.wire import Incoming
from agent.registry.reference import parse_reference
from agent.types import Outgoing, PipelineName
from agent.verbs import table
from tests.depth import examples
from tests.fakes.payloads import SCHEMAS, Sent, commands, fitting
from tests.link.conftest import Done

ROOT = "lookout/cam1/"
RESULT = {frozenset({"v", "id", "ok", "result"}), frozenset({"v", "id", "ok", "error"})}


class Deployments:
    """Takes every order that can be read, as the deployer would."""

    def deploy(self, pipeline: PipelineName, reference: str, **_: Any) -> Accepted:
        return Accepted(pipeline, str(parse_reference(reference)))

    def cancel(self, pipeline: PipelineName) -> Accepted:
        raise DeploymentRefused(f"pipeline {pipeline!r} is idle: there is nothing to cancel")

    def rollback(self, pipeline: PipelineName) -> Accepted:
        return Accepted(pipeline, None)

    def models(self) -> tuple[StoredModel, ...]:
        return ()


def snapshot(args: CameraSnapshot) -> Deferred:
    """Answer later, from another thread, now with a result and now with a fault."""
    answer = Deferred()

    def later() -> None:
        answer.progress("taken", 0.5)
        if args.boxes:
            answer.answer(Done("picture"))
        answer.fail(CameraError("camera yard: no picture"))

    threading.Thread(target=later).start()
    return answer


class Bench:
    """The router with the table of verbs as the agent has it, and a memory on disk."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.db")
        self.answers: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self.acknowledged: Counter[int] = Counter()
        self.restarts: list[str] = []
        self.sent = 0
        self.router = Router(
            Topics("lookout", "cam1"),
            self.rows(),
            memory=CommandMemory(self.journal.database),
            publish=self.answers.put,
            utc_ms=lambda: 1_790_000_000_000,
            groups=["gate"],
        )
        self.router.start()

    def rows(self) -> list[Verb]:
        rows = table(
            Deployments(),
            (PipelineName("watch"),),
            device="cam1",
            uptime_s=lambda: 100.0,
            snapshot=snapshot,
            restart=self.restarts.append,
        )
        wired = {row.name for row in rows}
        rest = [
            verb(name, form, lambda args: Done(repr(args)[:80])) for name, form in FORMS.items() if name not in wired
        ]
        return [*rows, *rest]

    def offer(self, sent: Sent) -> None:
        self.sent = number = self.sent + 1
        topic = f"{ROOT if sent.scope == 'device' else f'lookout/{sent.scope}/'}cmd/{sent.name}"
        self.router.offer(
            Incoming(
                topic,
                sent.payload,
                sent.retained,
                lambda: self.acknowledged.update([number]),
                sent.response_topic,
                sent.correlation,
            )
        )

    def answer(self) -> tuple[Outgoing, Any]:
        """The next answer, past what is told of progress."""
        while True:
            outgoing = self.answers.get(timeout=10)
            if isinstance(outgoing.payload, bytes):
                return outgoing, json.loads(outgoing.payload)

    def close(self) -> None:
        self.router.stop()
        self.journal.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def check(sent: Sent, outgoing: Outgoing, told: Any) -> None:
    """An answer is an answer, and goes where one may go."""
    assert frozenset(told) in RESULT, told
    assert told["v"] == 1
    if not told["ok"]:
        assert told["error"]["code"] not in ("internal", "error"), told
        assert 10 < len(told["error"]["message"]) < 1500, told
    if outgoing.correlation is None:
        assert outgoing.topic.startswith("result/")
        return
    place = outgoing.correlation.response_topic
    assert is_publishable(place)
    assert place.startswith(ROOT + "result/") or place == sent.response_topic
    assert not place.startswith(("$", ROOT + "cmd", ROOT + "status", ROOT + "reported", "lookout/_"))
    assert outgoing.correlation.data == sent.correlation


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=[pytest.mark.faults, pytest.mark.timeout(1200)])])
def test_every_command_whatever_it_is_gets_exactly_one_answer_and_leaves_nothing_behind(
    bench: Bench, count: int
) -> None:
    threads, files = threading.active_count(), open_files()
    codes: Counter[str] = Counter()

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(commands())
    def barrage(sent: Sent) -> None:
        if sent.retained and not sent.payload:  # somebody takes a retained command back
            return
        bench.offer(sent)
        outgoing, told = bench.answer()
        check(sent, outgoing, told)
        codes["ok" if told["ok"] else told["error"]["code"]] += 1

    barrage()
    bench.router.stop(10)
    assert not [left for left in _rest(bench) if isinstance(left.payload, bytes)], "a second answer to some command"
    assert set(bench.acknowledged.values()) == {1}
    assert sum(bench.acknowledged.values()) == bench.sent
    statistics = bench.router.statistics()
    assert (statistics.waiting, statistics.running) == (0, 0)
    with bench.journal.database.reading() as db:
        assert db.execute("SELECT count(*) FROM commands").fetchone()[0] <= KEEP
    assert threading.active_count() <= threads
    assert open_files() <= files
    rare = (
        {"bad_version", "retained", "expired", "bad_response_topic", "id_reused", "too_large"}
        if count > 1000
        else set()
    )
    assert {"ok", "bad_json", "bad_argument"} | rare <= set(codes), codes


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _rest(bench: Bench) -> list[Outgoing]:
    found = []
    while not bench.answers.empty():
        found.append(bench.answers.get())
    return found


@pytest.mark.parametrize("name", FORMS)
def test_what_fits_the_published_schema_of_a_verb_is_taken_by_its_form(name: str) -> None:
    """The generator speaks for the schemas: were it wrong, it would attack nothing."""

    @settings(max_examples=examples(10), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(fitting(SCHEMAS[f"cmd/{name}"]))
    def fits(args: Any) -> None:
        msgspec.convert(json.loads(json.dumps(args)), FORMS[name])

    fits()
