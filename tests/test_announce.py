"""What is told of deployments: the newest state always, and every end even where the broker was away."""

from __future__ import annotations

import json

from agent.announce import Announcer
from agent.config.schema import Report
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus, SlotRelease
from agent.link.messages import encode
from agent.link.outbox import MemoryOutbox
from agent.link.publisher import Publisher
from agent.link.topics import Topics
from agent.types import DeviceId, Digest, ModelName, Outgoing, PipelineName

MAIN = PipelineName("main")


def status(state: State, reference: str, **changes: object) -> DeploymentStatus:
    return DeploymentStatus(MAIN, state, reference, at=f"{state.value} {reference}", **changes)  # type: ignore[arg-type]


def told(*statuses: DeploymentStatus) -> list[tuple[str, str]]:
    """Return what the broker gets that was away meanwhile."""
    outbox = MemoryOutbox()
    publisher = Publisher(Topics("lookout", DeviceId("yard")), outbox)
    announcer = Announcer(publisher.publish, Report())
    for one in statuses:
        announcer.deployment(one)
    publisher.start()
    publisher.stop()
    letters = []
    while (letter := outbox.next(0, window_open=True)) is not None:
        if "/deploy/" in letter.topic:
            letters.append(json.loads(letter.payload))
    return [(one["state"], one["reference"]) for one in letters]


def test_quick_states_make_way_for_the_newest_but_an_end_for_nothing() -> None:
    assert told(
        status(State.RESOLVING, "a:1.0.0"),
        status(State.TRIAL, "a:1.0.0"),
        status(State.SUPERSEDED, "a:1.0.0"),
        status(State.RESOLVING, "a:1.1.0"),
        status(State.PROBATION, "a:1.1.0"),
        status(State.ROLLED_BACK, "a:1.1.0"),
        status(State.RESOLVING, "a:1.2.0"),
        status(State.FETCHING, "a:1.2.0"),
    ) == [("superseded", "a:1.0.0"), ("rolled_back", "a:1.1.0"), ("fetching", "a:1.2.0")]


def test_an_end_is_kept_once_whatever_changes_afterwards() -> None:
    committed = status(State.COMMITTED, "a:1.0.0")
    flapping = [status(State.COMMITTED, "a:1.0.0", degraded=f"worker died {n} times") for n in range(50)]
    assert told(committed, *flapping) == [("committed", "a:1.0.0")] * 2


def test_a_state_on_the_way_is_not_an_end() -> None:
    messages: list[Outgoing] = []
    Announcer(messages.append, Report()).deployment(status(State.TRIAL, "a:1.0.0"))
    assert [message.final for message in messages if message.topic == "deploy/main"] == [False]


def slot(version: str) -> SlotRelease:
    return SlotRelease(ModelName("a"), version, Digest(version))


def test_what_home_assistant_reads_of_updates_is_told_when_it_changed() -> None:
    messages: list[Outgoing] = []
    announcer = Announcer(messages.append, Report())
    old, new = slot("1.0.0"), slot("1.1.0")
    for one in (
        status(State.IDLE, "a@stable"),
        status(State.FETCHING, "a@stable", current=old, latest="1.1.0"),
        status(State.TRIAL, "a@stable", current=old, candidate=new, latest="1.1.0"),
        status(State.COMMITTED, "a@stable", current=new, previous=old, latest="1.1.0"),
    ):
        announcer.deployment(one)
    assert [json.loads(encode(one.payload)) for one in messages if one.topic == "update/main"] == [
        {"in_progress": False},
        {"installed_version": "1.0.0", "latest_version": "1.1.0", "in_progress": True, "title": "a"},
        {"installed_version": "1.1.0", "latest_version": "1.1.0", "in_progress": False, "title": "a"},
    ]
