"""A release goes from the registry into service, ordered and reported over MQTT."""

from __future__ import annotations

from . import shelf


def test_a_model_in_the_configuration_is_deployed_at_the_first_start(world, veteran):
    device = world.device(state=veteran)
    status = device.wait_serving(shelf.TINY)
    assert status.degraded == ()
    print(status)


def test_x(at_work):
    device, person = at_work()
    r = person.deployed(shelf.NEWER)
    print(r, person.states(shelf.NEWER))
    print(person.sees(shelf.NEWER))
