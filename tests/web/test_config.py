"""The section ``web``: nobody serves the page to a network by mistake, and no operator from afar changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.checks import is_loopback
from agent.config.describe import keys as schema_keys
from agent.config.layers import load
from agent.errors import ConfigError
from agent.known_secrets import hide
from agent.pages import settings_of
from agent.web.credentials import BadCredential, Files, token_in

BASE = b"cameras: {yard: {source: {kind: pattern}}}\npipelines: {watch: {cameras: [yard]}}\nschema: 1\n"
TOKEN = "0123456789abcdef"
TLS = "tls: {certificate: page.pem, key: page.key}"


def loaded(tmp_path: Path, web: str, **env: str):
    return load(tmp_path / "agent.yaml", env, text=BASE + f"web: {{{web}}}\n".encode())


@pytest.mark.parametrize(
    "web",
    ["enabled: true", "enabled: true, host: localhost", 'enabled: true, host: "::1"', "host: 0.0.0.0",
     f"enabled: true, host: 0.0.0.0, token: {TOKEN}, {TLS}", f"metrics: true, host: 10.0.0.7, token_file: t, {TLS}",
     "enabled: true, host: 0.0.0.0, token_file: credential:page, insecure: true",
     "names: [cam.example.org, gate_7.local]"],
)  # fmt: skip
def test_what_is_safe_is_taken(tmp_path, web):
    loaded(tmp_path, web)


@pytest.mark.parametrize(
    ("web", "key", "hint"),
    [
        ("enabled: true, host: 0.0.0.0", "web.host", "set web.token_file"),
        ("metrics: true, host: 0.0.0.0", "web.host", "set web.token_file"),
        (f"enabled: true, host: 0.0.0.0, {TLS}", "web.host", "set web.token_file"),
        ("enabled: true, host: 0.0.0.0, insecure: true", "web.host", "set web.token_file"),
        (f"enabled: true, host: 192.0.2.7, token: {TOKEN}", "web.host", "set web.tls"),
        (f"enabled: true, host: gate.local, token: {TOKEN}", "web.host", "set web.tls"),
        (f"token: {TOKEN}, token_file: t", "web.token_file", "keep one of the two"),
        ("token: short", "web.token", "fewer than 16 characters"),
        ("token: 'sixteen or more of them'", "web.token", "blanks"),
        ("tls: {certificate: a}", "web.tls.key", "is missing"),
        ("host: http://127.0.0.1", "web.host", "write 127.0.0.1"),
        ("host: 127.0.0.1:8088", "web.host", "write the port to web.port"),
        ("port: 0", "web.port", "at least 1"),
        ("names: ['*.example.org']", "web.names[0]", "no *"),
        ("names: ['https://cam.example.org']", "web.names[0]", "no https://"),
        ("enable: true", "web.enable", "did you mean enabled?"),
    ],
)
def test_what_is_not_is_refused_with_what_to_do(tmp_path, web, key, hint):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, web)
    said = [problem for problem in caught.value.problems if problem.path == key]
    assert said
    assert any(hint in str(problem) for problem in said), said
    assert "short" not in str(caught.value)


def test_nothing_of_it_is_changed_from_afar_and_all_holds_from_the_next_start():
    keys = [key for key in schema_keys() if key.place[0] == "web"]
    assert len(keys) > 10
    assert not any(key.remote for key in keys)
    assert {key.applies for key in keys} == {"agent"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_these_reach_no_further_than_the_device(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1.nip.io", "localhost.example.org", "0.0.0.0", "::", "::11", "127.0.0.1\n"])
def test_these_do(host):
    assert not is_loopback(host)


def test_the_token_comes_from_the_environment_too_and_is_hidden_from_then_on(tmp_path):
    found = loaded(tmp_path, "enabled: true", LOOKOUT__WEB__TOKEN="a-token-of-the-environment")
    settings = settings_of(found, None)
    assert settings.token == "a-token-of-the-environment"
    assert "a-token" not in repr(settings)
    assert "a-token" not in hide("said a-token-of-the-environment")


def test_files_start_from_the_folder_of_the_configuration_and_credentials_stay(tmp_path):
    found = settings_of(loaded(tmp_path, f"token_file: credential:page, {TLS}"), "/run/credentials/x")
    assert found.files.certificate == str(tmp_path / "page.pem")
    assert found.files.locate("token_file", found.files.token) == Path("/run/credentials/x/page")


def test_a_token_is_read_from_a_file_or_a_credential(tmp_path):
    (tmp_path / "page").write_text(f"  {TOKEN}\n")
    assert token_in(Files(token="credential:page", folder=tmp_path)) == TOKEN
    assert token_in(Files(token=str(tmp_path / "page"))) == TOKEN
    assert token_in(Files()) is None


@pytest.mark.parametrize(
    ("token", "folder", "said"),
    [
        ("credential:page", None, "LoadCredential="),
        ("credential:../x", "", "names no credential"),
        ("credential:", "", "names no credential"),
        ("absent", "", "cannot be read"),
        ("empty", "", "holds no token"),
        ("blanks", "", "holds no token"),
        ("binary", "", "holds no token"),
        ("huge", "", "holds no token"),
    ],
)
def test_a_token_that_cannot_be_used_is_told_by_its_key_and_never_shown(tmp_path, token, folder, said):
    (tmp_path / "empty").touch()
    (tmp_path / "blanks").write_text("two words of a token")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    (tmp_path / "huge").write_text("x" * 10_000)
    name = token if token.startswith("credential:") else str(tmp_path / token)
    with pytest.raises(BadCredential) as caught:
        token_in(Files(token=name, folder=None if folder is None else tmp_path))
    assert said in caught.value.message
    assert caught.value.field == "web.token_file"
    assert "two words" not in caught.value.message
