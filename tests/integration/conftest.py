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
from tests.once import Once
from tools.registry.serve import RegistryServer

from . import shelf
from .device import Device, merged
from .person import Person

_names = itertools.count(1)


@pytest.fixture(scope="session")
def shop(once: Once) -> Shop:
    """The registry's folder and keys, with every release that needs no shared material. Not to be changed."""
    return once("shop", _stocked)


def _stocked(folder: Path) -> Shop:
    made = Shop(folder)
    made.state.mkdir()  # so that it can be copied
    shelf.stock(made)
    return made


@pytest.fixture(scope="session")
def registry(shop: Shop) -> Iterator[RegistryServer]:
    """The registry over HTTP."""
    with RegistryServer(shop.registry) as server:
        yield server


@pytest.fixture
def real_registry(shop: Shop, shared: Path, tmp_path: Path) -> Iterator[RegistryServer]:
    """A copy of it, by the same publisher, with the real models in it."""
    made = Shop.copied(shop, tmp_path / "real")
    shelf.stock_real(made, shared)
    with RegistryServer(made.registry) as server:
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
        made.state = made.folder / made.config["paths"]["state"]
        self._stack.callback(made.close)
        if state is not None:
            made.resume_from(state)
        elif provisioned:
            made.trust(self.root)
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
def veteran(once: Once, registry: RegistryServer, shop: Shop) -> Path:
    """The state of a device that has ``tiny:1.0.0`` committed: what most tests begin with. Take copies."""
    return once("veteran", lambda folder: aged(folder, registry, shop, shelf.TINY))


def aged(folder: Path, registry: RegistryServer, shop: Shop, reference: str) -> Path:
    """Return the state of a device that was provisioned by the command and has committed its first release."""
    with ExitStack() as stack:
        world = World(folder, registry, shop.made.root, stack)
        device = world.device(pipelines={"watch": {"model": reference}}, provisioned=False, start=False)
        device.provision(shop.made.root)
        device.start()
        device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 40)
        device.stop()
        return shutil.copytree(device.state, folder / "kept")


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
