"""Commands: each id runs once, across restarts; whatever comes in, there is one answer and the agent goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from . import shelf

FOREVER = {"probation": {"frames": 5, "seconds": 60}}


def test_an_id_runs_once_also_when_the_agent_was_killed_and_started_in_between(at_work):
    device, person = at_work()
    first = person.command("model/deploy", id="monday-7", reference=shelf.NEWER)
    assert first["ok"]
    person.wait_state(shelf.NEWER, "committed")
    person.command("model/rollback")
    person.wait_state(shelf.NEWER, "rolled_back")
    since = len(person.deployments())

    assert person.command("model/deploy", id="monday-7", reference=shelf.NEWER) == first
    device.kill()
    device.start()
    person.sees(shelf.TINY, 1)
    assert person.command("model/deploy", id="monday-7", reference=shelf.NEWER) == first
    reused = person.command("model/rollback", id="monday-7")
    assert reused["error"]["code"] == "id_reused"

    person.sees(shelf.TINY)  # nothing was deployed
    assert {report["state"] for report in person.deployments(since)} <= {"rolled_back"}
    repeated = person.command("model/deploy", id="monday-8", reference=shelf.NEWER)
    assert repeated["ok"], "another id is another order"


def test_a_retained_command_is_refused_for_it_would_run_at_every_connection(broker, world, veteran):
    device = world.device(port=broker.port, state=veteran, start=False)
    person = world.person(broker.port, device)
    topic = person.topic("cmd/model/deploy")
    person.send(topic, {"v": 1, "id": "kept", "args": {"reference": shelf.NEWER}}, retain=True)
    device.start()
    (answer,) = (json.loads(m.payload) for m in person.wait_for(person.topic("result/model/deploy"), 1, 20))
    assert answer["error"]["code"] == "retained"
    assert "retain" in answer["error"]["message"]
    person.sees(shelf.TINY)
    assert shelf.NEWER not in {report["reference"] for report in person.deployments()}
    person.send(topic, b"", retain=True)


def test_a_command_to_all_or_to_a_group_is_answered_by_each_that_is_meant_on_its_own_topics(broker, world, veteran):
    devices = [
        world.device(port=broker.port, state=veteran, device={"groups": groups}) for groups in (["roof"], ["cellar"])
    ]
    people = [world.person(broker.port, device) for device in devices]
    for person in people:
        person.wait_for_payload(person.topic("status"), b"online")
    result = "result/device/ping"
    people[0].send("lookout/_all/cmd/device/ping", {"v": 1, "id": "to-all", "args": {}})
    for person in people:
        assert json.loads(person.wait_for(person.topic(result))[0].payload)["id"] == "to-all"
    people[0].send("lookout/_group/cellar/cmd/device/ping", {"v": 1, "id": "to-some", "args": {}})
    assert json.loads(people[1].wait_for(people[1].topic(result), 2)[1].payload)["id"] == "to-some"
    assert people[0].command("device/ping", id="after")["id"] == "after"
    assert [answer["id"] for answer in people[0].said(result)] == ["to-all", "after"]


def test_two_pipelines_are_deployed_to_by_name_one_trial_at_a_time_and_both_serve(broker, world, veteran):
    device = world.device(
        port=broker.port,
        state=veteran,
        start=False,
        cameras={"gate": {"source": {"kind": "images", "path": "pictures", "loop": True, "fps": 10}}},
        pipelines={"guard": {"cameras": ["gate"]}},
    )
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    unnamed = person.command("model/deploy", reference=shelf.NEWER)
    assert unnamed["ok"] is False
    assert "guard" in unnamed["error"]["message"]
    assert person.command("model/deploy", reference=shelf.NEWER, pipeline="watch")["ok"]
    assert person.command("model/deploy", reference=shelf.NEWEST, pipeline="guard")["ok"]
    person.wait(lambda: (said := person.said("deploy/guard")) and said[-1]["state"] == "committed", 30)
    person.wait(lambda: person.deployments()[-1]["state"] == "committed", 30)
    person.sees(shelf.NEWER)
    person.sees(shelf.NEWEST, camera="gate")

    def both() -> Any:
        info = person.said("info")[-1]["models"]
        return {name: model["version"] for name, model in info.items() if model}

    person.wait(lambda: both() == {"watch": "1.1.0", "guard": "1.2.0"})


BAD = {
    "no JSON": ("model/deploy", b"{", "bad_json"),
    "no text": ("model/deploy", b"\xff\xfe\x00", "bad_json"),
    "nothing": ("device/ping", b"", "bad_json"),
    "no object": ("device/ping", b"[]", "bad_json"),
    "deep": ("device/ping", b"[" * 30_000, "bad_json"),
    "large": ("device/ping", b"x" * 70_000, "too_large"),
    "no version": ("device/ping", b"{}", "bad_version"),
    "another version": ("device/ping", b'{"v":2}', "bad_version"),
    "an unknown key": ("device/ping", b'{"v":1,"argz":{}}', "bad_argument"),
    "an unknown verb": ("model/deplot", b'{"v":1,"args":{}}', "unknown_verb"),
    "a verb of a later release": ("plugin/load", b'{"v":1,"args":{}}', "unknown_verb"),
    "no reference": ("model/deploy", b'{"v":1,"args":{}}', "bad_argument"),
    "an unknown argument": ("model/rollback", b'{"v":1,"args":{"now":true}}', "bad_argument"),
    "an argument of another kind": ("model/deploy", b'{"v":1,"args":{"reference":7}}', "bad_argument"),
    "an unknown pipeline": ("model/rollback", b'{"v":1,"args":{"pipeline":"cellar"}}', "bad_command"),
    "an id that is too long": ("device/ping", json.dumps({"v": 1, "id": "x" * 200}).encode(), "bad_argument"),
    "an expired command": ("device/ping", b'{"v":1,"expires_at":"2020-01-01T00:00:00Z"}', "expired"),
    "a time that is none": ("device/ping", b'{"v":1,"expires_at":"soon"}', "bad_argument"),
}


@pytest.fixture(scope="module")
def listener(broker, shared_world, veteran):
    """A device at work that only listens, for the tests from here on: those that need none come before it runs."""
    device = shared_world.device(port=broker.port, state=veteran, start=False)
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


@pytest.mark.parametrize("name", BAD)
def test_a_command_that_is_wrong_is_answered_with_its_error_and_nothing_else_happens(name, listener):
    _, person = listener
    verb, payload, code = BAD[name]
    before = len(person.deployments())
    answer = person.send_raw(verb, payload)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert len(answer["error"]["message"]) > 10
    assert len(person.deployments()) == before


def test_the_answer_to_a_wrong_argument_names_its_field_and_carries_the_id(listener):
    _, person = listener
    answer = person.send_raw("model/deploy", b'{"v":1,"id":"abc","args":{"reference":7}}')
    assert answer["id"] == "abc"
    assert "reference" in answer["error"]["field"]


def test_of_a_flood_of_commands_each_is_answered_with_its_id_done_or_busy_and_frames_go_on(listener):
    device, person = listener
    ids = {f"flood-{number}" for number in range(300)}
    before = len(person.said("result/device/ping"))
    for identity in ids:
        person.throw("device/ping", {"v": 1, "id": identity, "args": {}})
    person.wait(lambda: len(person.on(person.topic("result/device/ping"))) >= before + len(ids))
    answers = person.said("result/device/ping")[before:]
    assert {answer["id"] for answer in answers} == ids
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} <= {"busy"}
    person.sees(shelf.TINY)
    assert device.status().cameras[0].lost == 0


def test_after_all_that_the_agent_still_serves_and_answers(listener):
    device, person = listener
    assert person.command("device/ping")["result"]["device"] == device.name
    person.sees(shelf.TINY)
    assert device.status().degraded == ()
