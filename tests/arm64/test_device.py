"""A small whole device: a model is deployed, swapped, refused and brought back, over a real broker and registry.

What the integration tests show at length, on models so small that an emulated processor keeps up.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import start_mosquitto
from tests.fakes.models import nan_model, tiny_detector
from tests.fakes.registry import Shop
from tests.integration.conftest import World
from tests.integration.device import Device
from tests.integration.person import Person
from tests.integration.shelf import NAN, NEWER, TINY, publish
from tools.registry.serve import RegistryServer


@pytest.fixture
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Person]]:
    """A device and its operator."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    for reference, write in ((TINY, tiny_detector), (NEWER, tiny_detector), (NAN, nan_model)):
        publish(shop, reference, write)
    broker = start_mosquitto(tmp_path_factory.mktemp("broker"))
    with ExitStack() as stack:
        stack.callback(broker.kill)
        registry = stack.enter_context(RegistryServer(shop.registry))
        world = World(tmp_path_factory.mktemp("w"), registry, shop.made.root, stack)
        device = world.device(port=broker.port, start=False, report={"all": True})
        person = world.person(broker.port, device)
        device.start()
        yield device, person


def test_a_device_deploys_swaps_refuses_and_comes_back(met: tuple[Device, Person]) -> None:
    device, person = met
    person.deployed(TINY)
    person.sees(TINY, 3)
    receipt = person.deployed(NEWER)["receipt"]
    assert receipt["lost"] == 0

    since = person.deploy(NAN)
    refused = person.wait_state(NAN, "failed", "committed", since=since)
    assert refused["state"] == "failed"
    assert "finite" in refused["reason"]

    first = device.worker
    os.kill(first, signal.SIGKILL)
    person.sees(NEWER, 5)
    assert device.worker != first
    assert device.stop() == 0

    frames = [frame["frame"] for frame in person.frames()]
    assert all(later > earlier for earlier, later in itertools.pairwise(frames)), "in order, each once"
    models = [model for model, _ in itertools.groupby(frame["model"] for frame in person.frames())]
    assert models == [TINY, NEWER], "one change, and no way back"
