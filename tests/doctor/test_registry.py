"""A real registry: reached, trusted, about to end, ended; and the device's own trust is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agent.clock import utc_ms
from agent.doctor.case import Case
from agent.doctor.findings import Finding
from agent.doctor.judge import registry as judge
from agent.doctor.look import registry
from tests.conftest import free_port
from tests.fakes.registry import Shop
from tools.registry.maintain import refresh
from tools.registry.repository import Lifetimes

MakeCase = Callable[..., Case]


def found(case: Case) -> dict[str, Finding]:
    return {one.name: one for one in judge.judge(registry.look(case), utc_ms(), str(case.file))}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_registry_in_order_is_told_with_its_days_and_nothing_of_the_device_changes(
    case: MakeCase, shop: Shop, served: str
) -> None:
    shop.publish()
    before = files(shop.state)
    seen = found(case(paths={"state": str(shop.state), "runtime": "run"}, registry={"url": served}))
    assert {name: one.verdict for name, one in seen.items()} == dict.fromkeys(seen, "ok")
    days = seen["registry metadata"].values
    assert 13 < days["days_left.timestamp"] <= 14
    assert {key.removeprefix("days_left.") for key in days} == set(judge.ROLES)
    assert files(shop.state) == before


def test_a_timestamp_that_ended_is_refused_with_the_day_and_the_command(
    case: MakeCase, shop: Shop, served: str
) -> None:
    shop.publish()
    refresh(shop.registry, shop.keys, lifetimes=Lifetimes(timestamp=timedelta(days=-2)))
    seen = found(case(paths={"state": str(shop.state), "runtime": "run"}, registry={"url": served}))
    assert seen["registry"].verdict == "ok"
    assert (seen["registry trust"].verdict, "has expired" in seen["registry trust"].found) == ("failed", True)
    assert seen["registry metadata"].verdict == "failed"
    assert "timestamp expired" in seen["registry metadata"].found
    assert "lookout registry refresh" in seen["registry metadata"].remedy
    assert -3 < seen["registry metadata"].values["days_left.timestamp"] < -1


def test_metadata_that_ends_tomorrow_is_a_warning(case: MakeCase, shop: Shop) -> None:
    shop.publish()
    refresh(shop.registry, shop.keys, lifetimes=Lifetimes(timestamp=timedelta(days=1)))
    place = {"state": str(shop.state), "runtime": "run"}
    seen = found(case(paths=place, registry={"url": shop.registry.as_uri()}))
    assert (seen["registry trust"].verdict, seen["registry metadata"].verdict) == ("ok", "warning")


def test_a_registry_that_is_not_there_and_one_that_is_another_are_told_apart(
    case: MakeCase, shop: Shop, tmp_path: Path
) -> None:
    place = {"state": str(shop.state), "runtime": "run"}
    seen = found(case(paths=place, registry={"url": f"http://127.0.0.1:{free_port()}"}))
    assert (seen["registry"].verdict, seen["registry trust"].verdict) == ("failed", "ok")
    foreign = Shop(tmp_path / "foreign")
    foreign.publish()
    seen = found(case(paths=place, registry={"url": foreign.registry.as_uri()}))
    assert (seen["registry"].verdict, seen["registry trust"].verdict) == ("ok", "failed")
    assert "not signed by the keys" in seen["registry trust"].found


def test_a_device_without_a_root_is_told_how_to_get_one(case: MakeCase, shop: Shop, served: str) -> None:
    shop.publish()
    seen = found(case(paths={"state": "fresh", "runtime": "run"}, registry={"url": served}))
    assert seen["registry"].verdict == "ok"
    assert (seen["registry trust"].verdict, "lookout provision" in seen["registry trust"].remedy) == ("failed", True)
    assert seen["registry metadata"].verdict == "ok"


@pytest.mark.parametrize("key", ["token_file", "ca_file"])
def test_a_file_of_credentials_that_cannot_be_read_names_its_key(case: MakeCase, key: str) -> None:
    seen = found(case(registry={"url": "https://127.0.0.1:1", key: "absent"}))
    assert (seen["registry"].verdict, f"registry.{key}" in seen["registry"].remedy) == ("failed", True)
