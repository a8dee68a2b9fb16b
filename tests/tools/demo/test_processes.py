from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tools.demo import processes
from tools.demo.failure import DemoFailed

SLEEPER = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_was_started_is_gone_after_the_stack(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = processes.start(stack, "sleeper", python(SLEEPER), tmp_path / "log", ready="ready")
        family = [psutil.Process(running.pid)]
        assert running.exit_status is None
    assert processes.survivors(family, 1.0) == []


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = processes.start(stack, "stubborn", python(STUBBORN), tmp_path / "log", ready="ready")
        running.stop(timeout_s=0.2)
        assert running.exit_status == -signal.SIGKILL


def test_a_process_that_ends_before_it_is_ready_says_its_last_words(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(DemoFailed, match=r"the loser ended before it was ready.*no luck"):
        processes.start(stack, "loser", python("raise SystemExit('no luck')"), tmp_path / "log", ready="ready")


def test_a_process_that_never_gets_ready_fails_at_its_deadline(tmp_path: Path) -> None:
    silent = python("import time; time.sleep(60)")
    with ExitStack() as stack, pytest.raises(DemoFailed, match=r"not ready within 0\.3 s"):
        processes.start(stack, "silent", silent, tmp_path / "log", ready="ready", timeout_s=0.3)


def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from contextlib import ExitStack
        from pathlib import Path
        from tools.demo import processes
        stack = ExitStack()
        log, argv = Path({str(tmp_path / "log")!r}), [sys.executable, "-c", {SLEEPER!r}]
        running = processes.start(stack, "sleeper", argv, log, ready="ready")
        print(running.pid, flush=True)
        time.sleep(60)
    """
    demo = subprocess.Popen(python(textwrap.dedent(code)), stdout=subprocess.PIPE)
    assert demo.stdout is not None
    with demo.stdout as out:
        sleeper = psutil.Process(int(out.readline()))
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    assert processes.survivors([sleeper], 3.0) == []


def test_descendants_are_seen_and_zombies_are_not_alive(tmp_path: Path) -> None:
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); " + SLEEPER
    with ExitStack() as stack:
        running = processes.start(stack, "parent", python(parent), tmp_path / "log", ready="ready")
        deadline = time.monotonic() + 5
        while not (children := running.children()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(children) == 1
    assert processes.survivors(children, 1.0) == []


def test_the_tail_of_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert processes.tail(tmp_path / "nothing", 5) == []
    (tmp_path / "log").write_text("a\nb\nc\n")
    assert processes.tail(tmp_path / "log", 2) == ["b", "c"]
