"""Where memory is short for both, current is unloaded first, and comes back if the candidate fails."""

from __future__ import annotations

import threading

import pytest

from agent.deploy.machine import State
from agent.deploy.records import DeployOptions
from agent.errors import ModelError
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour

MAIN = PipelineName("main")
MB = 1_000_000


@pytest.fixture
def short(device: Device) -> Device:
    """A device on which 1.0.0 serves and memory has become short: 100 MB of the fake's models, 120 MB left."""
    device.start(memory_floor_mb=100)
    device.committed("1.0.0")
    device.available = 120 * MB
    return device


def test_current_is_closed_before_the_candidate_is_loaded_and_the_receipt_says_so(short: Device):
    old = short.factory.started[0]
    short.registry.publish("1.1.0")
    loaded_beside = []
    start = short.factory.start
    short.factory.start = lambda **rest: (loaded_beside.append(not old.closed.is_set()), start(**rest))[1]  # type: ignore[method-assign]
    outcome = short.deploy("faces:1.1.0")
    assert outcome.ok
    assert loaded_beside == [False]
    assert outcome.receipt is not None
    assert outcome.receipt.unload_first
    assert outcome.receipt.memory_mb.before == 100.0
    assert outcome.receipt.latency_ms.before is not None
    assert [line for line in short.pipeline.log if "frames" not in line][-2:] == ["take_out", "swap 1.1.0"]
    short.wait(lambda: short.last().degraded is None)


def test_current_comes_back_when_the_candidate_fails_its_trial(short: Device):
    short.registry.publish("1.1.0")
    short.factory.behaviours["1.1.0"] = Behaviour(load_error=ModelError("no such operator"))
    outcome = short.deploy("faces:1.1.0")
    assert outcome.state is State.FAILED
    short.pipeline.wait_serving("1.0.0")
    short.wait(lambda: short.last().degraded is None)


def test_current_comes_back_when_the_candidate_is_rolled_back_and_not_beside_it(short: Device):
    short.to_probation("1.1.0")
    candidate = short.pipeline.current
    short.pipeline.bad_output()
    short.wait_state(State.ROLLED_BACK)
    short.pipeline.wait_serving("1.0.0")
    assert candidate is not None
    assert candidate.killed is not None
    assert short.last().current.version == "1.0.0"  # type: ignore[union-attr]


def test_current_comes_back_when_the_deployment_is_cancelled_in_its_trial(short: Device):
    short.registry.publish("1.1.0")
    short.factory.behaviours["1.1.0"] = Behaviour(hang=threading.Event())
    short.deployer.deploy(MAIN, "faces:1.1.0", on_done=short.done)
    short.wait(lambda: len(short.factory.started) == 2)
    assert "unloaded to make room" in (short.last().degraded or "")
    short.deployer.cancel(MAIN)
    short.pipeline.wait_serving("1.0.0")


def test_the_old_model_comes_back_after_a_kill_in_the_middle(short: Device):
    short.registry.publish("1.1.0")
    short.factory.behaviours["1.1.0"] = Behaviour(hang=threading.Event())
    short.deployer.deploy(MAIN, "faces:1.1.0")
    short.wait(lambda: len(short.factory.started) == 2)
    short.kill()
    short.factory.behaviours["1.1.0"] = Behaviour()
    short.available = None
    short.start()
    short.pipeline.wait_serving("1.0.0")
    short.wait_state(State.PROBATION)


def test_a_stop_in_its_probation_rolls_back_for_there_is_no_memory_to_try_both_again(short: Device):
    short.to_probation("1.1.0")
    short.stop()
    short.start()
    assert "no memory for both" in (short.wait_state(State.ROLLED_BACK).reason or "")
    short.pipeline.wait_serving("1.0.0")
    assert short.journal.quarantined() == {}


def test_what_cannot_fit_even_alone_is_refused_and_current_is_untouched(short: Device):
    short.registry.publish("1.1.0", requires={"memory_mb": 500})
    outcome = short.deploy("faces:1.1.0")
    assert (outcome.state, outcome.code) == (State.FAILED, "memory")
    assert "it needs 500 MB (requires.memory_mb" in (outcome.reason or "")
    assert short.pipeline.serving() == "1.0.0"
    assert "take_out" not in short.pipeline.log
    assert short.journal.quarantined() == {}


def test_what_a_comparison_was_asked_for_is_not_swapped_in_without_one(short: Device):
    short.registry.publish("1.1.0")
    outcome = short.deploy("faces:1.1.0", options=DeployOptions(shadow_frames=10, min_agreement=0.5))
    assert (outcome.state, outcome.code) == (State.FAILED, "memory")
    assert "without min_agreement" in (outcome.reason or "")
    assert "take_out" not in short.pipeline.log


def test_enough_memory_keeps_current_beside(device: Device):
    device.start()
    device.committed("1.0.0")
    device.available = 1000 * MB
    device.committed("1.1.0")
    assert "take_out" not in device.pipeline.log


def test_a_rollback_by_the_operator_unloads_first_too(short: Device):
    short.committed("1.1.0")
    newer = short.pipeline.current
    short.deployer.rollback(MAIN, on_done=short.done)
    short.pipeline.wait_serving("1.0.0")
    short.wait_state(State.ROLLED_BACK)
    assert newer is not None
    assert newer.closed.is_set()
    short.wait(lambda: short.last().degraded is None)


def test_a_rollback_for_which_previous_cannot_be_loaded_brings_current_back(short: Device):
    short.committed("1.1.0")
    short.factory.behaviours["1.0.0"] = Behaviour(load_error=ModelError("no such operator"))
    before = len(short.outcomes)
    short.deployer.rollback(MAIN, on_done=short.done)
    short.wait(lambda: len(short.outcomes) > before)
    assert not short.outcomes[-1].ok
    short.pipeline.wait_serving("1.1.0")
    short.wait(lambda: short.last().degraded is None)
