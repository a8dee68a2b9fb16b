"""Whole devices: the installed command, real brokers, a real registry over HTTP, real processes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Broker, start_mosquitto
from tests.fakes.registry import Shop
from tools.registry.serve import RegistryServer

from . import shelf
from .device import Device, merged
from .person import Person

_names = itertools.count(1)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The registry's folder and keys, with every release that needs no shared material. Not to be changed."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.state.mkdir()  # so that it can be copied
    shelf.stock(made)
    return made


@pytest.fixture(scope="session")
def real_shop(shop: Shop, shared: Path) -> Shop:
    """The same registry, with the real models in it."""
    shelf.stock_real(shop, shared)
    return shop


@pytest.fixture(scope="session")
def registry(shop: Shop) -> Iterator[RegistryServer]:
    """The registry over HTTP."""
    with RegistryServer(shop.registry) as server:
        yield server


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A mosquitto for a module's devices."""
    made = start_mosquitto(tmp_path_factory.mktemp("broker"))
    yield made
    made.kill()


class World:
    """Makes devices and operators, and ends all of them."""

    def __init__(self, folder: Path, registry: RegistryServer, root: Path, stack: ExitStack) -> None:
        self.folder, self.registry, self.root = folder, registry, root
        self._stack = stack

    def device(
        self,
        *,
        port: int | None = None,
        state: Path | None = None,
        spied: bool = False,
        start: bool = True,
        provisioned: bool = True,
        **changes: Any,
    ) -> Device:
        """Make a device; ``port`` is its broker's, ``state`` what it takes over, ``changes`` go over its config."""
        name = f"device-{next(_names)}"
        made = Device(self.folder / name, name, spied=spied)
        made.config = merged(merged(made.config, {"registry": {"url": self.registry.url}}), changes)
        if port is not None:
            made.config = merged({"mqtt": {"host": "127.0.0.1", "port": port, "reconnect_s": 1}}, made.config)
        self._stack.callback(made.close)
        if state is not None:
            made.resume_from(state)
        elif provisioned:
            made.provision(self.root)
        if start:
            made.start()
        return made

    def person(self, port: int, device: Device, **rest: Any) -> Person:
        """Make an operator."""
        made = Person(port, device.name, **rest)
        self._stack.callback(made.close)
        return made


def _world(folder: Path, registry: RegistryServer, shop: Shop) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(folder, registry, shop.made.root, stack)


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, registry: RegistryServer, shop: Shop) -> Iterator[World]:
    """Devices and operators of one test; a short path, because a socket's may have 98 bytes."""
    yield from _world(tmp_path_factory.mktemp("w"), registry, shop)


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory, registry: RegistryServer, shop: Shop) -> Iterator[World]:
    """Devices and operators of a module."""
    yield from _world(tmp_path_factory.mktemp("w"), registry, shop)


@pytest.fixture(scope="session")
def veteran(tmp_path_factory: pytest.TempPathFactory, registry: RegistryServer, shop: Shop) -> Path:
    """The state of a device that has ``tiny:1.0.0`` committed: what most tests begin with. Take copies."""
    folder = tmp_path_factory.mktemp("veteran")
    with ExitStack() as stack:
        world = World(folder, registry, shop.made.root, stack)
        device = world.device(pipelines={"watch": {"model": shelf.TINY}})
        device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 40)
        device.stop()
        kept = folder / "kept"
        shutil.copytree(device.state, kept)
    return kept


@pytest.fixture
def at_work(world: World, veteran: Path, broker: Broker) -> Callable[..., tuple[Device, Person]]:
    """Start a device on which ``tiny:1.0.0`` serves, with its operator."""

    def start(**rest: Any) -> tuple[Device, Person]:
        device = world.device(port=broker.port, state=veteran, start=False, **rest)
        person = world.person(broker.port, device)
        device.start()
        person.sees(shelf.TINY, 1)
        return device, person

    return start
