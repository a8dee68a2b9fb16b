"""The commands as a person types them: what they print, and their exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.fakes.registry import Shop, release_folder
from tools.registry.cli import app

COMMANDS = ("init", "publish", "channel", "yank", "rotate", "export", "refresh", "status", "ls", "serve")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_common_road(tmp_path: Path) -> None:
    registry, keys = tmp_path / "registry", tmp_path / "keys"
    result = run("init", registry, "--keys", keys, "--root-keys", 2)
    assert result.exit_code == 0, result.output
    assert f"lookout provision --root {registry / 'root.json'}" in result.output
    for version in ("1.0.0", "1.1.0"):
        draft = release_folder(tmp_path / version, version=version)
        result = run("publish", registry, "--keys", keys, "--manifest", draft, "--channel", "stable")
        assert result.exit_code == 0, result.output
        assert f"Published tiny:{version}" in result.output
    assert run("channel", registry, "tiny@stable", "1.0.0", "--keys", keys).output == "tiny@stable is now 1.0.0.\n"
    assert "Signed anew" in run("refresh", registry, "--keys", keys).output
    shown = run("status", registry).output
    assert all(word in shown for word in ("timestamp", "days left", "tiny", "1.1.0", "stable"))
    assert "1.1.0" in run("ls", registry, "tiny").output


def test_facts_come_as_json(shop: Shop) -> None:
    draft = release_folder(shop.folder / "draft")
    published = json.loads(
        run("publish", shop.registry, "--keys", shop.keys.folder, "--manifest", draft, "--json").output
    )
    assert (published["model"], published["version"], len(published["digest"])) == ("tiny", "1.0.0", 64)
    facts = json.loads(run("status", shop.registry, "--json").output)
    assert facts["roles"]["timestamp"]["version"] == 2
    assert 13.9 < facts["roles"]["timestamp"]["days_left"] <= 14
    assert list(facts["models"]["tiny"]["versions"]) == ["1.0.0"]
    assert json.loads(run("ls", shop.registry, "--json").output) == facts["models"]
    refreshed = json.loads(run("refresh", shop.registry, "--keys", shop.keys.folder, "--json").output)
    assert refreshed["valid_until"].endswith("Z")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: lookout registry {command}" in result.output


def test_bad_input_ends_with_2_and_one_message(shop: Shop) -> None:
    result = run("status", shop.folder)
    assert result.exit_code == 2
    assert "is no registry" in result.stderr
    assert "Traceback" not in result.output
    assert run("channel", shop.registry, "tiny:1.0.0", "1.0.0", "--keys", shop.keys.folder).exit_code == 2
    assert run("serve", shop.registry, "--refresh").exit_code == 2
    assert run("ls", shop.registry, "ghost").exit_code == 2
    assert run("publish", shop.registry).exit_code == 2


def test_a_registry_that_was_changed_ends_with_1(shop: Shop) -> None:
    timestamp = shop.registry / "metadata" / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version":1', b'"version":7'))
    result = run("status", shop.registry)
    assert result.exit_code == 1
    assert "not signed by this registry's keys" in result.stderr


def test_serve_prints_its_address_and_ends_with_130_on_ctrl_c(shop: Shop) -> None:
    # A shell's background job, which the tests may be run in, inherits SIGINT as ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from tools.registry.cli import app; app()"
    command = [sys.executable, "-u", "-c", code, "serve", str(shop.registry), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert "at http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
