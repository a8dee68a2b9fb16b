"""Where state and socket lie, and who the device is."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.layers import Loaded, load
from agent.config.places import Places, device_id, places, prepare, state_of
from agent.errors import InputError, StorageError


@pytest.fixture
def loaded(tmp_path: Path):
    def make(more: str = "") -> Loaded:
        path = tmp_path / "agent.yaml"
        path.write_text("cameras: {a: {source: {kind: file, path: a.avi}}}\npipelines: {main: {cameras: [a]}}\n" + more)
        return load(path, {})

    return make


def test_the_configuration_wins_over_systemd_and_systemd_over_xdg(loaded, tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/lookout:/other", "RUNTIME_DIRECTORY": "/run/lookout", "HOME": "/home/u"}
    assert places(environ) == Places(Path("/var/lib/lookout"), Path("/run/lookout"))
    configured = places(environ, loaded("paths: {state: st, runtime: /x/rt}\n"))
    assert configured == Places(tmp_path / "st", Path("/x/rt"))


def test_a_person_gets_the_xdg_folders() -> None:
    environ = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert places(environ) == Places(Path("/home/u/.local/state/lookout"), Path("/run/user/1000/lookout"))
    other = places({"HOME": "/home/u", "XDG_STATE_HOME": "relative/is/ignored"})
    assert other.state == Path("/home/u/.local/state/lookout")
    assert "lookout-" in other.runtime.name


def test_folders_are_made_for_user_and_group_only(tmp_path: Path) -> None:
    folders = Places(tmp_path / "a" / "state", tmp_path / "run")
    prepare(folders)
    assert folders.state.stat().st_mode & 0o007 == 0
    prepare(folders)


def test_a_folder_that_cannot_be_made_is_told_with_the_key_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"paths\.state"):
        prepare(Places(tmp_path / "file" / "state", tmp_path / "run"))


def test_a_runtime_folder_whose_socket_path_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"paths\.runtime"):
        prepare(Places(tmp_path, tmp_path / ("x" * 100)))


def test_a_foreign_link_in_a_shared_folder_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (tmp_path / "elsewhere").mkdir()
    (shared / "lookout-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="another user"):
        prepare(Places(tmp_path / "state", shared / "lookout-1"))


def test_the_device_is_who_the_configuration_says(loaded, tmp_path: Path) -> None:
    assert device_id(loaded("device: {id: gate-7}\n"), tmp_path) == "gate-7"


def test_the_machine_id_gives_a_stable_id_and_stays_secret(loaded, tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    first = device_id(loaded(), tmp_path, machine_id=machine)
    assert first == device_id(loaded(), tmp_path / "other", machine_id=machine)
    assert first.startswith("device-")
    assert "0123456789ab" not in first


@pytest.mark.parametrize("text", [None, "", "uninitialized\n", "ü"])
def test_without_a_machine_id_a_random_one_is_kept(loaded, tmp_path: Path, text: str | None) -> None:
    machine = tmp_path / "machine-id"
    if text is not None:
        machine.write_text(text, encoding="utf-8")
    first = device_id(loaded(), tmp_path, machine_id=machine)
    assert first == device_id(loaded(), tmp_path, machine_id=machine)
    (tmp_path / "device-id").write_text("broken")
    again = device_id(loaded(), tmp_path, machine_id=machine)
    assert again != first
    assert again.startswith("device-")


# --- where the state lies, whatever the file is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"paths: {state: here}", "here"),
        (b"paths:\n  state: here\n", "here"),
        (b"paths:\n  # why\n\n  state: 'here'\n  runtime: x\nmqtt: {host: [}\n", "here"),
        (b"\tbroken\npaths: {state: here}\n", "here"),
        (b"mqtt: &a {host: \npaths: {state: here}\ncameras: [\n", "here"),
        (b"paths: {state: 5}", None),
        (b"paths: {state: ''}", None),
        (b'paths: {state: "a\\0b"}', None),
        (b"paths: [state]", None),
        (b"other:\n  paths: {state: here}\n", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"- a list", None),
        (None, None),
    ],
)
def test_the_state_folder_is_found_in_a_file_that_is_broken(
    tmp_path: Path, text: bytes | None, where: str | None
) -> None:
    found = state_of(tmp_path / "agent.yaml", {"STATE_DIRECTORY": "/var/lib/x:/y"}, text)
    assert found == (tmp_path / where if where else Path("/var/lib/x"))


def test_the_environment_says_where_the_state_lies_before_the_file(tmp_path: Path) -> None:
    for environ in (
        {"LOOKOUT__PATHS__STATE": "/env"},
        {"LOOKOUT__paths__State": "/env"},
        {"LOOKOUT__PATHS": "{state: /env}"},
    ):
        assert state_of(tmp_path / "agent.yaml", environ, b"paths: {state: here}") == Path("/env")


def test_a_good_file_means_the_same_state_folder_as_everywhere_else(tmp_path: Path) -> None:
    text = b"cameras: {a: {source: {kind: pattern}}}\npipelines: {main: {cameras: [a]}}\npaths: {state: s}\n"
    for environ in ({}, {"HOME": "/home/x"}, {"LOOKOUT__PATHS__STATE": "t"}, {"XDG_STATE_HOME": "/xdg"}):
        for data in (text, text.replace(b"paths: {state: s}\n", b"")):
            loaded = load(tmp_path / "agent.yaml", environ, text=data)
            assert state_of(tmp_path / "agent.yaml", environ, data) == places(environ, loaded).state
