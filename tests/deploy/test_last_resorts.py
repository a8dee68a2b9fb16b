"""Never blind at boot: the factory model, safe mode, and deaths that are remembered over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.clock import NS_PER_S
from agent.deploy.bootguard import Boot, recent, safe_mode
from agent.deploy.machine import State
from agent.deploy.records import PipelineSettings
from agent.errors import ChildDied, DigestMismatch, ManifestError, ModelError, RegistryUnreachable, StorageError
from agent.registry.store import Store
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour, make_release, not_finite

MAIN = PipelineName("main")


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    """A folder with the release ``faces:0.9.0``."""
    folder = tmp_path / "factory"
    (folder / "golden").mkdir(parents=True)
    manifest, blobs = make_release("0.9.0")
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "model.onnx").write_bytes(next(data for data in blobs.values() if b"0.9.0" in data))
    (folder / "golden" / "1.jpg").write_bytes(b"a picture")
    return folder


def with_factory(folder: Path, **rest: str) -> PipelineSettings:
    return PipelineSettings(MAIN, factory=str(folder), **rest)  # type: ignore[arg-type]


# --- the factory model -----------------------------------------------------------------------------------------------


def test_the_factory_model_serves_where_nothing_was_deployed_yet(device: Device, factory: Path):
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.wait(lambda: device.last().serving is not None)
    assert device.last().current is None
    device.wait(lambda: device.last().degraded is None)
    assert device.last().state is State.IDLE


def test_a_deployed_release_takes_its_place_and_keeps_it_over_restarts(device: Device, factory: Path):
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.committed("1.0.0")
    device.stop()
    device.start(with_factory(factory))
    device.pipeline.wait_serving("1.0.0")
    assert device.pipeline.log == ["swap 1.0.0"]


def test_the_first_release_that_fails_on_probation_gives_way_to_the_factory_model(device: Device, factory: Path):
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.wait(lambda: device.last().serving is not None)
    device.to_probation("1.0.0")
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("0.9.0")


def test_it_stands_in_while_current_cannot_be_loaded_and_current_is_tried_again(device: Device, factory: Path):
    device.start()
    device.committed("1.0.0")
    device.stop()
    device.factory.behaviours["1.0.0"] = Behaviour(load_error=ChildDied("killed by SIGSEGV"), load_errors=1)
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.wait(lambda: "serves until faces:1.0.0" in (device.last().degraded or ""))
    assert "current cannot be loaded" in (device.last().degraded or "")
    device.pipeline.wait_serving("1.0.0")
    device.wait(lambda: device.last().degraded is None)


def test_its_worker_is_restarted_when_it_dies(device: Device, factory: Path):
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.wait(lambda: device.last().serving is not None)
    device.pipeline.die()
    device.pipeline.wait_serving("0.9.0")


def test_no_collection_touches_it(device: Device, factory: Path):
    device.start(with_factory(factory))
    device.pipeline.wait_serving("0.9.0")
    device.wait(lambda: device.last().serving is not None)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        device.committed(version)
    assert "0.9.0" in {release.id.version for release in device.store.releases()}


@pytest.mark.parametrize("damage", ["no manifest", "no json", "no file", "other bytes"])
def test_a_factory_folder_that_is_not_whole_is_degraded_in_words_and_the_device_deployable(
    device: Device, factory: Path, damage: str
):
    if damage == "no manifest":
        (factory / "manifest.json").unlink()
    elif damage == "no json":
        (factory / "manifest.json").write_text("{")
    elif damage == "no file":
        (factory / "model.onnx").unlink()
    else:
        (factory / "model.onnx").write_bytes(b"another")
    device.start(with_factory(factory))
    device.wait(lambda: "factory model" in (device.last().degraded or "") if device.last() else False)
    device.committed("1.0.0")
    device.wait(lambda: device.last().degraded is None)


def test_what_is_wrong_with_a_factory_folder_is_told_apart(tmp_path: Path, factory: Path):
    store = Store(tmp_path / "store")
    (factory / "model.onnx").write_bytes(b"another")
    with pytest.raises(DigestMismatch, match="install it again"):
        store.take_in(factory)
    assert store.releases() == ()
    (factory / "model.onnx").unlink()
    with pytest.raises(StorageError, match="cannot be copied"):
        store.take_in(factory)
    (factory / "manifest.json").write_text("{}")
    with pytest.raises(ManifestError, match="factory model"):
        store.take_in(factory)


def test_a_damaged_manifest_in_the_store_is_no_release_and_previous_serves(device: Device):
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    digest = device.last().current.digest  # type: ignore[union-attr]
    device.stop()
    (device.root / "store" / "releases" / f"{digest}.json").write_bytes(b"\x00" * 100)
    device.registry.errors["faces:1.1.0"] = RegistryUnreachable("no answer")
    device.start()
    device.pipeline.wait_serving("1.0.0")


# --- safe mode -------------------------------------------------------------------------------------------------------


def crashed(device: Device, times: int, **settings: object) -> None:
    for _ in range(times):
        device.kill()
        device.start(**settings)


@pytest.fixture
def two(device: Device) -> Device:
    """A device with current 1.1.0 and previous 1.0.0."""
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    return device


def test_three_crashes_bring_the_previous_model_and_say_so(two: Device):
    crashed(two, 2)
    two.pipeline.wait_serving("1.1.0")
    assert two.deployer.safe_mode is None
    crashed(two, 1)
    two.pipeline.wait_serving("1.0.0")
    assert two.deployer.safe_mode is not None
    assert "crashed 3 times in ten minutes" in two.deployer.safe_mode
    assert two.safe_modes == [two.deployer.safe_mode]
    assert two.last().current.version == "1.1.0"  # type: ignore[union-attr]


def test_clean_restarts_and_reboots_of_the_host_are_no_crashes(two: Device):
    for number in range(4):
        two.stop()
        two.start()
        two.kill()
        two.boot_id = f"boot-{number + 10}"
        two.start()
    two.pipeline.wait_serving("1.1.0")
    assert two.deployer.safe_mode is None


def test_safe_mode_ends_by_itself_and_the_crashes_are_forgotten(two: Device):
    crashed(two, 3, safe_mode_s=0.3)
    two.pipeline.wait_serving("1.0.0")
    two.pipeline.wait_serving("1.1.0")
    two.wait(lambda: two.deployer.safe_mode is None)
    assert two.safe_modes[-1] is None
    crashed(two, 1)
    two.pipeline.wait_serving("1.1.0")
    assert two.deployer.safe_mode is None


def test_safe_mode_ends_with_a_deploy_that_is_committed(two: Device):
    crashed(two, 3)
    two.pipeline.wait_serving("1.0.0")
    two.committed("1.2.0")
    two.wait(lambda: two.deployer.safe_mode is None)
    assert two.pipeline.serving() == "1.2.0"


def test_a_deploy_that_fails_leaves_safe_mode_as_it_was(two: Device):
    crashed(two, 3)
    two.pipeline.wait_serving("1.0.0")
    two.registry.publish("1.2.0")
    two.factory.behaviours["1.2.0"] = Behaviour(infer_error=not_finite())
    assert not two.deploy("faces:1.2.0").ok
    assert two.pipeline.serving() == "1.0.0"
    assert two.deployer.safe_mode is not None
    two.to_probation("1.3.0")
    two.pipeline.bad_output()
    two.pipeline.wait_serving("1.0.0")
    two.wait_state(State.ROLLED_BACK)
    two.wait(lambda: two.last().degraded is None)


def test_safe_mode_lasts_over_a_restart_while_the_crashes_are_recent(two: Device):
    crashed(two, 3)
    two.stop()
    two.start()
    two.pipeline.wait_serving("1.0.0")


def test_in_safe_mode_a_previous_model_that_cannot_be_loaded_gives_way_to_current(two: Device):
    two.factory.behaviours["1.0.0"] = Behaviour(load_error=ModelError("no such operator"))
    crashed(two, 3)
    two.pipeline.wait_serving("1.1.0")
    assert two.last().current.version == "1.1.0"  # type: ignore[union-attr]


def test_without_a_previous_model_current_serves_in_safe_mode(device: Device):
    device.start()
    device.committed("1.0.0")
    crashed(device, 3)
    device.pipeline.wait_serving("1.0.0")
    assert device.deployer.safe_mode is not None


def test_safe_mode_can_be_switched_off(two: Device):
    crashed(two, 4, safe_mode_after=0)
    two.pipeline.wait_serving("1.1.0")
    assert two.deployer.safe_mode is None


def test_crashes_count_for_ten_minutes():
    now = 1000 * NS_PER_S
    assert recent([300 * NS_PER_S, 401 * NS_PER_S, now, now + 1], now) == (401 * NS_PER_S, now)
    assert safe_mode(Boot(True, False, 9, crashes=(1, 2)), 3) is None
    assert safe_mode(Boot(True, False, 9, crashes=(1, 2, 3)), 3)
    assert safe_mode(Boot(True, False, 9, crashes=(1, 2, 3)), 0) is None


# --- deaths of workers over a restart --------------------------------------------------------------------------------


def test_the_third_death_in_ten_minutes_counts_over_a_restart_of_the_agent(two: Device):
    two.pipeline.die()
    two.pipeline.wait_serving("1.1.0")
    two.wait(lambda: two.last().degraded is None)
    two.pipeline.die()
    two.pipeline.wait_serving("1.1.0")
    two.stop()
    two.start()
    two.pipeline.wait_serving("1.1.0")
    two.wait(lambda: two.last() is not None and two.last().degraded is None)
    two.pipeline.die()
    two.pipeline.wait_serving("1.0.0")
    status = two.wait_state(State.ROLLED_BACK)
    assert "died 3 times" in (status.reason or "")
    assert len(two.journal.quarantined()) == 1


def test_deaths_of_before_a_reboot_of_the_host_do_not_count(two: Device):
    for _ in range(2):
        two.pipeline.die()
        two.pipeline.wait_serving("1.1.0")
        two.wait(lambda: two.last().degraded is None)
    two.stop()
    two.boot_id = "boot-2"
    two.start()
    two.pipeline.wait_serving("1.1.0")
    two.wait(lambda: two.last() is not None and two.last().degraded is None)
    two.pipeline.die()
    two.pipeline.wait_serving("1.1.0")
    assert two.journal.quarantined() == {}
