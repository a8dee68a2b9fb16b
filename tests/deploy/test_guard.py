"""A committed model that leaks is restarted, then given up; one that is merely large is left alone."""

from __future__ import annotations

import time

import pytest

from agent.deploy.machine import State
from agent.deploy.memorywatch import serving_bound
from agent.deploy.records import DeploySettings
from agent.registry.manifest import Budget
from tests.deploy.conftest import Device


@pytest.fixture
def looked_after(device: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr("agent.deploy.guard.LOOK_S", 0.02)
    return device


def leak(device: Device, before: int) -> None:
    """Let the worker that serves be looked at once, then grow until it is killed and its death is told."""
    worker = device.pipeline.current
    assert worker is not None
    time.sleep(0.1)
    assert worker.killed is None
    worker.behaviour.memory_mb = 900.0
    device.wait(lambda: worker.killed is not None, "the guard to kill")
    worker.behaviour.memory_mb = 100.0
    device.pipeline.die(worker.killed or "")
    assert len(device.factory.started) == before


def test_a_leak_after_commit_is_a_death_and_the_third_gives_the_release_up(looked_after: Device) -> None:
    device = looked_after
    device.start(memory_mb=300.0)
    device.committed("1.0.0")
    device.committed("1.1.0")
    started = len(device.factory.started)
    for death in range(2):
        leak(device, started + death)
        device.wait(lambda: device.pipeline.serving() == "1.1.0" and device.last().degraded is None, "1.1.0 again")
    leak(device, started + 2)
    device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    reason = device.last().reason or ""
    assert "died 3 times in ten minutes" in reason
    assert "grew from 100 to 900 MB while it served, at most 300 MB are allowed (deploy.memory_mb)" in reason


def test_a_bound_below_what_the_committed_model_holds_blinds_nobody(looked_after: Device) -> None:
    device = looked_after
    device.start()
    device.committed("1.0.0")
    device.stop()
    device.start(memory_mb=50.0)
    device.pipeline.wait_serving("1.0.0")
    time.sleep(0.2)
    assert device.pipeline.current is not None
    assert device.pipeline.current.killed is None


def test_probation_judges_the_memory_of_its_candidate_itself(looked_after: Device) -> None:
    device = looked_after
    device.start(memory_mb=300.0)
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    candidate = device.pipeline.current
    assert candidate is not None
    candidate.behaviour.memory_mb = 900.0
    time.sleep(0.1)
    assert candidate.killed is None
    device.pipeline.answer(1)
    device.wait_state(State.ROLLED_BACK)


def test_the_bound_is_the_lowest_that_was_stated_else_half_of_the_host() -> None:
    assert serving_bound(DeploySettings(memory_mb=300.0), Budget(memory_mb=200.0)) == (
        200_000_000,
        "the manifest's budget",
    )
    assert serving_bound(DeploySettings(memory_mb=100.0), None)[1] == "deploy.memory_mb"
    assert serving_bound(DeploySettings(), Budget(latency_ms_p95=10.0))[1] == "half of this host's memory"
