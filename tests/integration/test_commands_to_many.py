"""One deploy to many devices: each takes it once, and each begins in its own part of the time."""

from __future__ import annotations

from datetime import datetime

from agent.deploy.later import share_ms

from . import shelf

SPREAD_S = 4.0


def test_a_deploy_to_all_is_spread_and_a_device_that_is_killed_meanwhile_keeps_its_part(broker, world, veteran):
    devices = [world.device(port=broker.port, state=veteran, deploy={"safe_mode_after": 0}) for _ in range(2)]
    people = [world.person(broker.port, device) for device in devices]
    for person in people:
        person.wait_for_payload(person.topic("status"), b"online")
    command = {"v": 1, "id": "fleet-1", "args": {"reference": shelf.NEWER, "spread_s": SPREAD_S}}
    people[0].send("lookout/_all/cmd/model/deploy", command)
    for device, person in zip(devices, people, strict=True):
        part_ms = share_ms(SPREAD_S, device.name, "fleet-1")
        person.wait_for(person.topic("result/model/deploy"), 1, 30)  # who is killed before it says "interrupted"
        deferred = person.wait_state(shelf.NEWER, "deferred")
        begins, since = (datetime.fromisoformat(deferred[key]) for key in ("not_before", "at"))
        assert abs((begins - since).total_seconds() * 1000 - part_ms) < 5
    devices[0].kill()
    devices[0].start()
    for person in people:
        person.wait_state(shelf.NEWER, "committed")
    before = [len(person.said("result/model/deploy")) for person in people]  # the killed one may have sent it twice
    people[0].send("lookout/_all/cmd/model/deploy", command)  # again, as a fleet's tool would that is not sure
    for person, count in zip(people, before, strict=True):
        person.wait(lambda person=person, count=count: len(person.said("result/model/deploy")) > count)
        first, *others = person.said("result/model/deploy")
        assert (first["id"], first["ok"]) == ("fleet-1", True), (first, others)
        assert others
        assert all(other == first for other in others)
        assert person.states(shelf.NEWER).count("committed") == 1
