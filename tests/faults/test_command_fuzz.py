"""5,000 random and mutated commands at a whole device through a real broker: an answer each, no crash, no leak."""

from __future__ import annotations

import pytest

from tests.integration import shelf
from tests.integration.barrage import CONFIG, Barrage

COUNT = 5000


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_five_thousand_commands_of_every_kind_are_answered_once_each(world, broker):
    device = world.device(port=broker.port, pipelines={"watch": {"model": shelf.STEADY}}, **CONFIG)
    person = world.person(broker.port, device)
    device.wait_serving(shelf.STEADY, 60)
    barrage = Barrage(device, person)
    barrage.fire(COUNT)
    barrage.settle()
    print(dict(barrage.codes))  # the figures of the run
    wanted = {
        "ok",
        "bad_json",
        "bad_version",
        "bad_argument",
        "unknown_verb",
        "retained",
        "expired",
        "bad_response_topic",
    }
    assert wanted <= set(barrage.codes)
