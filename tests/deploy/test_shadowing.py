"""The shadow of a deployment: compared before the swap, reported, and refused where it was asked to agree."""

from __future__ import annotations

import struct

import pytest

from agent.deploy.machine import State
from agent.deploy.records import DeployOptions, DeploySettings, Outcome
from agent.deploy.row import Row
from agent.deploy.shadowing import terms
from agent.loop.records import ShadowPair
from agent.process.messages import Output
from agent.types import CameraName, PipelineName, Timings
from tests.deploy.conftest import Device
from tests.fakes.deploying import BOX

MAIN = PipelineName("main")
SAME = struct.pack("=6f", *BOX, 0.9, 0)
ELSEWHERE = struct.pack("=6f", 60, 60, 90, 90, 0.9, 0)


def output(rows: bytes, run_ms: float = 5.0) -> Output:
    return Output(1, "shadow", 100, 100, Timings(0.0, 0.0, run_ms, 0.0), detections=rows)


def show(device: Device, candidate: bytes, count: int) -> None:
    """Let both answer ``count`` frames."""
    current = device.pipeline.current
    assert current is not None
    for _ in range(count):
        pair = ShadowPair(current.release, CameraName("yard"), output(SAME), output(candidate, 10.0))
        device.deployer.shadow_seen(MAIN, pair)


def to_shadow(device: Device, version: str = "1.1.0", **options: object) -> None:
    device.registry.publish(version)
    asked = DeployOptions(**{"shadow_frames": 5, **options})  # type: ignore[arg-type]
    device.deployer.deploy(MAIN, f"faces:{version}", options=asked, on_done=device.done)
    device.wait_state(State.SHADOW)
    device.wait(lambda: device.pipeline.shadowed is not None)


@pytest.fixture
def serving(device: Device) -> Device:
    device.start()
    device.committed("1.0.0")
    device.outcomes.clear()
    return device


def ended(device: Device) -> Outcome:
    return device.wait_outcome()


def test_a_candidate_is_compared_then_swapped_in_and_the_receipt_tells(serving: Device):
    to_shadow(serving)
    assert serving.pipeline.serving() == "1.0.0"
    candidate = serving.pipeline.shadowed
    show(serving, SAME, 5)
    serving.pipeline.wait_serving("1.1.0")
    assert serving.pipeline.current is candidate
    serving.pipeline.answer(10)
    receipt = ended(serving).receipt
    assert receipt is not None
    assert receipt.shadow is not None
    assert (receipt.shadow.frames, receipt.shadow.wanted, receipt.shadow.agreement) == (5, 5, 1.0)
    assert receipt.shadow.latency_ratio == 2.0
    assert serving.last().shadow == receipt.shadow


def test_one_that_disagrees_is_reported_and_serves_where_no_bound_was_set(serving: Device):
    to_shadow(serving)
    show(serving, ELSEWHERE, 5)
    serving.wait_state(State.PROBATION)
    assert serving.last().shadow is not None
    assert serving.last().shadow.agreement == 0.0  # type: ignore[union-attr]


def test_one_that_agrees_too_little_is_refused_in_words_and_handed_back(serving: Device):
    to_shadow(serving, min_agreement=0.8)
    candidate = serving.pipeline.shadowed
    show(serving, ELSEWHERE, 5)
    outcome = ended(serving)
    assert (outcome.state, outcome.code) == (State.FAILED, "trial_failed")
    assert "matched F1 0.000, at least 0.8 needed" in (outcome.reason or "")
    assert serving.pipeline.serving() == "1.0.0"
    assert candidate is not None
    assert candidate.closed.wait(2)
    assert len(serving.journal.quarantined()) == 1


def test_the_bound_of_the_configuration_holds_where_the_deploy_says_nothing(device: Device):
    device.start(shadow_frames=3, min_agreement=0.8)
    device.committed("1.0.0")  # nothing serves to compare with
    device.outcomes.clear()
    device.registry.publish("1.1.0")
    device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    device.wait_state(State.SHADOW)
    device.wait(lambda: device.pipeline.shadowed is not None)
    show(device, ELSEWHERE, 3)
    assert ended(device).state is State.FAILED


def test_time_that_passes_without_frames_refuses_only_where_agreement_was_asked_for(serving: Device):
    serving.stop()
    serving.start(shadow_timeout_s=0.1)
    serving.pipeline.wait_serving("1.0.0")
    to_shadow(serving, min_agreement=0.5)
    outcome = ended(serving)
    assert "only 0 of 5 frames could be compared: 0.1 s had passed" in (outcome.reason or "")
    assert serving.journal.quarantined() == {}, "a dead camera is no verdict on a model"
    to_shadow(serving)
    serving.wait_state(State.PROBATION)
    assert serving.last().shadow.stopped == "0.1 s had passed"  # type: ignore[union-attr]


def test_current_that_suffers_ends_the_shadow_with_a_report(serving: Device):
    to_shadow(serving)
    show(serving, SAME, 2)
    serving.deployer.shadow_stopped(MAIN, "the current model fell from 20.0 to 10.0 frames a second beside it")
    serving.wait_state(State.PROBATION)
    report = serving.last().shadow
    assert report is not None
    assert report.frames == 2
    assert "fell from 20.0" in (report.stopped or "")


@pytest.mark.parametrize("reason", ["killed by SIGSEGV", "output 0 is not finite"])
def test_a_candidate_that_fails_in_its_shadow_never_serves(serving: Device, reason: str):
    to_shadow(serving)
    candidate = serving.pipeline.shadowed
    assert candidate is not None
    serving.deployer.shadow_failed(MAIN, candidate.release, reason)
    outcome = ended(serving)
    assert outcome.state is State.FAILED
    assert f"in its shadow: {reason}" in (outcome.reason or "")
    assert serving.pipeline.serving() == "1.0.0"
    assert list(serving.journal.quarantined()) == [candidate.release.digest]


def test_a_cancel_a_newer_deploy_and_a_rollback_end_the_shadow(serving: Device):
    for number, order in enumerate(("cancel", "rollback", "deploy")):
        to_shadow(serving, f"1.{number + 1}.0")
        candidate = serving.pipeline.shadowed
        serving.registry.publish("2.0.0")
        if order == "deploy":
            serving.deployer.deploy(MAIN, "faces:2.0.0")
        else:
            getattr(serving.deployer, order)(MAIN)
        assert candidate is not None
        assert candidate.closed.wait(2), order
    serving.pipeline.wait_serving("2.0.0")


def test_a_kill_in_the_shadow_begins_the_deployment_again(serving: Device):
    to_shadow(serving)
    serving.kill()
    serving.start()
    serving.pipeline.wait_serving("1.0.0")
    serving.wait_state(State.SHADOW)
    serving.wait(lambda: serving.pipeline.shadowed is not None)
    show(serving, SAME, 5)
    serving.pipeline.wait_serving("1.1.0")


def test_a_dead_current_is_replaced_while_the_shadow_goes_on(serving: Device):
    to_shadow(serving)
    serving.pipeline.die()
    serving.pipeline.wait_serving("1.0.0")
    show(serving, SAME, 5)
    serving.pipeline.wait_serving("1.1.0")


@pytest.mark.parametrize(
    ("asked", "configured", "frames", "bound"),
    [
        ((None, None), (0, None), 0, None),
        ((None, None), (50, 0.8), 50, 0.8),
        ((7, None), (50, 0.8), 7, 0.8),
        ((0, None), (50, 0.8), 0, 0.8),
        ((None, 0.5), (0, None), 100, 0.5),
        ((None, None), (0, 0.8), 100, 0.8),
        ((0, 0.5), (0, None), 100, 0.5),
    ],
)
def test_the_deploys_own_terms_win_and_a_bound_is_never_silently_dropped(asked, configured, frames, bound):
    row = Row(MAIN, shadow_frames=asked[0], min_agreement=asked[1])
    settings = DeploySettings(shadow_frames=configured[0], min_agreement=configured[1])
    assert terms(row, settings, comparable=True) == (frames, bound)
    assert terms(row, settings, comparable=False) == (0, bound)
