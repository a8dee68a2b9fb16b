"""What the steward promises: whole or not at all, durable before effect, and a change that cuts off undoes itself."""

from __future__ import annotations

import json

import pytest

from agent.deploy.machine import State
from agent.errors import LookoutError
from agent.types import PipelineName

from .conftest import House, until

CALM = {"report": {"detections_hz": 2.0}}
RISKY = {"cameras": {"yard": {"max_fps": 5.0}}}
BROKER = {"mqtt": {"host": "new.example"}}


def applied(house: House):
    return house.steward.loaded.config


# --- patches ---------------------------------------------------------------------------------------------------------


def test_a_patch_of_a_live_key_holds_at_once_and_is_reported(house):
    before = house.steward.revision
    answer = house.patch(CALM, who="ann")
    assert (answer.revision, answer.pending) == (before + 1, None)
    assert [(leaf.path, leaf.before, leaf.after) for leaf in answer.changes] == [("report.detections_hz", 5.0, 2.0)]
    assert applied(house).report.detections_hz == 2.0
    told = house.reported
    assert (told.state, told.revision, told.config) == ("committed", before + 1, CALM)
    past = house.get(history=True).history[0]
    assert (past.who, past.kind, past.paths, past.outcome) == ("ann", "patch", ("report.detections_hz",), "kept")


def test_null_gives_the_files_value_back(house):
    house.patch(CALM)
    answer = house.patch({"report": {"detections_hz": None}})
    assert applied(house).report.detections_hz == 5.0
    assert house.get("report.detections_hz").overlay == {}
    assert answer.revision == house.steward.revision


def test_a_patch_that_changes_nothing_keeps_the_revision(house):
    first = house.patch(CALM)
    again = house.patch(CALM)
    assert (again.revision, again.changes, again.pending) == (first.revision, (), None)


@pytest.mark.parametrize(
    ("patch", "paths"),
    [
        ({"report": {"detections_hz": "many"}, "outbox": {"max_mb": 0}}, ["report.detections_hz", "outbox.max_mb"]),
        ({"paths": {"state": "/etc"}, "report": {"all": True}}, ["paths.state"]),
        ({"mqtt": {"host": "evil.example"}}, ["mqtt.host"]),
        ({"mqtt": {"password": "(hidden)"}}, ["mqtt.password"]),
        ({"pipelines": {"watch": {"cameras": ["cellar"]}}}, ["pipelines.watch.cameras[0]", "cameras.yard"]),
    ],
)
def test_a_refused_patch_names_every_key_and_changes_nothing(house, patch, paths):
    before = house.steward.now
    refused = house.patch(patch)
    assert isinstance(refused, LookoutError)
    assert refused.code == "config_refused"
    assert sorted(problem.path for problem in refused.problems) == sorted(paths)
    assert house.steward.now == before
    assert house.parts.applied == []


def test_a_dry_run_says_what_would_change_and_does_nothing(house):
    before = house.steward.now
    answer = house.patch({**RISKY, **BROKER}, dry_run=True)
    assert answer.dry_run
    assert {leaf.path for leaf in answer.changes} == {"cameras.yard.max_fps", "mqtt.host"}
    assert answer.pending.needs_confirm
    assert house.steward.now == before
    assert house.parts.applied == []


def test_a_part_that_refuses_a_patch_leaves_what_held_before(house):
    house.parts.refuse = lambda after: "camera yard: no such device" if after.config.cameras["yard"].max_fps else None
    before = applied(house)
    refused = house.patch(RISKY)
    assert refused.code == "not_applied"
    assert "no such device" in refused.message
    assert applied(house) == before
    told = house.reported
    assert told.state == "reverted"
    assert "no such device" in told.reason
    house.parts.refuse = lambda _: None
    assert house.patch(CALM).pending is None, "nothing is left pending"


def test_parts_that_cannot_even_go_back_make_the_agent_start_again(house):
    house.parts.refuse = lambda _: "stuck"
    assert house.patch(RISKY).code == "not_applied"
    assert until(lambda: house.parts.restarts)
    assert "stuck" in house.parts.restarts[0]


def test_secrets_never_leave(house):
    view = house.get(history=True)
    text = json.dumps(view.config) + json.dumps(view.sources)
    assert "s3cret-word" not in text
    assert view.config["mqtt"]["password"] == "(hidden)"
    assert view.sources["mqtt.host"].startswith("agent.yaml, line")
    house.patch({"cameras": {"gate": {"source": {"kind": "url", "url": "rtsp://me:pass-phrase@cam/1"}}},
                 "pipelines": {"watch": {"cameras": ["yard", "gate"]}}})  # fmt: skip
    view = house.get("cameras.gate")
    assert view.sources["cameras.gate.source.url"] == "remote"
    assert "pass-phrase" not in json.dumps([view.config, view.overlay])
    assert "pass-phrase" not in str(house.reported)


# --- probation -------------------------------------------------------------------------------------------------------


def test_a_guarded_patch_that_does_well_is_kept(house):
    answer = house.patch(RISKY)
    assert answer.pending.left_s == 60
    assert not answer.pending.needs_confirm
    assert house.reported.state == "probation"
    assert house.reported.until is not None
    house.parts.obeys()
    house.pass_s(61)
    told = house.reported
    assert (told.state, told.revision, told.until) == ("committed", answer.revision, None)


def test_a_guarded_patch_after_which_the_camera_is_blind_is_undone_with_the_reason(house):
    before = applied(house)
    house.patch(RISKY)
    house.parts.health, house.parts.reason = "failed", "no signal"
    house.pass_s(61)
    told = house.reported
    assert told.state == "reverted"
    assert "yard" in told.reason
    assert "no signal" in told.reason
    assert told.config == {}
    assert applied(house) == before
    assert house.parts.applied[-1][1].config == before


def test_another_patch_is_busy_meanwhile_and_says_for_how_long(house):
    first = house.patch(RISKY)
    house.pass_s(10)
    busy = house.patch(CALM)
    assert busy.code == "busy"
    assert str(first.revision) in busy.message
    assert "50 s" in busy.message


def test_an_early_confirmation_keeps_a_change_that_does_well(house):
    answer = house.patch(RISKY)
    house.parts.obeys()
    house.pass_s(10)
    confirmed = house.confirm(answer.revision)
    assert confirmed.kept
    assert house.reported.state == "committed"


def test_an_operator_may_undo_what_is_on_probation(house):
    before = applied(house)
    house.patch(RISKY)
    house.revert()
    assert applied(house) == before
    assert house.reported.state == "reverted"
    assert house.confirm(house.steward.revision).code == "nothing_pending"
    assert house.revert().code == "nothing_pending"


def test_the_answer_of_a_change_of_broker_leaves_over_the_old_connection(house):
    order: list[str] = []
    house.parts.on_apply = lambda _: order.append("applied")
    drain = house._drain
    house.steward._drained = lambda timeout_s: order.append("drained") or drain(timeout_s)
    answer = house.patch(BROKER)
    assert answer.pending.needs_confirm
    until(lambda: len(order) == 2)
    assert order == ["drained", "applied"]


def test_a_change_of_broker_is_undone_unless_it_is_confirmed_over_the_new_connection(house):
    house.patch(BROKER)
    house.idle()
    revision = house.steward.revision
    assert house.confirm(revision).code == "old_connection"
    house.parts.session = 2
    house.pass_s(61)
    assert "config/confirm" in house.reported.reason
    assert applied(house).mqtt.host == "old.example"


def test_a_confirmed_change_of_broker_is_kept(house):
    answer = house.patch(BROKER)
    house.parts.session = 2
    house.pass_s(5)
    assert house.confirm(answer.revision).kept
    assert applied(house).mqtt.host == "new.example"


def test_a_kill_during_probation_is_undone_at_the_next_start(house):
    house.patch(RISKY)
    house.restart()
    assert applied(house).cameras["yard"].max_fps is None
    told = house.reported
    assert told.state == "reverted"
    assert told.reason
    house.restart()
    assert house.reported.state == "reverted", "it is told until something else happens"


def test_a_kept_change_outlives_restarts(house):
    house.patch(CALM)
    house.restart()
    assert applied(house).report.detections_hz == 2.0
    assert house.reported.state == "committed"


def test_a_stop_in_order_begins_the_probation_anew(house):
    answer = house.patch(RISKY)
    house.pass_s(30)
    house.begin_again()
    assert house.reported.state == "probation"
    house.parts.obeys()
    house.pass_s(61)
    assert (house.reported.state, house.reported.revision) == ("committed", answer.revision)


def test_a_device_id_proves_itself_after_the_restart_and_goes_back_with_another_one(house):
    answer = house.patch({"device": {"id": "castle"}})
    assert answer.pending.begins == "restart"
    assert "device.id" in answer.restart_needed
    house.pass_s(120)
    assert house.reported.state == "probation", "nothing to judge before the restart"
    assert house.patch(CALM).code == "busy"
    house.begin_again()
    assert applied(house).device.id == "castle"
    house.pass_s(61)
    assert until(lambda: house.parts.restarts)
    house.restart()
    assert applied(house).device.id == "tower"
    assert "config/confirm" in house.reported.reason


def test_going_back_to_a_revision_brings_what_held_then(house):
    first = house.patch(CALM).revision
    house.patch({"report": {"detections_hz": 1.0, "all": True}})
    answer = house.revert(first)
    assert answer.revision > first
    assert applied(house).report.detections_hz == 2.0
    assert not applied(house).report.all
    assert house.revert(4711).code == "unknown_revision"


# --- the file --------------------------------------------------------------------------------------------------------


def test_an_edited_file_is_taken_up(house):
    house.write(report={"detections_hz": 3.0})
    house.look_at_file()
    assert applied(house).report.detections_hz == 3.0
    assert house.reported.state == "committed"


def test_a_broken_file_is_not_used_and_not_rewritten(house):
    before = applied(house)
    house.file.write_text("cameras: [")
    house.look_at_file()
    assert applied(house) == before
    told = house.reported
    assert told.file
    assert told.errors
    assert house.file.read_text() == "cameras: ["
    house.restart()
    assert applied(house) == before
    house.write()
    house.look_at_file()
    assert house.reported.file == ""


def test_a_guarded_edit_that_does_badly_is_undone_and_its_bytes_are_not_tried_again(house):
    before = applied(house)
    house.write(cameras={"yard": {"source": {"kind": "pattern", "fps": 500}}})
    house.look_at_file()
    assert house.reported.state == "probation"
    house.pass_s(61)
    assert applied(house) == before
    assert "500" in house.reported.reason
    assert "not used" in house.reported.file
    house.look_at_file()
    house.restart()
    assert applied(house) == before
    house.write(report={"all": True})
    house.look_at_file()
    assert applied(house).report.all
    assert house.reported.file == ""


def test_an_edit_of_the_broker_needs_no_confirmation_but_a_connection(house):
    house.write(mqtt={"host": "third.example"})
    house.look_at_file()
    assert not house.reported.needs_confirm
    house.parts.connected, house.parts.trouble = False, "connection refused"
    house.pass_s(61)
    assert applied(house).mqtt.host == "old.example"
    assert "connection refused" in house.reported.reason


def test_an_edit_waits_for_the_end_of_a_probation(house):
    house.patch(RISKY)
    house.write(report={"detections_hz": 3.0})
    house.look_at_file()
    assert applied(house).report.detections_hz == 5.0
    house.parts.obeys()
    house.pass_s(62)
    assert applied(house).report.detections_hz == 3.0
    assert applied(house).cameras["yard"].max_fps == 5.0


def test_a_file_that_no_longer_allows_a_key_of_the_overlay_takes_it_out(house):
    house.patch(BROKER)
    house.parts.session = 2
    house.pass_s(5)
    house.confirm(house.steward.revision)
    house.write(remote={"confirm_s": 60})
    house.look_at_file()
    assert applied(house).mqtt.host == "old.example"
    assert [error.path for error in house.reported.errors] == ["mqtt.host"]


# --- desired ---------------------------------------------------------------------------------------------------------


def test_desired_is_the_whole_overlay_and_replaces_patches(house):
    house.patch({"report": {"all": True}})
    house.want(1, config=CALM)
    told = house.reported
    assert (told.epoch, told.version, told.config) == (0, 1, CALM)
    assert not applied(house).report.all


def test_a_stale_desired_is_ignored_and_a_new_epoch_begins_again(house):
    house.want(5, config=CALM)
    house.want(4, config={})
    house.want(5, config={"report": {"all": True}})
    assert house.reported.version == 5
    assert house.reported.config == CALM
    house.want(1, epoch=1, config={})
    assert (house.reported.epoch, house.reported.version, house.reported.config) == (1, 1, {})


def test_an_invalid_desired_is_refused_whole_with_an_error_a_key(house):
    house.want(1, config=CALM)
    house.want(2, config={"report": {"all": True, "detections_hz": "x"}, "web": {}}, models={"garage": "tiny:1.0.0"})
    told = house.reported
    assert (told.version, told.refused, told.config) == (1, (0, 2), CALM)
    assert "models.garage" in [error.path for error in told.errors]
    house.want(3, config={"report": {"all": True, "detections_hz": "x"}})
    assert [error.path for error in house.reported.errors] == ["report.detections_hz"]
    house.want(4, config={})
    assert (house.reported.version, house.reported.errors, house.reported.refused) == (4, (), None)


@pytest.mark.parametrize(
    "payload", [b"\xff", b"{}", b"[]", b'{"v":1,"version":0}', b'{"v":2,"version":1}', b"[" * 9999]
)
def test_what_is_no_desired_is_told(house, payload):
    house.send(payload)
    (error,) = house.reported.errors
    assert "desired cannot be read" in error.message


def test_a_cleared_desired_changes_nothing(house):
    house.want(1, config=CALM)
    house.send(b"")
    assert house.reported.config == CALM


def test_a_patch_of_what_desired_names_is_managed_by_desired(house):
    house.want(1, config=CALM)
    refused = house.patch({"report": {"detections_hz": 1.0}})
    assert refused.code == "managed_by_desired"
    assert house.patch({"report": {"all": True}}).revision == house.steward.revision


def test_a_desired_that_does_badly_is_undone_and_not_tried_again(house):
    house.want(1, config=RISKY)
    house.parts.health = "failed"
    house.pass_s(61)
    told = house.reported
    assert (told.state, told.version, told.refused) == ("reverted", 0, (0, 1))
    house.parts.health = "streaming"
    house.want(1, config=RISKY)
    assert applied(house).cameras["yard"].max_fps is None
    house.restart()
    house.want(1, config=RISKY)
    assert applied(house).cameras["yard"].max_fps is None
    house.want(2, config=RISKY)
    assert applied(house).cameras["yard"].max_fps == 5.0


def test_a_desired_that_a_kill_interrupted_is_undone_and_named_as_refused(house):
    house.want(1, config=RISKY)
    house.restart()
    told = house.reported
    assert (told.state, told.version, told.refused) == ("reverted", 0, (0, 1))


def test_the_newest_desired_waits_for_the_end_of_a_probation(house):
    house.patch(RISKY)
    house.want(2, config=CALM)
    house.want(1, config={})
    house.parts.obeys()
    house.pass_s(62)
    assert house.reported.version == 2
    assert applied(house).report.detections_hz == 2.0


# --- models of desired -----------------------------------------------------------------------------------------------


def test_a_model_of_desired_is_the_pipelines_model_and_deploys_are_refused(house):
    house.want(1, models={"watch": "tiny:1.0.0"})
    assert applied(house).pipelines["watch"].model == "tiny:1.0.0"
    with pytest.raises(LookoutError) as caught:
        house.steward.refuse_managed(PipelineName("watch"))
    assert caught.value.code == "managed_by_desired"
    assert house.patch({"pipelines": {"watch": {"model": "tiny:2.0.0"}}}).code == "busy"
    house.pass_s(61)
    assert house.patch({"pipelines": {"watch": {"model": "tiny:2.0.0"}}}).code == "managed_by_desired"


def test_a_model_that_failed_is_reported_and_tried_again_with_a_higher_version_only(house):
    house.want(1, models={"watch": "tiny:1.0.0"})
    house.steward.deployment(house.parts.stands("tiny:1.0.0", State.FAILED, "its trial failed"))
    house.pass_s(61)
    (error,) = house.reported.errors
    assert (error.path, error.value) == ("models.watch", "tiny:1.0.0")
    assert "its trial failed" in error.message
    house.want(1, models={"watch": "tiny:1.0.0"})
    assert house.parts.deployed == []
    house.want(2, models={"watch": "tiny:1.0.0"})
    assert house.parts.deployed == [("watch", "tiny:1.0.0")]
    house.steward.deployment(house.parts.stands("tiny:1.0.0", State.COMMITTED))
    assert house.reported.errors == ()


def test_a_rollback_holds_until_a_higher_version(house):
    house.want(1, models={"watch": "tiny:1.0.0"})
    house.parts.stands("tiny:1.0.0", State.ROLLED_BACK, "rolled back by the operator")
    house.pass_s(61)
    house.want(1, models={"watch": "tiny:1.0.0"})
    assert house.parts.deployed == []
    house.want(2, models={"watch": "tiny:1.0.0"})
    assert house.parts.deployed == [("watch", "tiny:1.0.0")]


def test_a_model_that_serves_already_is_not_deployed_again(house):
    house.want(1, models={"watch": "tiny:1.0.0"})
    house.parts.stands("tiny:1.0.0", State.COMMITTED)
    house.pass_s(61)
    house.want(2, models={"watch": "tiny:1.0.0"})
    assert house.parts.deployed == []
    assert house.reported.version == 2
