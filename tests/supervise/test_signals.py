"""The agent hears that it shall stop."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, threading, time
from agent.supervise.signals import StopSignals

stop = StopSignals()
idle = threading.Event()
other = threading.Thread(target=idle.wait, daemon=True)
other.start()

def tell():
    time.sleep(0.3)  # the main thread waits by then
    signal.pthread_kill(other.ident, signal.SIGUSR1)
    signal.pthread_kill(other.ident, getattr(signal, sys.argv[1]))

signal.signal(signal.SIGUSR1, lambda *_: None)
threading.Thread(target=tell, daemon=True).start()
print(stop.wait().name)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_is_heard_whichever_thread_the_kernel_gives_it_to(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == name


def test_a_stop_that_came_before_anybody_waited_is_heard() -> None:
    program = "import os, signal\nfrom agent.supervise.signals import StopSignals\nstop = StopSignals()\n"
    program += "os.kill(os.getpid(), signal.SIGTERM)\nprint(stop.wait().name)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "SIGTERM"


def test_a_hangup_reloads_a_service_as_often_as_it_comes_and_ends_what_runs_in_a_closed_terminal() -> None:
    program = """
import os, signal, sys
from agent.supervise.signals import StopSignals

stop = StopSignals()
os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGHUP)
os.kill(os.getpid(), signal.SIGTERM)
print(stop.wait((lambda: print("reload")) if sys.argv[1] == "service" else None).name)
"""
    for how, said in (("service", ["reload", "reload", "SIGTERM"]), ("terminal", ["SIGHUP"])):
        done = subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, text=True, timeout=20, check=True
        )
        assert done.stdout.split() == said
