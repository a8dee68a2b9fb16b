"""A whole device and its registry over time: a moving channel, new keys, a yank, a damaged copy, a doubtful clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import synchronised
from tests.conftest import Broker
from tests.fakes.registry import Shop
from tools.registry.maintain import set_channel, yank
from tools.registry.rotate import rotate
from tools.registry.serve import RegistryServer

from . import shelf
from .conftest import World
from .device import PIPELINE, Device


@pytest.fixture
def own_shop(tmp_path: Path) -> Shop:
    """A registry of this test, to be changed at will."""
    made = Shop(tmp_path / "shop")
    for version in ("1.0.0", "1.1.0"):
        made.publish(version)
    set_channel(made.registry, made.keys, "tiny", "stable", "1.0.0")
    return made


@pytest.fixture
def own_world(tmp_path_factory: pytest.TempPathFactory, own_shop: Shop) -> Iterator[World]:
    from contextlib import ExitStack

    with RegistryServer(own_shop.registry) as server, ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("w"), server, own_shop.made.root, stack)


def committed(device: Device, version: str) -> None:
    device.wait_status(lambda s: s.pipelines[0].deployment == "committed" and s.pipelines[0].version == version, 40)


def test_a_device_follows_its_channel_through_new_keys_and_back_from_a_yank(own_world: World, own_shop: Shop) -> None:
    device = own_world.device(
        pipelines={PIPELINE: {"model": "tiny@stable"}}, registry={"url": own_world.registry.url, "poll_s": 0.5,
        "trust_clock": True}, deploy={"on_yank": "rollback"},
    )  # fmt: skip
    committed(device, "1.0.0")
    for role in ("root", "timestamp", "targets"):
        rotate(own_shop.registry, own_shop.keys, [role])
    set_channel(own_shop.registry, own_shop.keys, "tiny", "stable", "1.1.0")
    committed(device, "1.1.0")
    yank(own_shop.registry, own_shop.keys, "tiny", "1.1.0", "blind in the rain")
    device.wait_status(lambda s: s.pipelines[0].deployment == "rolled_back" and s.pipelines[0].version == "1.0.0", 40)
    device.wait_serving("tiny:1.0.0")
    assert device.status().degraded == ()


def test_a_copy_damaged_on_disk_comes_back_from_the_registry(own_world: World) -> None:
    device = own_world.device(pipelines={PIPELINE: {"model": "tiny:1.0.0"}})
    committed(device, "1.0.0")
    device.stop()
    blobs = sorted((device.state / "store" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    for blob in blobs:
        blob.write_bytes(blob.read_bytes()[::-1])
    device.start()
    device.wait_serving("tiny:1.0.0", 40)
    committed(device, "1.0.0")


@pytest.mark.skipif(synchronised(), reason="something keeps this host's clock right")
def test_a_device_whose_clock_nothing_keeps_right_waits_and_says_so(world: World, broker: Broker) -> None:
    device = world.device(port=broker.port, start=False)
    device.config["registry"]["trust_clock"] = False
    person = world.person(broker.port, device)
    device.start()
    person.deploy(shelf.TINY)
    said = person.wait_state(shelf.TINY, "waiting_for_clock")
    assert "registry.trust_clock" in said["reason"]
    late = person.send_raw("device/ping", b'{"v":1,"id":"late","expires_at":"2099-01-01T00:00:00Z"}')
    assert late["error"]["code"] == "clock_unsynced"
    assert person.command("device/ping")["ok"]
    device.stop()
    device.config["registry"]["trust_clock"] = True
    device.start()
    person.wait_state(shelf.TINY, "committed", timeout_s=40)
