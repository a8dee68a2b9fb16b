"""A broker that speaks nothing newer than MQTT 3.1.1 (amqtt) carries every command there is, once."""

from __future__ import annotations

import pytest

from agent.link.forms import FORMS
from agent.verbs import SETTLE_S
from tests.link.conftest import AmqttBroker

from . import shelf
from .processes import until

ORDER = {
    "device/ping": {},
    "model/list": {},
    "config/get": {"path": "report"},
    "config/patch": {"patch": {"report": {"detections_hz": 25}}, "who": "a test"},
    "config/confirm": {"revision": 1},
    "config/revert": {},
    "logs/level": {"level": "debug", "part": "link", "seconds": 1},
    "logs/tail": {"seconds": 2, "lines": 5},
    "camera/snapshot": {"max_width": 160},
    "device/diagnose": {"logs": 5},
    "model/deploy": {"reference": shelf.NEWER},
    "model/rollback": {},
    "model/cancel": {},
    "device/restart": {},
}
"""Each verb, with arguments; a deployment is over before the next one."""

REFUSED = {"model/cancel": "refused", "config/confirm": None, "config/revert": None}
"""Those for which there may be nothing to do here, and the code that says so, where it is certain."""


@pytest.fixture
def old_broker():
    pytest.importorskip("amqtt", reason="amqtt is absent: pip install lookout-agent[demo]")
    broker = AmqttBroker()
    yield broker
    broker.kill()


@pytest.mark.faults
def test_every_verb_is_carried_and_answered_on_its_result_topic(old_broker, world, veteran):
    assert set(ORDER) == set(FORMS), "a verb without its place in this test"
    device = world.device(port=old_broker.port, state=veteran, start=False)
    person = world.person(old_broker.port, device, modern=False)
    device.start()
    person.sees(shelf.TINY, 1)
    assert person.said("info")[-1]["protocol"] == "3.1.1"
    boot = person.said("info")[-1]["boot"]
    for verb, args in ORDER.items():
        if verb == "device/restart":
            until(lambda: person.command("device/ping")["result"]["uptime_s"] > SETTLE_S, 2 * SETTLE_S)
        answer = person.command(verb, id=f"once-{verb}", **args)
        assert answer["id"] == f"once-{verb}"
        if verb in REFUSED and not answer["ok"]:
            assert answer["error"]["code"] not in ("unknown_verb", "bad_argument", "internal")
            assert REFUSED[verb] in (None, answer["error"]["code"])
        else:
            assert answer["ok"], (verb, answer)
        if verb == "model/deploy":
            person.wait_state(shelf.NEWER, "committed")
        if verb == "model/rollback":
            person.wait_state(shelf.NEWER, "rolled_back")
    person.wait(lambda: person.said("info")[-1]["boot"] == boot + 1)
    person.sees(shelf.TINY)
    assert person.on(person.topic("snapshots/yard")), "the picture came"
    assert person.on(person.topic("logs")), "the log came"
