"""Whole devices under attack: the fixtures of the integration tests, with a registry of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.fakes.models import slow_model, tiny_detector
from tests.fakes.registry import Shop
from tests.integration import shelf
from tests.integration.conftest import World, aged, broker, registry, world
from tests.integration.device import Device
from tests.once import Once
from tools.registry.serve import RegistryServer

from .disk import FragileDisk

__all__ = ["broker", "registry", "shop", "world"]

RING = ("ring:1.0.0", "ring:1.1.0", "ring:1.2.0")
"""Three releases that differ in their bytes: the device keeps two of them, so each deployment fetches one anew."""
RING_BYTES = 300_000
BAD = shelf.LYING
"""Fails at its golden image."""


def _ring_model(path: Path, reference: str) -> None:
    model = onnx.load(tiny_detector(path))
    model.metadata_props.add(key="release", value=reference.ljust(RING_BYTES, "."))
    onnx.save(model, path)


@pytest.fixture(scope="session")
def shop(once: Once) -> Shop:
    """The registry's folder and keys. Not to be changed."""
    return once("faults-shop", _stocked)


def _stocked(folder: Path) -> Shop:
    made = Shop(folder)
    made.state.mkdir()
    for reference in RING:
        shelf.publish(made, reference, partial(_ring_model, reference=reference))
    shelf.publish(made, BAD, partial(tiny_detector, constant=[(40, 40, 48, 48, 1.0, 2)]))
    for reference in (shelf.STEADY, shelf.STEADIER):
        shelf.publish(made, reference, partial(slow_model, steps=shelf.STEPS))
    return made


@pytest.fixture(scope="session")
def seasoned(once: Once, registry: RegistryServer, shop: Shop) -> Path:
    """The state of a device that has the first release of the ring committed: what most tests begin with."""
    return once("seasoned", lambda folder: aged(folder, registry, shop, RING[0]))


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[FragileDisk]:
    """A disk whose power can go. Requested before ``world``, so that it is unmounted after the last process ended."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system of its own")
    made = FragileDisk(tmp_path / "disk")
    try:
        made.power_on()
        yield made
    finally:
        made.unmount()


def lying_on(disk: FragileDisk, world: World, port: int, state: Path | None = None, **changes: Any) -> Device:
    """Make a device whose state lies on the disk; to be started, and without ``state`` to be provisioned first."""
    room = {"registry": {"free_floor_mb": 0, "max_rate_bytes_s": 2_000_000}}
    rest = {**room, **changes, "paths": {"state": str(disk.folder / "state")}}
    device = world.device(port=port, state=state, start=False, provisioned=False, **rest)
    os.sync()  # what it begins with is on the disk
    return device
