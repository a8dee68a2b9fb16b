"""Benchmarks elsewhere: a real SSH server on loopback, and a real agent that serves a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import free_port, wait_for_port
from tests.fakes.models import tiny_detector
from tests.integration.conftest import broker, registry, shop, world
from tests.integration.device import PIPELINE
from tests.integration.shelf import TINY
from tools.model.cli import app

__all__ = ["broker", "registry", "shop", "world"]


@dataclass
class SshServer:
    """A server of one user, with keys of its own. ``options`` as ``--ssh-option`` takes them."""

    options: list[str]
    folder: Path


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshServer]:
    """A real sshd; the test is skipped where the program is absent."""
    program = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("sshd is absent: apt-get install openssh-server openssh-client")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd separates privileges
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "authorized").write_bytes((tmp_path / "user.pub").read_bytes())
    port = free_port()
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\nUsePAM no\n"
    )
    server = subprocess.Popen([program, "-D", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        known = f"-oUserKnownHostsFile={tmp_path}/known"
        yield SshServer([f"-p{port}", f"-i{tmp_path}/user", "-oStrictHostKeyChecking=no", known], tmp_path)
    finally:
        server.kill()
        server.wait()


def run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def over_ssh(ssh: SshServer, *arguments: object, python: str = sys.executable) -> object:
    options = [word for option in ssh.options for word in ("--ssh-option", option)]
    return run(*arguments, "--on", "127.0.0.1", "--python", python, *options)


def left_behind() -> list[Path]:
    return list(Path("/tmp").glob("lookout-cell-*"))  # where mktemp puts them


def test_a_device_measures_over_ssh_and_nothing_is_left_there(ssh, tmp_path):
    before = left_behind()
    model = tiny_detector(tmp_path / "tiny model's.onnx")
    ended = over_ssh(ssh, model, "--rounds", 2, "--seconds", "0.05", "--json")
    assert ended.exit_code == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["hosts"][0]["how"] == "ssh"
    assert told["figures"][0]["runs"] >= 40
    assert left_behind() == before


def test_a_host_without_onnx_runtime_is_told_and_nothing_is_left_there(ssh, tmp_path):
    before = left_behind()
    ended = over_ssh(ssh, tiny_detector(tmp_path / "m.onnx"), python="/nowhere/python")
    assert ended.exit_code == 1
    assert "/nowhere/python" in ended.stderr
    assert left_behind() == before


def test_a_host_that_is_not_there_is_told(tmp_path):
    port = free_port()
    ended = run(tiny_detector(tmp_path / "m.onnx"), "--on", "127.0.0.1", "--ssh-option", f"-p{port}")
    assert ended.exit_code == 1
    assert "127.0.0.1: mktemp failed" in ended.stderr


def test_a_running_device_tells_what_its_model_takes(broker, world):
    device = world.device(port=broker.port, pipelines={PIPELINE: {"model": TINY}})
    device.wait_serving(TINY)
    ended = run("--on", f"mqtt:{device.name}", "--broker", f"127.0.0.1:{broker.port}", "--wait", 20, "--json")
    assert ended.exit_code == 0, ended.stderr
    (row,) = json.loads(ended.stdout)["figures"]
    assert (row["host"], row["model"]) == (device.name, TINY)
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert row["runs"] > 0


def test_a_device_that_nobody_knows_is_told(broker):
    ended = run("--on", "mqtt:nobody", "--broker", f"127.0.0.1:{broker.port}", "--wait", "0.5")
    assert ended.exit_code == 1
    assert "nobody is not known to the broker" in ended.stderr


def test_a_broker_that_is_down_is_told():
    ended = run("--on", "mqtt:gate", "--broker", f"127.0.0.1:{free_port()}")
    assert ended.exit_code == 1
    assert "is the broker running" in ended.stderr
