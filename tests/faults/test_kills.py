"""Whoever is killed, and whenever: a good model serves soon, and journal, store and broker agree about which."""

from __future__ import annotations

import os

import pytest

from tests.integration.device import CALM

from .campaign import Campaign, plan
from .conftest import BAD, RING
from .onlooker import Onlooker

SEED = int(os.environ.get("LOOKOUT_FAULT_SEED", "20261124"))


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(4, id="sample", marks=pytest.mark.timeout(300)),
        pytest.param(300, id="full", marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
def test_after_every_kill_a_good_model_serves_in_time_and_all_agree_about_which(kills, seasoned, broker, world):
    print(f"LOOKOUT_FAULT_SEED={SEED}")
    device = world.device(
        port=broker.port,
        state=seasoned,
        start=False,
        deploy={**CALM, "safe_mode_after": 0},
        registry={"max_rate_bytes_s": 2_000_000},  # a fetch takes long enough to be killed in
    )
    person = Onlooker(broker.port, device.name)
    try:
        device.start()
        person.meets(RING[0])
        campaign = Campaign(device, person, (*RING[1:], BAD, RING[0]), SEED)
        try:
            campaign.run(plan(kills, SEED))
            campaign.look_whole()
            assert person.models <= set(RING), "only good models ever answered"
        finally:
            print(campaign.figures())
        late = Onlooker(broker.port, device.name)
        try:
            late.wait(lambda: late.report == person.report, 10)  # retained
        finally:
            late.close()
    finally:
        person.close()
