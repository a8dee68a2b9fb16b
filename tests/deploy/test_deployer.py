"""The promises of a deployment, driven from end to end over fakes; a fault is injected at every step."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agent.deploy.machine import State
from agent.deploy.records import PipelineSettings
from agent.errors import (
    ChildDied,
    ChildHung,
    CommandError,
    DeploymentRefused,
    LookoutError,
    MetadataExpired,
    ModelError,
    ReferenceError,  # noqa: A004 - see agent.errors
    RegistryUnreachable,
    StorageError,
)
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour, not_finite

MAIN = PipelineName("main")


def states(device: Device) -> list[str]:
    seen: list[str] = []
    for status in device.statuses:
        if not seen or seen[-1] != status.state.value:
            seen.append(status.state.value)
    return seen


# --- the way that goes well ------------------------------------------------------------------------------------------


def test_a_deployment_passes_every_state_and_gives_a_receipt(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.statuses.clear()
    device.pipeline.frames = 500
    device.registry.publish("1.1.0")
    outcome = device.deploy("faces:1.1.0")

    assert outcome.ok
    wanted = ["resolving", "fetching", "verifying", "trial", "probation", "committed"]
    assert [state for state in states(device) if state in wanted] == wanted
    receipt = outcome.receipt
    assert receipt is not None
    assert receipt.old is not None
    assert (receipt.old.version, receipt.new.version) == ("1.0.0", "1.1.0")
    assert (receipt.gap_ms, receipt.lost, receipt.skipped) == (0.4, 0, 0)
    assert receipt.latency_ms.before is not None
    assert receipt.latency_ms.after is not None
    assert (receipt.latency_ms.before.frames, receipt.latency_ms.after.frames) == (500, 10)
    assert (receipt.memory_mb.before, receipt.memory_mb.after) == (100.0, 100.0)
    assert receipt.trial is not None
    assert receipt.trial.variants[0].latency_ms.frames >= 10
    assert receipt.trial.variants[0].golden_matched == 1


def test_the_worker_that_passed_the_trial_is_the_one_that_serves(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    (worker,) = device.factory.started
    assert device.pipeline.current is worker
    assert worker.candidate
    assert worker.promoted


def test_the_first_model_has_no_gap_and_a_probation(device: Device) -> None:
    device.start()
    device.to_probation("1.0.0")
    assert device.last().current is None
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)
    receipt = device.wait_outcome().receipt
    assert receipt is not None
    assert receipt.gap_ms is None


def test_previous_stays_warm_until_commit_and_is_closed_then(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    old = device.pipeline.current
    device.to_probation("1.1.0")
    assert device.pipeline.previous is old
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)
    assert old is not None
    assert old.closed.wait(2)


def test_previous_stays_warm_after_commit_where_the_configuration_says_always(device: Device) -> None:
    device.start(keep_previous_warm="always")
    device.committed("1.0.0")
    device.committed("1.1.0")
    assert device.pipeline.previous is not None
    device.deployer.rollback(MAIN, on_done=device.done)
    device.wait_state(State.ROLLED_BACK)
    assert device.pipeline.serving() == "1.0.0"
    assert len(device.factory.started) == 2


def test_a_release_that_serves_already_ends_at_once_without_a_swap(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    outcome = device.deploy("faces:1.0.0")
    assert outcome.ok
    assert outcome.reason == "it serves already"
    assert len(device.factory.started) == 1


def test_frames_without_enough_time_and_time_without_frames_are_no_verdict(device: Device) -> None:
    device.start(probation_s=0.15)
    device.to_probation("1.0.0")
    device.pipeline.answer(5, seconds=0.0)
    device.wait(lambda: "waits for frames" in (device.last().reason or ""))
    assert device.last().state is State.PROBATION
    device.pipeline.answer(5, seconds=0.2)
    device.wait_state(State.COMMITTED)


def test_probation_ends_by_time_alone_when_the_frames_came_early(device: Device) -> None:
    device.start(probation_s=0.2)
    device.to_probation("1.0.0")
    device.pipeline.answer(10, seconds=0.0)
    device.wait_state(State.COMMITTED)


def test_unused_releases_are_collected_but_never_current_and_previous(device: Device) -> None:
    device.start()
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        device.committed(version)
    assert {r.id.version for r in device.store.releases()} >= {"1.2.0", "1.3.0"}
    assert "1.0.0" not in {r.id.version for r in device.store.releases()}


def test_models_say_who_holds_them_and_which_are_in_quarantine(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.factory.behaviours["1.1.0"] = Behaviour(infer_error=not_finite())
    device.registry.publish("1.1.0")
    device.deploy("faces:1.1.0")
    models = {model.release.version: model for model in device.deployer.models()}
    assert models["1.0.0"].current_of == ("main",)
    assert "not finite" in (models["1.1.0"].quarantined or "")


# --- faults before probation: current is untouched -------------------------------------------------------------------


def damaged(device: Device) -> None:
    deliver = device.registry.deliver

    def and_flip_a_byte(reference: str):  # type: ignore[no-untyped-def]
        stored = deliver(reference)
        path = stored.path(stored.manifest.variants[0].file)
        path.write_bytes(b"X" + path.read_bytes()[1:])
        return stored

    device.registry.deliver = and_flip_a_byte  # type: ignore[method-assign]


def behaves(**behaviour: object) -> Callable[[Device], None]:
    return lambda device: device.factory.behaviours.update({"1.1.0": Behaviour(**behaviour)})  # type: ignore[arg-type]


def fetch_fails(error: LookoutError) -> Callable[[Device], None]:
    return lambda device: device.registry.errors.update({"faces:1.1.0": error})


def rolled_back_registry(device: Device) -> None:
    device.journal.accept_versions({"timestamp": 9})


FAULTS = {
    "unreachable registry": (fetch_fails(RegistryUnreachable("no answer")), "registry_unreachable", "no answer", False),
    "expired metadata": (fetch_fails(MetadataExpired("timestamp expired")), "metadata_expired", "expired", False),
    "fetch process died": (fetch_fails(ChildDied("killed by SIGKILL")), "child_died", "SIGKILL", False),
    "full disk": (fetch_fails(StorageError("no room: 3 MB left")), "storage", "no room", False),
    "metadata rolled back": (rolled_back_registry, "untrusted", "this device has seen 9", False),
    "flipped byte": (damaged, "digest_mismatch", "damaged on disk", False),
    "cannot be loaded": (behaves(load_error=ModelError("no such operator")), "bad_model", "no such operator", True),
    "dies in loading": (behaves(load_error=ChildDied("killed by SIGSEGV")), "child_died", "SIGSEGV", True),
    "hangs in loading": (behaves(load_error=ChildHung("not ready in 2 s")), "child_hung", "not ready", True),
    "hangs on a golden image": (behaves(hang=threading.Event()), "child_hung", "no answer for golden", True),
    "answers NaN": (behaves(infer_error=not_finite()), "bad_output", "not finite", True),
    "sees nothing": (behaves(seen=()), "trial_failed", "expected face 0.90 at [10, 10, 50, 50]", True),
    "sees it elsewhere": (behaves(seen=((60, 60, 90, 90, 0.9, 0),)), "trial_failed", "0 of 1 matched, 90 %", True),
    "sees something else": (behaves(seen=((10, 10, 50, 50, 0.9, 1),)), "trial_failed", "no face was seen", True),
    "answers an unknown class": (behaves(seen=((10, 10, 50, 50, 0.9, 7),)), "trial_failed", "class 7", True),
    "dies after its trial": (behaves(dies_after_trial=True), "child_died", "between trial and swap", True),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_probation_leaves_current_serving_and_says_why(device: Device, fault: str) -> None:
    inject, code, reason, condemned = FAULTS[fault]
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    inject(device)
    outcome = device.deploy("faces:1.1.0")

    assert (outcome.ok, outcome.state, outcome.code) == (False, State.FAILED, code)
    assert reason in (outcome.reason or "")
    assert device.pipeline.serving() == "1.0.0"
    assert device.pipeline.log == ["swap 1.0.0"]
    assert outcome.current is not None
    assert outcome.current.version == "1.0.0"
    device.wait(lambda: True)
    assert bool(device.journal.quarantined()) is condemned
    for worker in device.factory.started[1:]:
        assert worker.closed.wait(2), "the candidate's process was left behind"


def test_a_gross_excess_of_the_budget_fails_the_trial_and_a_small_one_does_not(device: Device) -> None:
    device.start()
    budget = {"default": {"latency_ms_p95": 10}}
    device.registry.publish("1.0.0", budget=budget)
    device.factory.behaviours["1.0.0"] = Behaviour(run_ms=51.0)
    assert "more than 5 times the budget of 10 ms" in (device.deploy("faces:1.0.0").reason or "")
    device.registry.publish("1.1.0", budget=budget)
    device.factory.behaviours["1.1.0"] = Behaviour(run_ms=49.0)
    assert device.deploy("faces:1.1.0").ok


def test_the_budget_is_that_of_the_devices_class(device: Device) -> None:
    device.start(device_class="tiny")
    device.registry.publish("1.0.0", budget={"default": {"latency_ms_p95": 1000}, "tiny": {"latency_ms_p95": 0.5}})
    assert "budget of 0.5 ms" in (device.deploy("faces:1.0.0").reason or "")


def test_a_release_for_other_providers_fails_and_is_not_condemned(device: Device) -> None:
    device.start()
    release = device.registry.publish("1.0.0")
    entry = release.manifest.variants[0].file.model_dump()
    variants = [{"providers": ["CUDAExecutionProvider"], "precision": "fp16", "file": entry}]
    device.registry.publish("1.0.0", variants=variants)
    outcome = device.deploy("faces:1.0.0")
    assert "is made for CUDAExecutionProvider, this host has CPUExecutionProvider" in (outcome.reason or "")
    assert device.journal.quarantined() == {}


def test_the_first_variant_whose_providers_the_host_has_is_used(device: Device) -> None:
    device.start()
    release = device.registry.publish("1.0.0")
    entry = release.manifest.variants[0].file.model_dump()
    variants = [
        {"providers": ["CUDAExecutionProvider"], "precision": "fp16", "file": entry},
        {"providers": ["CPUExecutionProvider"], "precision": "int8", "file": entry},
    ]
    device.registry.publish("1.0.0", variants=variants)
    outcome = device.deploy("faces:1.0.0")
    assert outcome.current is not None
    assert outcome.current.variant == 1
    assert device.factory.started[0].load.providers == ("CPUExecutionProvider",)


def test_a_release_that_needs_a_newer_agent_is_refused(device: Device) -> None:
    device.start()
    device.registry.publish("1.0.0", requires={"agent": ">=99"})
    assert "requires agent >=99" in (device.deploy("faces:1.0.0").reason or "")


def test_a_release_without_golden_images_is_timed_on_a_black_picture(device: Device) -> None:
    device.start()
    device.committed("1.0.0", golden=[])
    assert [path.name for path in device.factory.started[0].looked_at] == ["black.ppm"] * 10


def test_what_failed_is_not_tried_again_without_force(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    device.factory.behaviours["1.1.0"] = Behaviour(infer_error=not_finite())
    device.deploy("faces:1.1.0")
    device.factory.behaviours["1.1.0"] = Behaviour()
    assert "is in quarantine: output 0 is not finite; force overrides" in (device.deploy("faces:1.1.0").reason or "")
    assert device.deploy("faces:1.1.0", force=True).ok
    assert device.journal.quarantined() == {}


# --- orders ----------------------------------------------------------------------------------------------------------


def test_a_newer_deploy_supersedes_one_that_is_being_fetched(device: Device) -> None:
    device.start()
    device.registry.publish("1.0.0")
    device.registry.publish("1.1.0")
    device.registry.gate = threading.Event()
    device.deployer.deploy(MAIN, "faces:1.0.0", on_done=device.done)
    assert device.registry.fetching.wait(2)
    accepted = device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    assert accepted.supersedes == "faces:1.0.0"
    device.registry.gate.set()
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.1.0")
    device.pipeline.answer(10)
    device.wait_outcome(2)
    assert [(o.reference, o.state.value) for o in device.outcomes] == [
        ("faces:1.0.0", "superseded"),
        ("faces:1.1.0", "committed"),
    ]
    told = [(status.reference, status.state.value) for status in device.statuses]
    end = told.index(("faces:1.0.0", "superseded"))
    assert told[end + 1] == ("faces:1.1.0", "resolving")
    assert device.statuses[end].reason == "superseded by faces:1.1.0"


def test_a_newer_deploy_ends_a_trial_that_hangs(device: Device) -> None:
    device.start(golden_timeout_s=60.0)
    device.registry.publish("1.0.0")
    device.registry.publish("1.1.0")
    device.factory.behaviours["1.0.0"] = Behaviour(hang=threading.Event())
    device.deployer.deploy(MAIN, "faces:1.0.0", on_done=device.done)
    device.wait(lambda: device.factory.started, "the worker of the trial")
    assert device.deploy("faces:1.1.0").state is State.SUPERSEDED
    device.wait_state(State.PROBATION)
    assert device.factory.started[0].closed.is_set()


def test_a_deploy_in_probation_is_busy(device: Device) -> None:
    device.start()
    device.to_probation("1.0.0")
    with pytest.raises(DeploymentRefused, match=r"busy: faces:1\.0\.0 is on probation"):
        device.deployer.deploy(MAIN, "faces:1.1.0")


def test_cancel_ends_a_deployment_before_probation_and_nothing_else(device: Device) -> None:
    device.start()
    device.registry.publish("1.0.0")
    device.registry.gate = threading.Event()
    with pytest.raises(DeploymentRefused, match="nothing to cancel"):
        device.deployer.cancel(MAIN)
    device.deployer.deploy(MAIN, "faces:1.0.0", on_done=device.done)
    assert device.registry.fetching.wait(2)
    device.deployer.cancel(MAIN)
    device.wait_state(State.CANCELLED)
    assert device.registry.cancelled.wait(2), "the fetch went on"
    assert device.wait_outcome().code == "cancelled"


def test_bad_orders_change_nothing_and_say_what_would_be_right(device: Device) -> None:
    device.start()
    with pytest.raises(ReferenceError, match="no reference"):
        device.deployer.deploy(MAIN, "faces")
    with pytest.raises(CommandError, match="'other' is unknown; this device has main"):
        device.deployer.deploy(PipelineName("other"), "faces:1.0.0")
    with pytest.raises(DeploymentRefused, match="no previous release"):
        device.deployer.rollback(MAIN)
    assert device.last().state is State.IDLE


def test_one_deployment_at_a_time_per_device(device: Device) -> None:
    device.start(PipelineSettings(PipelineName("main")), PipelineSettings(PipelineName("side")), probation_s=60.0)
    device.registry.publish("1.0.0")
    device.to_probation("1.1.0")
    device.deployer.deploy(PipelineName("side"), "faces:1.0.0")
    device.wait(lambda: "waits for the deployment of pipeline 'main'" in (device.last("side").reason or ""))
    device.deployer.rollback(MAIN)
    device.wait_state(State.PROBATION, "side")


def test_a_probation_without_frames_does_not_hold_up_other_pipelines(device: Device) -> None:
    device.start(PipelineSettings(PipelineName("main")), PipelineSettings(PipelineName("side")), probation_s=0.1)
    device.registry.publish("1.0.0")
    device.to_probation("1.1.0")
    device.deployer.deploy(PipelineName("side"), "faces:1.0.0")
    device.wait_state(State.PROBATION, "side")
    assert device.last().state is State.PROBATION


# --- probation -------------------------------------------------------------------------------------------------------


def dies(device: Device) -> None:
    device.pipeline.die()


def is_slow(device: Device) -> None:
    device.pipeline.p95_ms = 31.0
    device.pipeline.answer(10)


def is_blind(device: Device) -> None:
    device.pipeline.rate = 0.1
    device.pipeline.answer(10)


def sees_ghosts(device: Device) -> None:
    device.pipeline.rate = 6.0
    device.pipeline.answer(10)


def eats_memory(device: Device) -> None:
    device.factory.behaviours["1.1.0"].memory_mb = 301.0
    device.pipeline.answer(1)


PROBATION_FAULTS = {
    "worker died": (dies, "killed by SIGSEGV"),
    "not finite": (lambda device: device.pipeline.bad_output(), "not finite"),
    "slower than twice the old one": (is_slow, "31.0 ms is over 30.0 ms (2 times the old release's 5.0 ms plus 20)"),
    "detections collapsed": (is_blind, "detections collapsed from 1.00 to 0.10 a frame"),
    "detections exploded": (sees_ghosts, "detections exploded from 1.00 to 6.00 a frame"),
    "memory": (eats_memory, "memory 301 MB is over the bound of 300 MB"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PROBATION_FAULTS)
def test_a_fault_in_probation_rolls_back_to_the_warm_worker_and_quarantines(device: Device, fault: str) -> None:
    inject, reason = PROBATION_FAULTS[fault]
    device.start(memory_mb=300.0)
    device.committed("1.0.0")
    old = device.pipeline.current
    device.pipeline.frames = 500
    device.to_probation("1.1.0")
    inject(device)
    status = device.wait_state(State.ROLLED_BACK)

    assert reason in (status.reason or "")
    device.pipeline.wait_serving("1.0.0")
    assert device.pipeline.current is old
    assert len(device.factory.started) == 2, "rollback must not load anything: previous was warm"
    assert status.current is not None
    assert status.current.version == "1.0.0"
    assert device.wait_outcome(2).code == "rolled_back"
    assert list(device.journal.quarantined().values()) == [status.reason]


def test_the_operator_may_roll_back_in_probation_without_a_verdict_on_the_model(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.deployer.rollback(MAIN, on_done=device.done)
    device.wait_state(State.ROLLED_BACK)
    device.wait(lambda: len(device.outcomes) == 3)
    assert device.pipeline.serving() == "1.0.0"
    assert device.journal.quarantined() == {}
    assert [outcome.ok for outcome in device.outcomes] == [True, False, True]


def test_a_rollback_whose_warm_worker_died_too_loads_current_from_the_store(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.pipeline.previous_dies()
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    device.wait(lambda: device.last().degraded is None)


def test_a_release_forced_again_over_itself_rolls_back_to_the_old_worker(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    old = device.pipeline.current
    device.deployer.deploy(MAIN, "faces:1.0.0", force=True, on_done=device.done)
    device.wait_state(State.PROBATION)
    device.wait(lambda: len(device.pipeline.log) == 2)
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    device.wait_outcome(2)
    assert device.pipeline.current is old


def test_a_worker_that_is_brought_back_too_late_for_the_candidate_is_closed(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    device.registry.gate = threading.Event()
    device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    slow = device.factory.behaviours["1.0.0"].load_gate = threading.Event()
    device.pipeline.die()
    device.registry.gate.set()
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.1.0")
    slow.set()
    device.wait(lambda: len(device.factory.started) == 3)
    assert device.factory.started[2].closed.wait(2)
    assert device.pipeline.serving() == "1.1.0"
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)


def test_a_first_model_that_fails_its_probation_leaves_the_device_without_one_and_deployable(device: Device) -> None:
    device.start()
    device.to_probation("1.0.0")
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    assert "no good model is left" in (device.last().degraded or "")
    assert device.factory.started[0].killed is not None
    device.committed("1.1.0")
    device.wait(lambda: device.last().degraded is None)


# --- after commit ----------------------------------------------------------------------------------------------------


def test_a_committed_worker_that_dies_is_loaded_again_without_touching_the_deployment(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    receipt = device.last().receipt
    device.pipeline.die()
    device.wait(lambda: len(device.factory.started) == 2)
    device.pipeline.wait_serving("1.0.0")
    device.wait(lambda: device.last().degraded is None)
    assert device.last().state is State.COMMITTED
    assert device.last().receipt == receipt


def test_a_worker_that_dies_during_a_fetch_is_loaded_again_at_once(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    device.registry.gate = threading.Event()
    device.registry.fetching.clear()
    device.deployer.deploy(MAIN, "faces:1.1.0", on_done=device.done)
    assert device.registry.fetching.wait(2)
    device.pipeline.die()
    device.wait(lambda: len(device.factory.started) == 2)
    device.pipeline.wait_serving("1.0.0")
    assert device.last().state in (State.RESOLVING, State.FETCHING)
    device.registry.gate.set()
    device.wait_state(State.PROBATION)


def die_times(device: Device, times: int, version: str) -> None:
    for _ in range(times):
        workers = len(device.factory.started)
        device.pipeline.wait_serving(version)
        device.pipeline.die()
        device.wait(lambda workers=workers: len(device.factory.started) > workers)


def test_the_third_death_in_ten_minutes_rolls_back_to_previous_and_quarantines(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    die_times(device, 3, "1.1.0")
    status = device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    assert "died 3 times in ten minutes" in (status.reason or "")
    assert (status.current and status.current.version, status.previous) == ("1.0.0", None)
    assert len(device.journal.quarantined()) == 1


def test_a_release_without_previous_is_restarted_however_often_it_dies(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    die_times(device, 3, "1.0.0")
    device.pipeline.wait_serving("1.0.0")
    assert device.last().state is State.COMMITTED


def test_a_third_death_during_a_fetch_falls_back_and_the_fetch_goes_on(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.registry.publish("1.2.0")
    device.registry.gate = threading.Event()
    device.deployer.deploy(MAIN, "faces:1.2.0", on_done=device.done)
    die_times(device, 3, "1.1.0")
    device.pipeline.wait_serving("1.0.0")
    device.registry.gate.set()
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.2.0")
    assert device.last().current is not None
    assert device.last().current.version == "1.0.0"


def test_rollback_brings_the_previous_release_back_and_a_second_one_undoes_it(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    for version, other in (("1.0.0", "1.1.0"), ("1.1.0", "1.0.0")):
        before = len(device.outcomes)
        device.deployer.rollback(MAIN, on_done=device.done)
        device.wait(lambda before=before: len(device.outcomes) > before)
        assert device.outcomes[-1].ok
        device.pipeline.wait_serving(version)
        status = device.last()
        assert status.state is State.ROLLED_BACK
        assert (status.current and status.current.version, status.previous and status.previous.version) == (
            version,
            other,
        )
    assert device.journal.quarantined() == {}


def test_a_rollback_that_cannot_load_previous_leaves_current_serving(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.factory.behaviours["1.0.0"] = Behaviour(load_error=ModelError("no such operator"))
    device.deployer.rollback(MAIN, on_done=device.done)
    device.wait(lambda: len(device.outcomes) == 3)
    assert not device.outcomes[-1].ok
    assert "no such operator" in (device.outcomes[-1].reason or "")
    assert device.pipeline.serving() == "1.1.0"
    assert device.last().state is State.COMMITTED


# --- the journal cannot be written -----------------------------------------------------------------------------------


def unwritable(device: Device, after: int = 0) -> None:
    """From the ``after``-th transaction on, the disk is full."""
    database = device.journal.database
    real, left = database.transaction, [after]

    def transaction():  # type: ignore[no-untyped-def]
        if left[0] <= 0:
            raise StorageError("database or disk is full; free disk space")
        left[0] -= 1
        return real()

    database.transaction = transaction  # type: ignore[method-assign]


@pytest.mark.parametrize("writes", range(7))
def test_a_disk_that_fills_at_any_write_of_a_deployment_never_stops_serving(device: Device, writes: int) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    unwritable(device, writes)
    if writes == 0:
        with pytest.raises(StorageError, match="free disk space"):
            device.deploy("faces:1.1.0")
    else:
        outcome = device.deploy("faces:1.1.0")
        assert (outcome.state, outcome.code) == (State.FAILED, "storage")
    assert device.pipeline.serving() == "1.0.0"


def test_a_candidate_that_proved_itself_serves_on_while_the_commit_cannot_be_written(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    unwritable(device)
    device.pipeline.answer(10)
    device.wait(lambda: "proved itself, but that cannot be noted" in (device.last().reason or ""))
    assert device.pipeline.serving() == "1.1.0"


def test_a_rollback_happens_even_when_it_cannot_be_written(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    unwritable(device)
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    assert device.pipeline.serving() == "1.0.0"


def test_stop_leaves_no_thread_even_while_a_trial_hangs(device: Device) -> None:
    device.start(golden_timeout_s=60.0)
    device.registry.publish("1.0.0")
    device.factory.behaviours["1.0.0"] = Behaviour(hang=threading.Event())
    device.deployer.deploy(MAIN, "faces:1.0.0")
    device.wait_state(State.TRIAL)
    device.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lookout-deploy")]
    with pytest.raises(DeploymentRefused, match="stopping"):
        device.deployer.deploy(MAIN, "faces:1.0.0")
