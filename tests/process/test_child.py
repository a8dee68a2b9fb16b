"""Real children: started one way, heard, ended, and described when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from agent.errors import ChildError
from agent.process import priority
from agent.process.channel import ChannelClosed
from agent.process.child import ChildSpec, Spawner
from agent.process.messages import Hello
from tests.patience import patient

from .conftest import CHILDREN, eventually, runs


def test_a_child_stops_when_asked_and_is_reaped(probe):
    child = probe("idle")
    assert runs(child.pid)
    assert 1_000_000 < child.memory_bytes() < 100_000_000
    began = time.monotonic()
    child.close()
    child.close()
    assert time.monotonic() - began < patient(2)
    assert child.wait(0) == 0
    assert child.describe_exit() == "ended with exit status 0"
    assert child.memory_bytes() == 0
    assert not Path(f"/proc/{child.pid}").exists()


def test_a_crash_is_described_with_its_signal_and_last_words(probe):
    child = probe("crash")
    assert child.wait(10) == -signal.SIGSEGV
    words = child.describe_exit()
    assert words.startswith("killed by SIGSEGV; last words: ")
    assert "the lens fell off" in words
    assert "ctypes" not in words
    assert "ctypes" in child.last_words()  # the fault handler's trace, for the log
    with pytest.raises(ChannelClosed):
        child.channel.receive(1)


def test_a_child_that_ignores_stop_is_killed(probe):
    child = probe("stubborn")
    child.close(timeout_s=0.2)
    assert child.wait(0) == -signal.SIGKILL
    assert child.describe_exit() == "killed by SIGKILL"


def test_a_stopped_child_can_be_killed(probe):
    child = probe("idle")
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    assert child.wait(5) == -signal.SIGKILL


def test_a_kill_from_outside_is_told_apart(probe):
    child = probe("idle")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(5)
    assert "not by the agent" in child.describe_exit()


def test_a_service_managers_signals_do_not_end_a_child(probe):
    child = probe("idle")
    os.kill(child.pid, signal.SIGTERM)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(0.2) is None


def test_log_lines_and_native_text_are_told_apart_and_free_of_credentials(probe, records):
    child = probe("log")
    child.close()
    ((name, record),) = records
    assert name == "probe"
    assert record["event"] == "probe.started"
    assert record["part"] == "lens"
    assert record["level"] == "info"
    assert record["count"] == 3
    assert record["at"].endswith("Z")
    assert "secret" not in str(record) + child.last_words()
    assert child.last_words().startswith("native rtsp://")


def test_a_child_gone_mad_is_bounded(probe, records):
    child = probe("flood")
    child.close()
    assert len(records) < 500
    assert len(child.last_words()) <= 4096


def test_the_environment_is_scrubbed(probe, monkeypatch):
    monkeypatch.setenv("LOOKOUT__MQTT__PASSWORD", "secret")
    environment = probe("environment").hello.versions
    assert "LOOKOUT__MQTT__PASSWORD" not in environment
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_child_inherits_nothing_but_its_channel(probe):
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    child = probe("idle")
    links = {int(fd.name): fd.readlink() for fd in Path(f"/proc/{child.pid}/fd").iterdir()}
    os.close(kept)
    assert len(links) == 4
    assert str(links[0]) == "/dev/null"
    assert links[1] == links[2]
    assert str(links[max(links)]).startswith("socket:")
    assert os.getpgid(child.pid) == child.pid == os.getsid(child.pid)


def test_a_module_that_does_not_exist_is_told_by_its_last_words(spawner):
    child = spawner.start(ChildSpec("probe", "no_such_module"))
    assert child.wait(10) == 1
    assert "no_such_module" in child.describe_exit()


def test_a_child_works_from_any_working_folder(probe, tmp_path, monkeypatch):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text("raise SystemExit('the wrong agent')")
    monkeypatch.chdir(tmp_path)
    probe("idle").close()


def test_nice_and_oom_rank_reach_the_whole_group(probe):
    child = probe("threads", nice=10, oom_score_adj=900)

    tasks = Path(f"/proc/{child.pid}/task")

    def nices() -> set[int]:
        return {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks.iterdir()}

    assert eventually(lambda: len(list(tasks.iterdir())) >= 4)  # QEMU may add one of its own
    assert nices() == {10}
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "900"
    child.set_oom_score_adj(500)
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "500"
    if priority.may_lower_nice():
        child.set_nice(0)
        assert nices() == {0}


NICE_AS_USER = """
import ctypes, os, resource, subprocess, sys
from agent.process import priority  # before it becomes a user who may not read a developer's Python
from agent.errors import ChildError
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NICE, (limit, limit))
os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as after the exec of a service manager, /proc is the user's
child = subprocess.Popen(["sleep", "9"], start_new_session=True)
priority.set_nice(child.pid, 10, "candidate")
priority.set_oom_score_adj(child.pid, 900, "candidate")
priority.set_oom_score_adj(child.pid, 500, "candidate")
try:
    priority.set_nice(child.pid, 0, "candidate"); came_back = True
except ChildError as error:
    assert "LimitNICE" in error.message; came_back = False
child.kill(); child.wait()
print(priority.may_lower_nice(), came_back)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming an ordinary user needs root")
@pytest.mark.parametrize(("limit", "expected"), [(0, "False False"), (20, "True True")])
def test_an_ordinary_user_comes_back_from_nice_exactly_where_the_limit_says(limit, expected, python):
    ran = subprocess.run([python, "-c", NICE_AS_USER, str(limit)], capture_output=True, text=True, check=False)
    if "not allowed to raise maximum limit" in ran.stderr:
        pytest.skip("raising RLIMIT_NICE needs CAP_SYS_RESOURCE")
    assert ran.stdout.strip() == expected, ran.stderr


def test_every_child_that_is_left_dies_with_the_spawner(probe, spawner):
    children = [probe("idle"), probe("stubborn")]
    spawner.close()
    spawner.close()
    assert not any(runs(child.pid) for child in children)
    with pytest.raises(ChildError, match="stopping"):
        spawner.start(ChildSpec("probe", "probe_child"))


def test_children_may_be_asked_for_from_any_thread_and_outlive_it(probe):
    started = []
    thread = threading.Thread(target=lambda: started.append(probe("idle")))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert runs(started[0].pid)


def test_starting_and_ending_children_leaks_no_descriptor_and_no_thread(probe):
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    probe("idle").close()
    before = held()
    for _ in range(3):
        probe("idle").close()
    assert eventually(lambda: held() == before)


def test_a_host_that_refuses_gives_a_child_error(monkeypatch):
    spawner = Spawner(lambda child, record: None)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(ChildError, match=r"probe .* cannot be started"):
        spawner.start(ChildSpec("probe", "probe_child"))
    spawner.close()


def test_what_a_child_leaves_unread_when_it_ends_does_not_destroy_its_answer(spawner):
    env = {"PYTHONPATH": str(CHILDREN), "PROBE": "errand"}
    child = spawner.start(ChildSpec("probe", "probe_child", env=env))
    spawner.log_at("debug")
    assert child.wait(20) == 0
    received = child.channel.receive(20)
    assert received is not None
    assert isinstance(received[0], Hello)


def test_children_log_at_the_level_that_the_agent_says_those_that_run_and_those_to_come(spawner, probe, records):
    def levels() -> set[str]:
        records.clear()
        time.sleep(0.3)
        return {record["level"] for _, record in records}

    probe("talk")
    assert eventually(lambda: levels() == {"info", "error"})
    spawner.log_at("debug")
    assert eventually(lambda: levels() == {"debug", "info", "error"})
    spawner.log_at("error")
    assert eventually(lambda: levels() == {"error"})
    probe("talk")
    assert levels() == {"error"}
