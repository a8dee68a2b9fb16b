"""The power goes, and with it all that was not synced: a good model serves soon, and none is called bad for it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import atomic
from tests.integration.device import CALM, Device

from .conftest import BAD, RING, lying_on
from .onlooker import Onlooker
from .outages import Outages, Supply, plan

SEED = int(os.environ.get("LOOKOUT_FAULT_SEED", "20261124"))


@pytest.fixture
def hung_up(fragile, broker, world) -> Callable[..., tuple[Device, Supply]]:
    """Make a device whose state lies on the disk, and its power; it is not yet started, but at least provisioned."""

    def make(state: Path | None = None, **changes: Any) -> tuple[Device, Supply]:
        device = lying_on(fragile, world, broker.port, state, **changes)
        supply = Supply(fragile, device, SEED)
        if state is None:
            device.provision(world.root)
        return device, supply

    return make


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.faults) for seed in (1, 2))])
def test_a_cut_takes_what_was_not_synced_and_spares_what_agent_atomic_wrote(seed, fragile):
    fragile.folder.joinpath("renamed").write_text("old")
    fragile.folder.joinpath("folder").mkdir()
    atomic.write_text(fragile.folder / "whole", "first")
    os.sync()
    fragile.folder.joinpath("unsynced").write_text("gone")
    fragile.folder.joinpath("beside").write_text("new")
    fragile.folder.joinpath("beside").replace(fragile.folder / "renamed")
    atomic.write_text(fragile.folder / "folder" / "whole", "second")  # what was begun before may come with it, or not
    fragile.folder.joinpath("late").write_text("gone")
    fragile.folder.joinpath("whole").write_text("overwritten, not synced")
    fragile.cut(seed)
    fragile.power_off()
    fragile.check()
    fragile.power_on()
    assert (fragile.folder / "folder" / "whole").read_text() == "second"
    assert not (fragile.folder / "late").exists()
    for name in ("unsynced", "renamed", "whole"):
        path = fragile.folder / name
        found = path.read_bytes() if path.exists() else b""
        print(name, found)
        assert found not in (b"gone", b"new", b"overwritten, not synced")


def test_a_device_that_loses_its_power_right_after_its_provisioning_is_provisioned(hung_up, broker):
    device, supply = hung_up()
    supply.freeze()
    supply.come_back()
    person = Onlooker(broker.port, device.name)
    try:
        device.start()
        person.deployed_first(RING[0])
    finally:
        person.close()


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_device_whose_power_goes_again_and_again_in_its_first_life_takes_its_first_release(hung_up, broker):
    device, supply = hung_up(deploy=CALM)
    person, rng = Onlooker(broker.port, device.name), random.Random(SEED)
    try:
        for number in range(25):
            device.start(wait=False)
            if number % 2:
                person.order("model/deploy", f"first-{number}", 2, reference=RING[0])
            time.sleep(rng.uniform(0, 1.2))
            supply.cut()
            supply.come_back()
        device.start()
        person.wait_for_payload(person.topic("status"), b"online", 20)
        answer = person.order("model/deploy", "at-last", 20, reference=RING[0])
        assert answer is not None
        assert answer["ok"], answer
        person.wait(lambda: person.report["state"] == "committed")
        device.wait_serving(RING[0])
        assert [path.name for path in device.state.rglob("*.broken")] == []
    finally:
        person.close()


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(1, id="sample", marks=pytest.mark.timeout(240)),
        pytest.param(100, id="full", marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
def test_after_every_power_cut_a_good_model_serves_in_time_and_what_was_told_is_still_so(
    cuts, hung_up, seasoned, broker
):
    print(f"LOOKOUT_FAULT_SEED={SEED}")
    device, supply = hung_up(seasoned, deploy=CALM)  # safe mode as configured: a power cut is no crash
    person = Onlooker(broker.port, device.name)
    try:
        device.start()
        person.meets(RING[0])
        campaign = Outages(device, person, (*RING[1:], BAD, RING[0]), SEED, supply)
        try:
            campaign.run(plan(cuts, SEED))
            campaign.look_whole()
            assert person.models <= set(RING), "only good models ever answered"
        finally:
            print(campaign.figures())
    finally:
        person.close()
