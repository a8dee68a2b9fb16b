"""Commands: each id runs once, across restarts; whatever comes in, there is one answer and the agent goes on."""

from __future__ import annotations

import json

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
    "a verb of a later release": ("config/patch", b'{"v":1,"args":{}}', "unknown_verb"),
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
    """A device at work that only listens."""
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


def test_after_all_that_the_agent_still_serves_and_answers(listener):
    device, person = listener
    assert person.command("device/ping")["result"]["device"] == device.name
    person.sees(shelf.TINY)
    assert device.status().degraded == ()
