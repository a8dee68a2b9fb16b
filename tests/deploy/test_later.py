"""Deferred deployments, and what a newer deploy or a cancel does in every state before probation."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import utc_ms
from agent.deploy.later import share_ms
from agent.deploy.machine import BEFORE_PROBATION, State
from agent.deploy.records import DeployOptions, PipelineSettings
from agent.errors import DeploymentRefused
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour

MAIN = PipelineName("main")
HOUR_MS = 3_600_000


def defer(device: Device, version: str, ahead_ms: int) -> None:
    device.registry.publish(version)
    options = DeployOptions(not_before_ms=utc_ms() + device.ahead_ms + ahead_ms)
    device.deployer.deploy(MAIN, f"faces:{version}", options=options, on_done=device.done)


def test_a_deferred_deployment_begins_when_its_time_has_come(device: Device):
    device.start()
    defer(device, "1.0.0", 300)
    status = device.wait_state(State.DEFERRED)
    assert status.not_before is not None
    assert device.registry.fetched == []
    device.wait_state(State.PROBATION)
    assert device.last().not_before is None


def test_one_whose_time_has_passed_begins_at_once(device: Device):
    device.start()
    defer(device, "1.0.0", -HOUR_MS)
    device.wait_state(State.PROBATION)
    assert State.DEFERRED not in {status.state for status in device.statuses}


def test_it_waits_over_restarts_and_kills_and_begins_at_the_start_after_its_time(device: Device):
    device.start()
    device.committed("1.0.0")
    defer(device, "1.1.0", HOUR_MS)
    for end in (device.kill, device.stop, device.kill, device.kill, device.kill):
        end()
        device.start(safe_mode_after=0)
        device.pipeline.wait_serving("1.0.0")
        assert device.wait_state(State.DEFERRED).reference == "faces:1.1.0"
    device.stop()
    device.ahead_ms = 2 * HOUR_MS
    device.start()
    device.pipeline.wait_serving("1.1.0")


def test_a_deferred_deployment_does_not_hold_others_up(device: Device):
    device.start(PipelineSettings(MAIN), PipelineSettings(PipelineName("other")))
    defer(device, "1.0.0", HOUR_MS)
    device.registry.publish("1.1.0")
    device.deployer.deploy(PipelineName("other"), "faces:1.1.0")
    device.wait_state(State.PROBATION, "other")
    assert device.last("main").state is State.DEFERRED


@given(st.floats(0.001, 86_400), st.text(min_size=1), st.text(min_size=1))
def test_a_share_is_within_the_spread_and_always_the_same_for_one_device_and_order(spread_s, device, order):
    share = share_ms(spread_s, device, order)
    assert share is not None
    assert 0 <= share <= spread_s * 1000 + 1
    assert share_ms(spread_s, device, order) == share


def test_shares_of_many_devices_are_spread_evenly_and_each_order_draws_anew():
    shares = [share_ms(100, f"cam-{number}", "monday-7") for number in range(1000)]
    in_tenths = Counter(min(9, share // 10_000) for share in shares if share is not None)
    assert all(60 < in_tenths[tenth] < 150 for tenth in range(10)), in_tenths
    again = [share_ms(100, f"cam-{number}", "monday-8") for number in range(1000)]
    assert sum(abs(a - b) < 1000 for a, b in zip(shares, again, strict=True) if a is not None and b is not None) < 50
    assert share_ms(None, "cam-1", "x") is None
    assert share_ms(0, "cam-1", "x") is None


def spread(device: Device, version: str, part_ms: int, ahead_ms: int | None = None) -> None:
    device.registry.publish(version)
    at_ms = None if ahead_ms is None else utc_ms() + device.ahead_ms + ahead_ms
    options = DeployOptions(not_before_ms=at_ms, spread_ms=part_ms)
    device.deployer.deploy(MAIN, f"faces:{version}", options=options, on_done=device.done)


def test_a_device_waits_its_part_of_the_spread_and_then_begins(device: Device):
    device.start()
    spread(device, "1.0.0", 300)
    assert device.wait_state(State.DEFERRED).not_before is not None
    assert device.registry.fetched == []
    device.wait_state(State.PROBATION)


def test_the_part_of_the_spread_comes_on_top_of_a_moment(device: Device):
    device.start()
    began_ms = utc_ms()
    spread(device, "1.0.0", 300, 300)
    device.wait_state(State.PROBATION)
    assert utc_ms() - began_ms >= 590


@pytest.mark.parametrize("jump_ms", [-365 * 24 * HOUR_MS, 365 * 24 * HOUR_MS], ids=["back", "ahead"])
def test_a_clock_that_jumps_does_not_change_how_long_a_device_waits_its_part(device: Device, jump_ms: int):
    device.start()
    began = time.monotonic()
    spread(device, "1.0.0", 400)
    device.wait_state(State.DEFERRED)
    device.ahead_ms = jump_ms
    device.wait_state(State.PROBATION)
    assert time.monotonic() - began >= 0.39


def test_a_part_that_is_waited_for_goes_on_over_restarts_and_is_not_waited_for_twice(device: Device):
    device.start()
    device.committed("1.0.0")
    spread(device, "1.1.0", HOUR_MS)
    for end in (device.kill, device.stop):
        end()
        device.start(safe_mode_after=0)
        device.pipeline.wait_serving("1.0.0")
        assert device.wait_state(State.DEFERRED).reference == "faces:1.1.0"
    device.stop()
    device.ahead_ms = HOUR_MS + 1
    device.start()
    device.pipeline.wait_serving("1.1.0")


def test_after_a_restart_with_a_clock_of_long_ago_no_more_than_the_part_is_waited_for(device: Device):
    device.start()
    spread(device, "1.0.0", 400)
    device.wait_state(State.DEFERRED)
    device.stop()
    device.ahead_ms = -365 * 24 * HOUR_MS
    device.start()
    device.wait_state(State.PROBATION)


def waits_in(device: Device, state: State) -> None:
    """Bring a deployment of 1.1.0 into ``state`` and hold it there."""
    device.registry.publish("1.1.0")
    options = DeployOptions()
    if state is State.DEFERRED:
        options = DeployOptions(not_before_ms=utc_ms() + HOUR_MS)
    elif state is State.RESOLVING:
        device.registry.gate = threading.Event()
    elif state is State.FETCHING:
        device.registry.gate = threading.Event()
        fetch = device.registry.fetch

        def and_say_so(reference, *, on_progress, cancel):  # type: ignore[no-untyped-def]
            from agent.process.messages import Progress

            on_progress(Progress("fetching", 1, 2))
            return fetch(reference, on_progress=lambda _: None, cancel=cancel)

        device.registry.fetch = and_say_so  # type: ignore[method-assign]
    elif state is State.VERIFYING:
        verify = device.store.verify
        gate = device.verify_gate = threading.Event()  # type: ignore[attr-defined]
        device.store.verify = lambda digest: (gate.wait(5), verify(digest))[1]  # type: ignore[method-assign]
    elif state is State.TRIAL:
        device.factory.behaviours["1.1.0"] = Behaviour(hang=threading.Event())
    elif state is State.SHADOW:
        options = DeployOptions(shadow_frames=1000)
    device.deployer.deploy(MAIN, "faces:1.1.0", options=options, on_done=device.done)
    device.wait_state(state)
    if state is State.SHADOW:
        device.wait(lambda: device.pipeline.shadowed is not None)


def let_go(device: Device) -> None:
    if device.registry.gate is not None:
        device.registry.gate.set()
    if hasattr(device, "verify_gate"):
        device.verify_gate.set()


HELD = sorted(BEFORE_PROBATION - {State.WAITING_FOR_CLOCK}, key=lambda state: state.value)


@pytest.mark.parametrize("state", HELD, ids=lambda state: state.value)
def test_a_newer_deploy_supersedes_in_every_state_before_probation(device: Device, state: State):
    device.start(golden_timeout_s=60.0)
    device.committed("1.0.0")
    device.outcomes.clear()
    waits_in(device, state)
    device.registry.publish("1.2.0")
    accepted = device.deployer.deploy(MAIN, "faces:1.2.0")
    assert accepted.supersedes == "faces:1.1.0"
    assert device.wait_outcome().state is State.SUPERSEDED
    let_go(device)
    device.pipeline.wait_serving("1.2.0")
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)
    device.wait(lambda: len(device.factory.open()) == 1, "every worker but the serving one is closed")


@pytest.mark.parametrize("state", HELD, ids=lambda state: state.value)
def test_a_cancel_ends_it_in_every_state_before_probation_and_current_serves_on(device: Device, state: State):
    device.start(golden_timeout_s=60.0)
    device.committed("1.0.0")
    device.outcomes.clear()
    waits_in(device, state)
    device.deployer.cancel(MAIN)
    assert device.wait_outcome().state is State.CANCELLED
    let_go(device)
    device.wait(lambda: len(device.factory.open()) == 1)
    assert device.pipeline.serving() == "1.0.0"
    assert device.last().state is State.CANCELLED


def test_in_probation_and_at_rest_there_is_nothing_to_cancel(device: Device):
    device.start()
    with pytest.raises(DeploymentRefused, match="nothing to cancel"):
        device.deployer.cancel(MAIN)
    device.to_probation("1.0.0")
    with pytest.raises(DeploymentRefused, match="probation"):
        device.deployer.cancel(MAIN)
