"""What a device does by itself about its registry: follow, heed a yank, mend its copy, wait for the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.deploy.machine import State
from agent.deploy.records import SlotRelease
from agent.errors import DeploymentRefused, RegistryUnreachable
from agent.types import Digest, ModelName, PipelineName, ReleaseId
from tests.deploy.conftest import Device

MAIN = PipelineName("main")
NEVER = 3600.0


def commit(device: Device, reference: str, version: str) -> None:
    """Deploy a reference that means this version, until it is committed."""
    before = len(device.outcomes)
    device.deployer.deploy(MAIN, reference, on_done=device.done)
    prove(device, version)
    assert device.wait_outcome(before + 1).ok


def prove(device: Device, version: str) -> None:
    """Let what comes into probation pass it."""
    device.wait(lambda: device.last().state is State.PROBATION and device.last().candidate.version == version, version)
    device.pipeline.wait_serving(version)
    device.pipeline.answer(device.settings.probation_frames)
    device.wait(lambda: device.last().state is State.COMMITTED and device.last().current.version == version, version)


def asked(device: Device, times: int) -> None:
    """Wait until the registry was asked so often, from now on, and the last answer was acted upon."""
    already = len(device.registry.surveyed)
    device.wait(lambda: len(device.registry.surveyed) > already + times, "surveys")


# --- following -----------------------------------------------------------------------------------------------------


def test_a_channel_that_moves_is_followed_and_one_that_does_not_costs_no_fetch(device: Device) -> None:
    device.start(poll_s=0.05)
    device.registry.publish("1.0.0")
    device.registry.means["faces@stable"] = "faces:1.0.0"
    commit(device, "faces@stable", "1.0.0")
    asked(device, 3)
    assert device.registry.fetched == ["faces@stable"]
    device.registry.publish("1.1.0")
    device.registry.means["faces@stable"] = "faces:1.1.0"
    prove(device, "1.1.0")
    device.registry.means["faces@stable"] = "faces:1.0.0"  # a publisher may take a channel back
    prove(device, "1.0.0")


def test_a_pinned_version_is_not_followed_anywhere(device: Device) -> None:
    device.start(poll_s=0.05)
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    asked(device, 2)
    assert device.registry.fetched == ["faces:1.0.0"]
    assert device.registry.surveyed[-1] == ((), ("faces:1.0.0",))


def test_an_operators_rollback_holds_until_the_channel_means_something_new(device: Device) -> None:
    device.start(poll_s=0.05)
    for version in ("1.0.0", "1.1.0"):
        device.registry.publish(version)
        device.registry.means["faces@stable"] = f"faces:{version}"
        commit(device, "faces@stable", version)
    device.deployer.rollback(MAIN)
    device.wait(lambda: device.last().state is State.ROLLED_BACK and device.last().serving.version == "1.0.0")
    fetched = len(device.registry.fetched)
    asked(device, 3)
    assert len(device.registry.fetched) == fetched
    device.registry.publish("1.2.0")
    device.registry.means["faces@stable"] = "faces:1.2.0"
    prove(device, "1.2.0")


def test_a_release_that_failed_its_probation_is_not_followed_again(device: Device) -> None:
    device.start(poll_s=0.05)
    device.registry.publish("1.0.0")
    device.registry.means["faces@stable"] = "faces:1.0.0"
    commit(device, "faces@stable", "1.0.0")
    bad = device.registry.publish("1.1.0")
    device.registry.means["faces@stable"] = "faces:1.1.0"
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.1.0")
    device.deployer.bad_output(MAIN, bad.id, "NaN")
    device.wait_state(State.ROLLED_BACK)
    fetched = len(device.registry.fetched)
    asked(device, 3)
    assert len(device.registry.fetched) == fetched


def test_a_registry_that_is_away_changes_nothing(device: Device) -> None:
    device.start(poll_s=0.05)
    device.registry.publish("1.0.0")
    device.registry.means["faces@stable"] = "faces:1.0.0"
    commit(device, "faces@stable", "1.0.0")
    device.registry.errors["survey"] = RegistryUnreachable("away")
    asked(device, 3)
    assert device.last().state is State.COMMITTED
    device.wait(lambda: device.last().degraded is None)


# --- what the reference means ----------------------------------------------------------------------------------------


def test_what_the_reference_means_is_told_before_it_is_taken_up_and_where_it_is_not(device: Device) -> None:
    device.start(poll_s=0.05)
    device.registry.publish("1.0.0")
    device.registry.means["faces@stable"] = "faces:1.0.0"
    commit(device, "faces@stable", "1.0.0")
    assert device.last().latest == "1.0.0"
    bad = device.registry.publish("1.1.0")
    device.registry.means["faces@stable"] = "faces:1.1.0"
    device.wait_state(State.PROBATION)
    assert (device.last().current.version, device.last().latest) == ("1.0.0", "1.1.0")
    device.pipeline.wait_serving("1.1.0")
    device.deployer.bad_output(MAIN, bad.id, "NaN")
    device.wait(
        lambda: device.last().state is State.ROLLED_BACK and device.last().latest == "1.1.0", "told once surveyed"
    )


def test_after_a_rollback_a_pinned_version_is_still_the_latest(device: Device) -> None:
    device.start(poll_s=NEVER)
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    commit(device, "faces:1.1.0", "1.1.0")
    device.deployer.rollback(MAIN)
    device.wait(lambda: device.last().state is State.ROLLED_BACK and device.last().serving.version == "1.0.0", "back")
    assert device.last().latest == "1.1.0"


# --- yanked ----------------------------------------------------------------------------------------------------------


def test_a_yank_is_shown_and_changes_nothing_by_default(device: Device) -> None:
    device.start(poll_s=0.05)
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.registry.yanked["faces:1.1.0"] = "blind in the rain"
    device.wait(lambda: device.last().yanked == "blind in the rain")
    asked(device, 2)
    assert (device.last().state, device.last().current.version) == (State.COMMITTED, "1.1.0")
    device.registry.yanked.clear()
    device.wait(lambda: device.last().yanked is None)


def test_a_yank_rolls_back_where_the_device_is_told_to_heed_it(device: Device) -> None:
    device.start(poll_s=0.05, on_yank="rollback")
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.registry.yanked["faces:1.1.0"] = "blind in the rain"
    device.wait(lambda: device.last().state is State.ROLLED_BACK and device.last().serving.version == "1.0.0")
    assert "yanked by its publisher: blind in the rain" in device.last().reason
    asked(device, 3)
    assert device.last().current.version == "1.0.0"


def test_a_yank_never_leaves_a_device_blind(device: Device) -> None:
    """No previous, or one that was yanked too: what serves goes on serving, and says why it should not."""
    device.start(poll_s=0.05, on_yank="rollback")
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.registry.yanked |= {"faces:1.1.0": "bad", "faces:1.0.0": "worse"}
    device.wait(lambda: device.last().yanked == "bad")
    asked(device, 3)
    assert (device.last().state, device.last().serving.version) == (State.COMMITTED, "1.1.0")


# --- a damaged copy --------------------------------------------------------------------------------------------------


def damage(device: Device, version: str) -> None:
    stored = device.registry.published[f"faces:{version}"]
    path = stored.path(stored.manifest.variants[0].file)
    path.write_bytes(path.read_bytes()[::-1])


def lose_current(device: Device, version: str) -> None:
    digest = device.registry.published[f"faces:{version}"].id.digest
    device.deployer.worker_lost(MAIN, ReleaseId(ModelName("faces"), version, digest), "killed", False)


def test_a_copy_damaged_on_disk_is_fetched_again_by_itself(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    damage(device, "1.0.0")
    lose_current(device, "1.0.0")
    prove(device, "1.0.0")
    assert device.registry.fetched == ["faces:1.0.0"] * 2
    device.wait(lambda: device.last().degraded is None)


def test_previous_serves_while_a_damaged_current_is_fetched_again(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    damage(device, "1.1.0")
    lose_current(device, "1.1.0")
    device.pipeline.wait_serving("1.0.0")
    prove(device, "1.1.0")
    assert device.last().previous.version == "1.0.0"


def test_a_repair_waits_for_the_network(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.deploy.repair.FIRST_S", 0.1)
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.registry.errors["faces:1.1.0"] = RegistryUnreachable("away")
    damage(device, "1.1.0")
    lose_current(device, "1.1.0")
    device.wait(lambda: len(device.registry.fetched) >= 4, "attempts")
    device.registry.errors.clear()
    prove(device, "1.1.0")


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_deployment_waits_for_a_clock_that_can_be_believed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.deploy.clockwait.CLOCK_S", 0.05)
    device.start()
    device.registry.publish("1.0.0")
    device.doubt = "nothing keeps the clock right"
    device.deployer.deploy(MAIN, "faces:1.0.0", on_done=device.done)
    assert device.wait_state(State.WAITING_FOR_CLOCK).reason == "nothing keeps the clock right"
    assert device.registry.fetched == []
    device.doubt = None
    prove(device, "1.0.0")


def test_a_deployment_that_waits_for_the_clock_is_not_given_up_over_power_cuts(device: Device) -> None:
    device.doubt = "nothing keeps the clock right"
    device.start()
    device.registry.publish("1.0.0")
    device.deployer.deploy(MAIN, "faces:1.0.0")
    for number in range(5):
        device.wait_state(State.WAITING_FOR_CLOCK)
        device.kill()
        device.statuses.clear()
        device.boot_id = f"boot-{number}"
        device.start()
    device.wait_state(State.WAITING_FOR_CLOCK)
    device.deployer.cancel(MAIN)
    device.wait_state(State.CANCELLED)


def test_one_that_waits_for_the_clock_gives_way_to_a_newer_deploy(device: Device) -> None:
    device.doubt = "nothing keeps the clock right"
    device.start()
    device.registry.publish("1.0.0")
    device.deployer.deploy(MAIN, "faces:1.0.0")
    device.wait_state(State.WAITING_FOR_CLOCK)
    device.doubt = None
    assert device.deploy("faces:1.0.0").ok or device.last().state is State.COMMITTED


# --- the floor -------------------------------------------------------------------------------------------------------


def test_nothing_below_the_devices_floor_is_taken_whoever_asks(device: Device) -> None:
    device.start(min_versions={"faces": "1.1.0"})
    device.registry.publish("1.0.0")
    device.deployer.deploy(MAIN, "faces:1.0.0", force=True, on_done=device.done)
    outcome = device.wait_outcome()
    assert (outcome.ok, outcome.code) == (False, "bad_reference")
    assert "older than 1.1.0, the oldest this device takes" in (outcome.reason or "")
    device.outcomes.clear()
    device.committed("1.1.0")


def test_a_rollback_does_not_go_below_a_floor_that_was_raised(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.stop()
    device.start(min_versions={"faces": "1.1.0"})
    device.pipeline.wait_serving("1.1.0")
    with pytest.raises(DeploymentRefused, match=r"registry\.min_version"):
        device.deployer.rollback(MAIN)


def test_slots_name_their_release(tmp_path: Path) -> None:
    from agent.deploy.following import named

    assert named(SlotRelease(ModelName("faces"), "1.0.0", Digest("0" * 64))) == "faces:1.0.0"
