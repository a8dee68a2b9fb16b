"""install.sh for real: on a machine of its own with a real systemd, from a folder of wheels, without a network.

One machine for the module; each test leaves it as it found it, with a good version at work, but for the last.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.integration.processes import look

from .installed import SCRIPT, Installed, folders, installed

__all__ = ["folders", "installed"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_one_command_brings_a_blank_device_to_detections(installed: Installed) -> None:
    print(f"install.sh from a folder of wheels: {installed.took_s:.1f} s\n{installed.said}")
    machine = installed.machine
    installed.sees()
    assert machine.show("ActiveState") == "active"
    assert machine.run("systemctl", "is-enabled", "lookout").stdout.strip() == "enabled"
    modes = {"/etc/lookout/agent.yaml": "root lookout 640", "/etc/lookout/credentials/mqtt-password": "root root 600"}
    assert {file: machine.run("stat", "-c", "%U %G %a", file).stdout.strip() for file in modes} == modes
    assert set(machine.run("id", "-Gn", "lookout").stdout.split()) == {"lookout", "video", "render"}
    assert "installed" in machine.run("/usr/local/bin/lookout", "status").stdout
    assert (
        machine.run("systemd-analyze", "verify", "--recursive-errors=no", "/etc/systemd/system/lookout.service").stderr
        == ""
    )


def test_the_same_again_changes_nothing_and_stops_nothing(installed: Installed) -> None:
    before, pid = installed.tree(), installed.machine.main_pid()
    began_s = time.monotonic()
    assert "installed already" in installed.upgrade("good")
    print(f"the same again: {time.monotonic() - began_s:.1f} s")
    assert installed.tree() == before
    assert installed.machine.main_pid() == pid


def test_a_new_credential_is_taken_up(installed: Installed) -> None:
    pid = installed.machine.main_pid()
    installed.machine.run("sh", "-c", "echo other > /srv/password")
    installed.upgrade("good", "--credential", "mqtt-password=/srv/password")
    assert installed.machine.main_pid() not in (0, pid)
    assert installed.machine.run("cat", "/run/credentials/lookout.service/mqtt-password").stdout == "other\n"
    installed.sees()


@pytest.mark.parametrize(
    ("folder", "why", "patience_s"),
    [
        ("exits", "it crashed 3 times", 60),
        ("hangs", "it was not ready", 20),
        ("blind", "it answered no frame", 40),
    ],
)
def test_a_version_that_does_not_come_up_is_taken_back(installed: Installed, folder, why, patience_s) -> None:
    before, boots = installed.current, installed.boots()
    began_s = time.monotonic()
    said = installed.upgrade(folder, "--patience", str(patience_s), code=1)
    print(f"{folder}: taken back after {time.monotonic() - began_s:.1f} s\n{said}")
    assert f"the new version is taken back: {why}" in said
    assert (installed.current, installed.version) == (before, "0.1.0")
    installed.sees()
    assert installed.boots() > boots, "the state goes on, also where the new version has changed its schema"
    assert ("journal.db is put back" in said) == (folder == "blind")
    assert installed.machine.run("ls", "/opt/lookout/versions").stdout.split() == [before.rsplit("/", 1)[1]]
    assert installed.machine.run("test", "-e", "/opt/lookout/on-trial").returncode == 1


def test_a_version_without_a_part_that_it_needs_is_refused_before_anything_changes(installed: Installed) -> None:
    before = installed.tree()
    assert "pip could not install it" in installed.upgrade("lacking", code=1)
    assert installed.tree() == before


def _begun_upgrade(installed: Installed, folder: str) -> tuple[subprocess.Popen[str], int]:
    """Begin an upgrade, wait until it is on trial, and return it with the pid of its script."""
    machine = installed.machine
    process = machine.start("bash", SCRIPT, *installed.wheels(folder))
    machine.wait(lambda: machine.run("test", "-e", "/opt/lookout/on-trial").returncode == 0, 120)
    pids = [one.pid for one in look() if one.command[:2] == ("bash", SCRIPT) and machine.holds(one.pid)]
    return process, min(pids)


def test_an_upgrade_that_is_ended_goes_back_by_itself_and_one_that_is_killed_the_next_time(
    installed: Installed,
) -> None:
    before = installed.current
    process, pid = _begun_upgrade(installed, "hangs")
    os.kill(pid, signal.SIGTERM)
    assert process.wait(60) == 1
    assert installed.current == before
    installed.sees()

    process, pid = _begun_upgrade(installed, "hangs")
    os.kill(pid, signal.SIGKILL)
    process.wait(60)
    assert installed.current != before
    assert "cut short" in installed.upgrade("good")
    assert installed.current == before
    installed.sees()


def test_an_upgrade_that_a_power_cut_ended_is_taken_back_at_the_next_boot(installed: Installed) -> None:
    before, machine = installed.current, installed.machine
    process, pid = _begun_upgrade(installed, "hangs")
    os.kill(pid, signal.SIGKILL)
    process.wait(60)
    # Another boot is another boot id: that of the mark is changed instead of the machine's.
    assert machine.run("sed", "-i", "s/^[^ ]*/another-boot/", "/opt/lookout/on-trial").returncode == 0
    machine.run("systemctl", "kill", "--signal=KILL", "lookout")
    installed.sees()
    assert installed.current == before
    assert machine.run("test", "-e", "/opt/lookout/on-trial").returncode == 1


def test_a_better_version_serves_with_the_state_of_the_old_one_and_can_be_rolled_back(installed: Installed) -> None:
    before = installed.current
    boots = installed.boots()
    began_s = time.monotonic()
    print(installed.upgrade("better"), f"upgraded in {time.monotonic() - began_s:.1f} s")
    installed.sees()
    assert installed.version == "0.9.4"
    assert installed.boots() > boots > 0, "the state went on"
    assert installed.install("--rollback").count("it runs: lookout-agent 0.1.0") == 1
    assert (installed.current, installed.version) == (before, "0.1.0")
    installed.sees()


def test_on_a_jetson_the_users_build_of_onnx_runtime_is_taken_and_stays_the_only_one(installed: Installed) -> None:
    machine, jetson = installed.machine, ("--board", "jetson", "--no-system-packages")
    said = installed.upgrade("gpu", *jetson)
    assert "onnxruntime_gpu-" in said
    assert installed.runtimes() == ["onnxruntime-gpu"]
    assert "argus_socket" in machine.show("BindPaths")
    installed.sees()
    said = installed.upgrade("better", *jetson)  # a folder without that build
    assert "ONNX Runtime: before" in said
    assert installed.runtimes() == ["onnxruntime-gpu"]
    installed.sees()
    installed.upgrade("good", "--onnxruntime", "pypi")
    assert installed.runtimes() == ["onnxruntime"]
    assert machine.show("BindPaths") == ""


def test_on_a_raspberry_pi_the_environment_sees_the_systems_packages(installed: Installed) -> None:
    machine, folder = installed.machine, "/usr/lib/python3/dist-packages/picamera2"  # a stand-in: there is no camera
    machine.run("sh", "-c", f"mkdir {folder} && touch {folder}/__init__.py")
    said = installed.upgrade("better", "--board", "raspberry-pi")
    assert "no simplejpeg for this NumPy" in said, "told, and no reason to fail: the folder has none"
    look = ("/opt/lookout/current/bin/python", "-c", "import picamera2")
    assert machine.run(*look).returncode == 0
    installed.sees()
    installed.upgrade("good", "--board", "other")
    assert machine.run(*look).returncode != 0


def test_what_was_stopped_by_hand_stays_stopped_through_an_upgrade(installed: Installed) -> None:
    installed.machine.run("systemctl", "stop", "lookout")
    assert "not started" in installed.upgrade("better")
    assert installed.version == "0.9.4"
    assert installed.machine.show("ActiveState") == "inactive"
    installed.machine.run("systemctl", "start", "lookout", timeout_s=60)
    installed.sees()


def test_a_rehearsal_on_an_installed_device_changes_nothing(installed: Installed) -> None:
    before = installed.tree()
    for arguments in (installed.wheels("good"), ("--rollback",), ("--uninstall", "--purge")):
        assert "would run" in installed.install("--dry-run", *arguments)
    assert installed.tree() == before


def test_removal_keeps_configuration_and_state_unless_they_are_to_go_too(installed: Installed) -> None:
    """The last one: the machine is bare afterwards."""
    machine = installed.machine
    said = machine.run(
        "bash", "/opt/lookout/install.sh", "--uninstall", timeout_s=60
    )  # the installed script removes itself
    assert said.returncode == 0, said
    gone = (
        "/opt/lookout",
        "/etc/systemd/system/lookout.service",
        "/etc/systemd/system/lookout.service.d",
        "/usr/local/bin/lookout",
    )
    assert [path for path in gone if machine.run("test", "-e", path).returncode == 0] == []
    assert machine.show("LoadState") == "not-found"
    kept = ("/etc/lookout/agent.yaml", "/var/lib/lookout/registry/root.json")
    assert [path for path in kept if machine.run("test", "-e", path).returncode != 0] == []
    assert installed.install("--uninstall", "--purge")
    assert [
        path for path in ("/etc/lookout", "/var/lib/lookout") if machine.run("test", "-e", path).returncode == 0
    ] == []
    assert machine.run("id", "lookout").returncode != 0
    assert installed.install("--uninstall", "--purge"), "what is not there can be removed as well"
