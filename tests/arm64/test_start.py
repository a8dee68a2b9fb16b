"""What must hold before anything else does: all that a device loads is there and loads, and nothing phones home."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import agent
from tests.patience import patient

LOOKOUT = Path(sys.executable).with_name("lookout")
ROOT = Path(__file__).resolve().parents[2]
HARDWARE = {"agent.__main__"}
"""Runs when it is imported."""


def run(home: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
        env={**os.environ, "HOME": str(home)},
    )


def modules() -> list[str]:
    found = pkgutil.walk_packages(agent.__path__, "agent.")
    return sorted(each.name for each in found if each.name not in HARDWARE)


def test_every_module_of_the_agent_is_imported_with_all_that_it_needs():
    names = modules()
    assert len(names) > 100
    for name in names:
        import_module(name)


@pytest.mark.parametrize(
    "name",
    sorted(
        line.split(";")[0].split(">")[0].split("[")[0].strip()
        for line in metadata.requires("lookout-agent") or ()
        if "extra ==" not in line
    ),
)
def test_every_dependency_of_a_device_is_installed(name: str):
    assert metadata.version(name)


def test_what_can_be_read_is_said_to_be_readable(tmp_path):
    (tmp_path / "file").write_text("")
    assert os.access(tmp_path / "file", os.R_OK)


def test_the_command_tells_its_versions_and_checks_the_examples(tmp_path):
    told = run(tmp_path, LOOKOUT, "version", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["onnxruntime"]
    for example in ("raspberry-pi.yaml", "minimal.yaml"):
        checked = run(tmp_path, LOOKOUT, "check", "-c", ROOT / "configs" / example)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_onnx_runtime_loads_here_and_writes_nothing_into_the_home_folder(tmp_path):
    done = run(tmp_path, sys.executable, "-c", "import agent.infer.session, onnxruntime as o; o.get_build_info()")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
