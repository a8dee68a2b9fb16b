from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import errors
from agent.errors import ManifestError
from agent.registry.index import Index, dump_index, load_index
from agent.registry.reference import parse_reference
from agent.types import ModelName

FACES = ModelName("faces")


@pytest.fixture
def index() -> Index:
    made = Index(FACES)
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        made = made.with_version(version, "2026-11-24T16:00:00.000Z")
    return made.with_channel("stable", "1.1.0")


def resolve(index: Index, text: str) -> str:
    return index.resolve(parse_reference(text))


def test_versions_channels_and_ranges_resolve(index: Index) -> None:
    assert resolve(index, "faces:1.0.0") == "1.0.0"
    assert resolve(index, "faces@stable") == "1.1.0"
    assert resolve(index, "faces@^1") == "1.1.0"
    assert resolve(index, "faces@*") == "2.0.0"


def test_a_yanked_version_is_never_chosen_and_refused_with_its_reason(index: Index) -> None:
    yanked = index.with_yanked("1.1.0", "sees ghosts")
    assert resolve(yanked, "faces@^1") == "1.0.0"
    for text in ("faces:1.1.0", "faces@stable"):
        with pytest.raises(errors.ReferenceError, match=r"yanked.*sees ghosts"):
            resolve(yanked, text)
    with pytest.raises(errors.ReferenceError, match="yanked"):
        yanked.with_channel("beta", "1.1.0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("faces:9.0.0", "9.0.0 does not exist; faces has 2.0.0, 1.1.0, 1.0.0"),
        ("faces@beta", "no channel 'beta'; it has stable"),
        ("faces@^7", "no version lies in that range"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(index: Index, text: str, says: str) -> None:
    with pytest.raises(errors.ReferenceError, match=says.replace("^", r"\^")):
        resolve(index, text)


def test_an_index_reads_back_what_it_writes(index: Index) -> None:
    assert load_index(dump_index(index.with_yanked("1.0.0", "old")), FACES) == index.with_yanked("1.0.0", "old")


def test_unknown_keys_of_a_newer_publisher_are_ignored() -> None:
    data = json.dumps({"schema": 1, "model": "faces", "versions": {"1.0.0": {"size": 7}}, "owner": "me"}).encode()
    assert list(load_index(data, FACES).versions) == ["1.0.0"]


@pytest.mark.parametrize(
    "fields",
    [
        {"schema": 2, "model": "faces"},
        {"schema": 1, "model": "other"},
        {"schema": 1, "model": "faces", "versions": {"one": {}}},
        {"schema": 1, "model": "faces", "versions": {"../1.0.0": {}}},
        {"schema": 1, "model": "faces", "channels": {"stable": "1.0.0"}},
        {"schema": 1, "model": "faces", "versions": {"1.0.0": {}}, "channels": {"^1": "1.0.0"}},
        [],
    ],
)
def test_a_wrong_index_is_refused_by_name(fields: object) -> None:
    with pytest.raises(ManifestError, match=r"models/faces/index\.json"):
        load_index(json.dumps(fields).encode(), FACES)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_index_or_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        load_index(data, FACES)
