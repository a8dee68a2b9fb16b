"""The agent starts again in its own place: same process, same arguments, and a stop in between is not lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys
from agent.supervise.restart import start_again
from agent.supervise.signals import StopSignals

stop = StopSignals()
print(os.getpid(), sys.argv[1:], flush=True)
marker = sys.argv[1]
if os.path.exists(marker):
    print("again", os.environ["LOOKOUT_TEST"], flush=True)
    sys.exit(0 if sys.argv[2] == "run" else stop.wait())
open(marker, "w").close()
stop.restart("for a test")
assert stop.wait() is None
assert stop.reason == "for a test"
if sys.argv[2] == "stopped":
    os.kill(os.getpid(), signal.SIGTERM)
if not stop.may_start_again():
    sys.exit(7)
if sys.argv[2] == "late":
    os.kill(os.getpid(), signal.SIGTERM)  # held back, for the process that follows
start_again()
"""


def run(tmp_path: Path, how: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-X", "utf8", str(program), str(tmp_path / "marker"), how],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"LOOKOUT_TEST": "kept", "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_it_starts_again_with_the_same_process_arguments_and_environment(tmp_path: Path) -> None:
    done = run(tmp_path, "run")
    first, second, again = done.stdout.splitlines()
    assert first == second
    assert again == "again kept"
    assert done.returncode == 0


def test_a_stop_that_came_while_it_ended_ends_it(tmp_path: Path) -> None:
    done = run(tmp_path, "stopped")
    assert done.returncode == 7
    assert "again" not in done.stdout


def test_a_stop_that_came_at_the_last_moment_ends_the_next_one(tmp_path: Path) -> None:
    done = run(tmp_path, "late")
    assert "again" in done.stdout
    assert done.returncode == signal.SIGTERM
