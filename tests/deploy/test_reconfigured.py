"""A running deployer that is given another configuration: what goes on, what is loaded anew, what comes and goes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.deploy.loading import variant_for
from agent.deploy.machine import State
from agent.deploy.records import PipelineSettings
from agent.errors import CommandError, ModelError
from agent.registry.store import Store
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour, FakeRegistry

MAIN, SIDE = PipelineName("main"), PipelineName("side")
JUST_MAIN = PipelineSettings(MAIN)
CPU = "CPUExecutionProvider"


def versions_open(device: Device) -> list[str]:
    return sorted(worker.release.version for worker in device.factory.open())


def reported(device: Device) -> dict:
    assert device.pipeline.current is not None
    return device.pipeline.reported[device.pipeline.current.name]


# --- thresholds and labels -------------------------------------------------------------------------------------------


def test_a_threshold_and_labels_reach_the_worker_that_serves_without_a_swap(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    assert (reported(device)["score"], reported(device)["only"]) == (0.35, None)
    device.reconfigure(PipelineSettings(MAIN, score=0.6, labels=("cat",)))
    device.wait(lambda: reported(device)["score"] == 0.6)
    assert reported(device)["only"] == ("cat",)
    device.reconfigure(JUST_MAIN)
    device.wait(lambda: reported(device) == {"labels": ("face", "cat"), "score": 0.35, "only": None})
    assert len(device.factory.started) == 1


def test_a_changed_threshold_holds_for_a_candidate_that_was_loaded_before_it(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    hang = threading.Event()
    device.factory.behaviours["1.1.0"] = Behaviour(hang=hang)
    device.deployer.deploy(MAIN, "faces:1.1.0")
    device.wait(lambda: len(device.factory.started) == 2)
    device.reconfigure(PipelineSettings(MAIN, score=0.7))
    hang.set()
    device.pipeline.wait_serving("1.1.0")
    assert reported(device)["score"] == 0.7


def test_a_threshold_below_what_the_worker_answers_at_all_loads_the_release_anew_and_a_higher_one_does_not(
    device: Device,
) -> None:
    device.start()
    device.committed("1.0.0")
    device.reconfigure(PipelineSettings(MAIN, score=0.05))
    device.wait(lambda: device.pipeline.current is device.factory.started[-1] and len(device.factory.started) == 2)
    assert device.factory.started[-1].load.score_floor == 0.05
    assert reported(device)["score"] == 0.05
    device.reconfigure(PipelineSettings(MAIN, score=0.5))
    device.wait(lambda: reported(device)["score"] == 0.5)
    assert len(device.factory.started) == 2


# --- how models are run ----------------------------------------------------------------------------------------------


def test_other_threads_load_the_release_beside_the_worker_that_serves_and_swap_it_in(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    old = device.pipeline.current
    row = device.last()
    device.reconfigure(threads=3, spin=True)
    device.wait(lambda: device.pipeline.current is not old)
    new = device.pipeline.current
    assert new is not None
    assert old is not None
    assert (new.load.options.threads, new.load.options.spin, new.promoted) == (3, True, True)
    assert device.pipeline.previous is old, "it stays warm until the new one has answered"
    assert old.alive
    device.pipeline.answer(1)
    assert old.closed.wait(5)
    assert versions_open(device) == ["1.0.0"]
    assert (device.last().state, device.last().current) == (row.state, row.current)
    device.wait(lambda: device.last().degraded is None)


def test_settings_that_change_nothing_about_the_worker_load_nothing(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.reconfigure(probation_frames=7, providers=("CUDAExecutionProvider", CPU))
    device.committed("1.1.0")
    assert len(device.factory.started) == 2


def test_a_release_that_cannot_be_loaded_in_the_new_way_goes_on_in_the_old_one_and_says_so(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    old = device.pipeline.current
    device.factory.behaviours["1.0.0"].load_error = ModelError("no room for its threads")
    device.factory.behaviours["1.0.0"].load_errors = 1
    device.reconfigure(threads=64)
    device.wait(lambda: "no room for its threads" in (device.last().degraded or ""))
    assert device.pipeline.current is old
    device.reconfigure(threads=1)
    device.wait(lambda: device.last().degraded is None)
    assert device.pipeline.current is old
    device.reconfigure(threads=2)
    device.wait(lambda: device.pipeline.current is not old)


def test_a_worker_that_dies_as_it_takes_over_leaves_the_former_one_serving(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    old = device.pipeline.current
    device.reconfigure(threads=2)
    device.wait(lambda: device.pipeline.current is not old)
    device.pipeline.die()
    device.wait(lambda: device.pipeline.current is old)
    assert old is not None
    assert old.alive
    assert versions_open(device) == ["1.0.0"], "it is not tried again by itself"


def test_where_memory_is_short_the_worker_that_serves_is_closed_first(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.available = 50_000_000
    device.reconfigure(threads=2)
    device.wait(lambda: len(device.factory.started) == 2 and device.pipeline.current is device.factory.started[1])
    assert device.factory.started[0].closed.is_set()
    assert "take_out" in device.pipeline.log
    assert device.factory.started[1].load.options.threads == 2


def test_a_trial_is_not_disturbed_and_its_winner_runs_as_configured_in_the_end(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    hang = threading.Event()
    device.factory.behaviours["1.1.0"] = Behaviour(hang=hang)
    device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    device.wait_state(State.TRIAL)
    device.wait(lambda: len(device.factory.started) == 2)
    device.reconfigure(threads=2)
    hang.set()
    device.pipeline.wait_serving("1.1.0")
    assert device.factory.started[1].load.options.threads == 1
    device.pipeline.answer(10)
    device.wait(lambda: len(device.factory.started) == 3)
    assert device.factory.started[2].load.options.threads == 2
    device.wait(lambda: device.pipeline.current is device.factory.started[2])
    assert device.pipeline.serving() == "1.1.0"


def test_what_is_being_brought_back_as_the_settings_change_is_loaded_anew(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    gate = threading.Event()
    device.factory.behaviours["1.0.0"].load_gate = gate
    device.pipeline.die()
    device.wait(lambda: device.last().degraded is not None)
    device.reconfigure(threads=2)
    gate.set()
    device.wait(lambda: device.pipeline.current is not None and device.pipeline.current.load.options.threads == 2)


VARIANTS = [
    {"providers": [CPU], "precision": "int8"},
    {"providers": ["CUDAExecutionProvider"], "precision": "fp16"},
    {"providers": ["CUDAExecutionProvider", CPU], "precision": "fp32"},
]


@pytest.mark.parametrize(
    ("present", "providers", "fresh", "wanted"),
    [
        (0, (CPU,), set(), 0),
        (0, ("CUDAExecutionProvider", CPU), {"CUDAExecutionProvider"}, 1),  # it was named just now, and has one
        (0, ("CUDAExecutionProvider", CPU), set(), 0),  # the trial measured that this one is faster
        (2, ("CUDAExecutionProvider", CPU), {"CUDAExecutionProvider"}, 2),  # it runs there already
        (1, (CPU,), set(), 0),  # the host lost its providers
        (0, (CPU, "CUDAExecutionProvider"), {"CUDAExecutionProvider"}, 0),  # wanted less
        (0, ("TensorrtExecutionProvider", CPU), {"TensorrtExecutionProvider"}, 0),  # nothing is made for it
    ],
)
def test_the_variant_that_its_trial_chose_goes_on_unless_there_is_reason_for_another(
    tmp_path: Path, present: int, providers: tuple[str, ...], fresh: set[str], wanted: int
) -> None:
    registry = FakeRegistry(Store(tmp_path / "store"))
    published = registry.publish("1.0.0")
    (file,) = (variant.file.model_dump() for variant in published.manifest.variants)
    stored = registry.publish("2.0.0", variants=[{**one, "file": file} for one in VARIANTS])
    assert variant_for(stored, present, providers, fresh) == wanted


# --- pipelines that come and go --------------------------------------------------------------------------------------


def test_a_removed_pipeline_is_told_of_no_more_and_every_worker_of_it_is_closed(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.reconfigure(PipelineSettings(SIDE))
    device.wait(lambda: device.factory.open() == [])
    assert [status.pipeline for status in device.deployer.status()] == [SIDE]
    with pytest.raises(CommandError, match="unknown; this device has side"):
        device.deployer.deploy(MAIN, "faces:1.0.0")
    told = len(device.statuses)
    device.deployer.worker_lost(MAIN, device.factory.started[0].release, "killed", fell_back=False)  # told too late
    device.reconfigure(PipelineSettings(SIDE), probation_frames=3)
    assert [status for status in device.statuses[told:] if status.pipeline == MAIN] == []


def test_a_pipeline_that_comes_back_serves_what_it_had(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.reconfigure(PipelineSettings(SIDE))
    device.reconfigure(JUST_MAIN, PipelineSettings(SIDE))
    device.pipelines[MAIN].wait_serving("1.1.0")
    assert device.last("main").previous is not None
    assert device.last("main").previous.version == "1.0.0"
    device.stop()
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.pipelines[MAIN].wait_serving("1.1.0")


def test_a_pipeline_removed_on_probation_comes_back_on_probation(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.reconfigure(PipelineSettings(SIDE))
    device.reconfigure(JUST_MAIN, PipelineSettings(SIDE))
    device.pipelines[MAIN].wait_serving("1.1.0")
    assert device.last("main").state is State.PROBATION
    device.pipelines[MAIN].answer(10)
    device.wait_state(State.COMMITTED)


def test_a_deployment_under_way_is_stopped_with_its_pipeline_answered_and_goes_on_with_it(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    device.registry.gate = threading.Event()
    device.registry.fetching.clear()
    device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    assert device.registry.fetching.wait(5)
    device.reconfigure(PipelineSettings(SIDE))
    outcome = device.wait_outcome(2)
    assert (outcome.ok, outcome.code) == (False, "cancelled")
    assert "removed" in (outcome.reason or "")
    assert device.registry.cancelled.wait(5)
    device.registry.gate = None
    device.reconfigure(JUST_MAIN, PipelineSettings(SIDE))
    device.pipelines[MAIN].wait_serving("1.1.0")


def test_another_pipelines_deployment_does_not_wait_for_one_that_was_removed(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.registry.publish("1.0.0")
    device.registry.gate = threading.Event()
    device.deployer.deploy(MAIN, "faces:1.0.0")
    device.deployer.deploy(SIDE, "faces:1.0.0")
    device.wait(lambda: device.last("side").reason is not None)
    device.reconfigure(PipelineSettings(SIDE))
    device.registry.gate.set()
    device.pipelines[SIDE].wait_serving("1.0.0")


def test_what_is_still_being_loaded_for_a_removed_pipeline_is_closed(device: Device) -> None:
    device.start(JUST_MAIN, PipelineSettings(SIDE))
    device.committed("1.0.0")
    gate = threading.Event()
    device.factory.behaviours["1.0.0"].load_gate = gate
    device.pipeline.die()
    device.wait(lambda: device.last("main").degraded is not None)
    device.reconfigure(PipelineSettings(SIDE))
    gate.set()
    device.wait(lambda: len(device.factory.started) == 2 and device.factory.open() == [])


def test_a_new_pipeline_gets_its_model_at_once(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.reconfigure(JUST_MAIN, PipelineSettings(SIDE, model="faces:1.0.0"))
    device.pipelines[SIDE].wait_serving("1.0.0")
    device.pipelines[SIDE].answer(10)
    device.wait_state(State.COMMITTED, "side")
    assert device.last("main").state is State.COMMITTED


# --- the model that the configuration names --------------------------------------------------------------------------


def test_an_edited_model_is_deployed_and_one_that_stays_is_not(device: Device) -> None:
    device.start(PipelineSettings(MAIN, model="faces:1.0.0"))
    device.registry.publish("1.0.0")
    device.registry.publish("1.1.0")
    device.wait(lambda: device.last() is not None)
    device.reconfigure(PipelineSettings(MAIN, model="faces:1.1.0"))
    device.pipeline.wait_serving("1.1.0")
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)
    fetched = len(device.registry.fetched)
    device.reconfigure(PipelineSettings(MAIN, model="faces:1.1.0", score=0.5))
    device.reconfigure(PipelineSettings(MAIN, model="faces:1.1.0"), probation_frames=9)
    device.committed("1.2.0")
    assert device.registry.fetched[fetched:] == ["faces:1.2.0"], "what an operator deployed stays"


def test_a_model_edited_during_a_probation_is_deployed_when_that_has_ended(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.registry.publish("1.2.0")
    device.reconfigure(PipelineSettings(MAIN, model="faces:1.2.0"))
    assert device.last().state is State.PROBATION
    device.pipeline.answer(10)
    device.pipeline.wait_serving("1.2.0")


def test_previous_is_let_go_when_it_is_to_be_kept_warm_no_longer(device: Device) -> None:
    device.start(keep_previous_warm="always")
    device.committed("1.0.0")
    device.committed("1.1.0")
    assert versions_open(device) == ["1.0.0", "1.1.0"]
    device.reconfigure(keep_previous_warm="probation")
    device.wait(lambda: versions_open(device) == ["1.1.0"])


def test_the_registry_is_asked_as_often_as_is_said_now(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.reconfigure(poll_s=0.05)
    device.wait(lambda: len(device.registry.surveyed) > 2)
    device.reconfigure(poll_s=0.0)
    device.reconfigure(PipelineSettings(MAIN, score=0.4))  # whatever was under way has been answered by now
    asked = len(device.registry.surveyed)
    device.committed("1.1.0")
    assert len(device.registry.surveyed) <= asked + 1
