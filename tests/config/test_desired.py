"""The overlay: what a patch or a desired makes of it, and what neither may hold."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config.desired import (
    MAX_OVERLAY_BYTES,
    ConfigRefused,
    KeyManaged,
    Overlay,
    desired,
    patched,
    remote_tree,
)
from agent.link.messages import Desired
from agent.redact import MARK


def refused(overlay: Overlay, patch: dict[str, Any]) -> ConfigRefused:
    with pytest.raises(ConfigRefused) as caught:
        patched(overlay, patch)
    assert caught.value.problems
    assert caught.value.message
    return caught.value


def test_a_patch_changes_the_overlay_and_null_gives_the_files_value_back() -> None:
    overlay = patched(Overlay(), {"report": {"all": True, "telemetry_s": 5.0}})
    assert overlay.config == {"report": {"all": True, "telemetry_s": 5.0}}
    overlay = patched(overlay, {"report": {"all": None}})
    assert overlay.config == {"report": {"telemetry_s": 5.0}}
    assert patched(overlay, {"report": {"telemetry_s": None}}).config == {}
    assert patched(overlay, {"report": None}).config == {}


def test_null_for_what_is_not_there_leaves_no_trace() -> None:
    assert patched(Overlay(), {"mqtt": {"tls": {"ca_file": None}}}).config == {}
    assert patched(Overlay(), {"mqtt": {"tls": {}}}).config == {"mqtt": {"tls": {}}}  # that was asked for


def test_a_desired_replaces_the_overlay_and_patches_too() -> None:
    overlay = patched(Overlay(), {"report": {"all": True}})
    wanted = Desired(v=1, version=1, config={"logs": {"level": "debug", "fold_s": None}}, models={"main": "m:1.0.0"})
    found = desired(overlay, wanted, None)
    assert found is not None
    assert found.config == {"logs": {"level": "debug"}}
    assert found.managed == found.config
    assert remote_tree(found) == {"logs": {"level": "debug"}, "pipelines": {"main": {"model": "m:1.0.0"}}}
    assert (found.epoch, found.version) == (0, 1)


def test_models_of_desired_win_over_its_keys() -> None:
    overlay = Overlay({"pipelines": {"main": {"model": "a:1.0.0", "score": 0.5}}}, {"main": "b:1.0.0"})
    assert remote_tree(overlay)["pipelines"] == {"main": {"model": "b:1.0.0", "score": 0.5}}


@pytest.mark.parametrize(
    ("epoch", "version", "last", "taken"),
    [
        (0, 4, None, True),
        (0, 3, None, False),
        (0, 2, None, False),
        (1, 1, None, True),
        (0, 5, (0, 5), False),
        (0, 4, (0, 5), False),  # an older one than what was refused is stale as well
        (0, 6, (0, 5), True),
        (1, 1, (0, 5), True),
        (0, 9, (1, 1), False),
    ],
)
def test_only_a_newer_desired_is_taken(epoch: int, version: int, last: tuple[int, int] | None, taken: bool) -> None:
    applied = Overlay(epoch=0, version=3)
    found = desired(applied, Desired(v=1, epoch=epoch, version=version), last)
    assert (found is not None) is taken


MANAGED = Overlay(
    {"report": {"all": True}, "inference": {"providers": ["CPUExecutionProvider"]}},
    {"main": "m:1.0.0"},
    {"report": {"all": True}, "inference": {"providers": ["CPUExecutionProvider"]}},
    0,
    3,
)


@pytest.mark.parametrize(
    "patch",
    [
        {"report": {"all": False}},
        {"report": {"all": True}},
        {"report": {"all": None}},
        {"report": None},
        {"report": 5},
        {"report": {"all": {"deeper": 1}}},
        {"report": {"all": {}}},
        {"inference": {"providers": []}},
        {"pipelines": {"main": {"model": "m:2.0.0"}}},
        {"pipelines": {"main": {"model": None}}},
        {"pipelines": {"main": None}},
        {"pipelines": None},
    ],
)
def test_a_patch_of_what_desired_names_is_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(KeyManaged) as caught:
        patched(MANAGED, patch)
    assert caught.value.code == "managed_by_desired"
    assert caught.value.field


@pytest.mark.parametrize(
    "patch",
    [{"report": {"telemetry_s": 5.0}}, {"report": {}}, {"pipelines": {"main": {"score": 0.5}}}, {"logs": None}, {}],
)
def test_a_patch_beside_what_desired_names_is_taken(patch: dict[str, Any]) -> None:
    assert patched(MANAGED, patch).managed == MANAGED.managed


def deep(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def nested(levels: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(levels):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    "patch",
    [
        {"mqtt": {"host": MARK}},
        {"cameras": {"front": {"source": {"url": f"rtsp://{MARK}@host/1"}}}},
        {"report": {"events": ["track", MARK]}},
        {MARK: 1},
        {"pipelines": {"main": {"remap": {f"x{MARK}": "y"}}}},
    ],
)
def test_a_patch_that_holds_the_redaction_mark_is_refused(patch: dict[str, Any]) -> None:
    assert "stands where a secret was hidden" in refused(Overlay(), patch).message


@pytest.mark.parametrize(
    "patch",
    [
        {"report": {"telemetry_s": float("inf")}},
        {"report": {"telemetry_s": float("nan")}},
        {"report": {"telemetry_s": [1e308 * 10]}},
        {"inference": {"threads": 2**63}},
        {"inference": {"threads": -(10**400)}},
        {"\ud800": 1},
        {"device": {"id": "\udfff"}},
        {"device": {"id": object()}},
        {"device": {3: 1}},
        deep(30),
        deep(100_000),
        {"a": nested(30)},
        {"cameras": {f"c{number}": {} for number in range(20_000)}},
        {"device": {"id": "x" * MAX_OVERLAY_BYTES}},
        {"x" * MAX_OVERLAY_BYTES: 1},
    ],
    ids=[f"case {number}" for number in range(15)],
)
def test_what_cannot_be_kept_is_refused(patch: dict[str, Any]) -> None:
    assert len(refused(Overlay(), patch).message) < 2000


def test_an_overlay_that_grows_beyond_its_bound_is_refused() -> None:
    overlay = patched(Overlay(), {"zones": {f"z{number}": {"camera": "c" * 60} for number in range(700)}})
    error = refused(overlay, {"zones": {f"y{number}": {"camera": "c" * 60} for number in range(700)}})
    assert str(MAX_OVERLAY_BYTES) in error.message
    assert not error.message.startswith("the file")


def test_a_managed_overlay_of_many_keys_answers_at_once() -> None:
    names = {f"z{number}": {"a": 1} for number in range(4000)}
    overlay = Overlay({"zones": names}, {}, {"zones": names}, 0, 1)
    with pytest.raises(KeyManaged) as caught:
        patched(overlay, {"zones": {f"z{number}": {"a": {"b": 2}} for number in range(4000)}})
    assert len(caught.value.problems) <= 201


def test_a_desired_is_held_to_the_same_form() -> None:
    for config in ({"a": MARK}, deep(30), {"a": float("inf")}, {"a": "x" * MAX_OVERLAY_BYTES}):
        with pytest.raises(ConfigRefused):
            desired(Overlay(), Desired(v=1, version=1, config=config), None)
    with pytest.raises(ConfigRefused):
        desired(Overlay(), Desired(v=1, version=1, models={"main": MARK}), None)
