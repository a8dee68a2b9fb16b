"""After a kill at any point, boot finds either the old or the new good model, never neither."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from agent.deploy.machine import State
from agent.deploy.records import PipelineSettings
from agent.errors import ChildDied, ModelError, RegistryUnreachable
from agent.types import PipelineName
from tests.deploy.conftest import Device
from tests.fakes.deploying import Behaviour

MAIN = PipelineName("main")


def config(model: str | None) -> PipelineSettings:
    return PipelineSettings(MAIN, model)


def test_current_is_served_again_after_a_clean_stop(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.stop()
    device.start()
    device.pipeline.wait_serving("1.0.0")
    device.wait(lambda: device.last().degraded is None)
    assert device.last().state is State.COMMITTED


def test_a_kill_after_any_write_of_a_deployment_leaves_a_good_model(device: Device, tmp_path: Path) -> None:
    device.start()
    device.committed("1.0.0")
    copies: list[Path] = []
    database = device.journal.database
    real = database.transaction

    def copied_transaction():  # type: ignore[no-untyped-def]
        manager = real()

        class Copying:
            def __enter__(self):  # type: ignore[no-untyped-def]
                return manager.__enter__()

            def __exit__(self, *exc):  # type: ignore[no-untyped-def]
                result = manager.__exit__(*exc)
                copies.append(Path(shutil.copy(database.path, tmp_path / f"copy-{len(copies)}.db")))
                return result

        return Copying()

    database.transaction = copied_transaction  # type: ignore[method-assign]
    device.committed("1.1.0")
    database.transaction = real  # type: ignore[method-assign]
    device.stop()

    assert len(copies) >= 8
    ends = set()
    for copy in copies:
        shutil.copy(copy, tmp_path / "journal.db")
        (tmp_path / "journal.db-journal").unlink(missing_ok=True)
        device.statuses.clear()
        device.start()
        device.wait(lambda: device.last() is not None and device.last().serving is not None, copy.name)
        assert device.pipeline.serving() in ("1.0.0", "1.1.0")
        assert device.last().current is not None
        device.wait(lambda: device.last().state in (State.PROBATION, State.COMMITTED), copy.name)
        if device.last().state is State.PROBATION:
            device.pipeline.wait_serving("1.1.0")
            device.pipeline.answer(10)
            device.wait_state(State.COMMITTED)
        ends.add(device.last().current.version)  # type: ignore[union-attr]
        device.kill()
    assert ends == {"1.1.0"}, "the operator's intent survives every kill"


def test_a_deployment_that_was_interrupted_too_often_ends_as_failed(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.registry.publish("1.1.0")
    device.registry.gate = threading.Event()
    device.deployer.deploy(MAIN, "faces:1.1.0")
    for _ in range(2):
        device.kill()
        device.start()
        device.pipeline.wait_serving("1.0.0")
        device.wait(lambda: device.last().state in (State.RESOLVING, State.FETCHING))
    device.kill()
    device.start()
    assert "interrupted 3 times" in (device.wait_state(State.FAILED).reason or "")
    device.pipeline.wait_serving("1.0.0")


def test_the_first_death_in_probation_begins_it_anew_with_something_to_fall_back_to(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.kill()
    device.start()
    device.pipeline.wait_serving("1.1.0")
    assert device.pipeline.log == ["swap 1.0.0", "swap 1.1.0"]
    device.pipeline.bad_output()
    device.wait_state(State.ROLLED_BACK)
    assert device.pipeline.serving() == "1.0.0"


def test_a_candidate_in_whose_probation_the_agent_died_twice_is_rolled_back_and_quarantined(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.kill()
    device.start()
    device.pipeline.wait_serving("1.1.0")
    device.kill()
    device.start()
    status = device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    assert "died 2 times in its probation" in (status.reason or "")
    assert device.pipeline.log == ["swap 1.0.0"], "the suspect is not even loaded"
    assert len(device.journal.quarantined()) == 1


def test_power_cuts_in_probation_roll_back_at_the_third_and_condemn_nobody(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    for boot in ("boot-2", "boot-3"):
        device.kill()
        device.boot_id = boot
        device.start()
        device.pipeline.wait_serving("1.1.0")
    device.kill()
    device.boot_id = "boot-4"
    device.start()
    device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    assert device.journal.quarantined() == {}


def test_a_candidate_serves_at_boot_even_where_current_cannot_be_loaded(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.stop()
    device.factory.behaviours["1.0.0"] = Behaviour(load_error=ChildDied("out of memory"))
    device.start()
    device.pipeline.wait_serving("1.1.0")


def test_clean_stops_in_probation_count_for_nothing(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    for _ in range(3):
        device.stop()
        device.start()
        device.pipeline.wait_serving("1.1.0")
    assert device.last().state is State.PROBATION


def test_a_current_that_cannot_be_loaded_at_boot_gives_way_to_previous(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.committed("1.1.0")
    device.stop()
    device.factory.behaviours["1.1.0"] = Behaviour(load_error=ModelError("no such provider"))
    device.start()
    status = device.wait_state(State.ROLLED_BACK)
    device.pipeline.wait_serving("1.0.0")
    assert "current cannot be loaded: no such provider" in (status.reason or "")


def test_a_device_whose_only_model_is_damaged_is_degraded_and_still_deployable(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.stop()
    stored = device.registry.published["faces:1.0.0"]
    stored.path(stored.manifest.variants[0].file).write_bytes(b"x" * 11)
    device.start()
    device.wait(lambda: "damaged on disk" in (device.last().degraded or ""))
    assert device.last().serving is None
    device.committed("1.1.0")
    device.wait(lambda: device.last().degraded is None)


# --- the configuration's model ---------------------------------------------------------------------------------------


def test_the_configurations_model_is_deployed_on_a_new_device_and_not_again(device: Device) -> None:
    device.registry.publish("1.0.0")
    device.start(config("faces:1.0.0"))
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.0.0")
    device.pipeline.answer(10)
    device.wait_state(State.COMMITTED)
    device.committed("1.1.0")
    device.stop()
    fetched = list(device.registry.fetched)
    device.start(config("faces:1.0.0"))
    device.pipeline.wait_serving("1.1.0")
    assert device.registry.fetched == fetched, "the journal holds until the value is edited"


def test_an_edited_model_is_deployed_at_the_next_start(device: Device) -> None:
    device.start(config(None))
    device.committed("1.0.0")
    device.stop()
    device.registry.publish("1.1.0")
    device.start(config("faces:1.1.0"))
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.1.0")


def test_an_edit_is_deployed_when_the_probation_it_met_has_ended(device: Device) -> None:
    device.start(config(None))
    device.committed("1.0.0")
    device.to_probation("1.1.0")
    device.stop()
    device.registry.publish("1.2.0")
    device.start(config("faces:1.2.0"))
    device.pipeline.wait_serving("1.1.0")
    device.pipeline.answer(10)
    device.pipeline.wait_serving("1.2.0")


def test_an_unreachable_registry_at_the_first_start_is_asked_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.deploy.wish.RETRY_S", (0.05, 0.1))
    device.registry.publish("1.0.0")
    device.registry.errors["faces:1.0.0"] = RegistryUnreachable("no answer")
    device.start(config("faces:1.0.0"))
    device.wait_state(State.FAILED)
    device.registry.errors.clear()
    device.wait_state(State.PROBATION)


def test_a_configured_reference_that_cannot_be_read_is_reported_and_harmless(device: Device) -> None:
    device.start(config("faces"))
    device.wait(lambda: "'faces' is no reference" in (device.last().reason or ""))
    device.committed("1.0.0")


# --- the journal was lost --------------------------------------------------------------------------------------------


def test_a_damaged_journal_is_rebuilt_and_the_model_found_again_in_the_store(device: Device, tmp_path: Path) -> None:
    device.start(config("faces@stable"))
    device.committed("1.0.0")
    device.stop()
    (tmp_path / "journal.db").write_bytes(b"not a database, not at all" * 400)
    device.registry.errors["faces@stable"] = RegistryUnreachable("no answer")
    device.start(config("faces@stable"))
    device.wait_state(State.PROBATION)
    device.pipeline.wait_serving("1.0.0")
    assert (tmp_path / "journal.db.broken").exists()
    assert "set aside" in (device.journal.problem or "")
    device.pipeline.answer(10)
    device.wait(lambda: device.last().current is not None)


def test_a_journal_that_cannot_be_written_at_boot_does_not_keep_current_from_serving(device: Device) -> None:
    device.start()
    device.committed("1.0.0")
    device.stop()
    device.max_pages = 1  # smaller than the file: SQLite takes what is there, and lets nothing grow
    device.start()
    device.pipeline.wait_serving("1.0.0")
