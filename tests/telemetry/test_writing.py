"""What is written is counted whoever wrote it and whoever has ended, and more than the medium bears is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.telemetry.medium import Medium
from agent.telemetry.meter import WINDOW_S, Meter
from agent.telemetry.processes import SELF, Processes
from agent.telemetry.wear import DAY_S, LEAST_S, Wear
from agent.telemetry.writing import Writing
from tests.telemetry.hosts import ORIN, Host, make

MB = 1_000_000
WRITER = """
import sys
with open(sys.argv[1], "wb") as file:
    file.write(bytes(3_000_000))
print("done", flush=True)
sys.stdin.read()
"""


def writer(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that has written 3 MB when it says so, and ends when its standard input does."""
    made = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert made.stdout is not None
    assert made.stdout.readline() == b"done\n"
    return made


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this kernel does not count what processes write")
def test_what_a_child_writes_counts_while_it_lives_and_when_it_has_ended(tmp_path):
    if tmp_path.stat().st_dev == Path("/dev/shm").stat().st_dev:
        pytest.skip("the folder for tests is in memory")
    children: dict[str, int] = {}
    processes = Processes(lambda: children)
    before = processes.written_mb() or 0.0
    child = writer(tmp_path / "data")
    children["writer"] = child.pid
    alive = processes.written_mb() or 0.0
    assert alive - before >= 3.0
    child.communicate()
    assert processes.written_mb() == pytest.approx(alive, abs=0.1), "between its end and the next look"
    children.clear()
    assert processes.written_mb() == pytest.approx(alive, abs=0.1), "its parent has its account"


def test_each_process_has_its_memory_and_time_and_one_that_ended_has_none():
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    children = {"worker-1": child.pid}
    processes = Processes(lambda: children)
    rows = processes.rows()
    assert set(rows) == {SELF, "worker-1"}
    assert rows["worker-1"].memory_mb > 0.1
    child.communicate()
    assert set(Processes(lambda: children).rows()) == {SELF}


def test_garbage_of_the_kernel_is_no_process(tmp_path):
    for name, said in (("stat", "1 (a) b) S 1"), ("io", "write_bytes: many\n")):
        (tmp_path / "self").mkdir(exist_ok=True)
        (tmp_path / "self" / name).write_text(said)
    processes = Processes(proc=tmp_path)
    assert processes.rows() == {}
    assert processes.written_mb() is None


# --- a day -----------------------------------------------------------------------------------------------------------


def days(*points: tuple[float, float]) -> Wear:
    """Return what was seen at these seconds."""
    wear = Wear()
    for seconds, mb in points:
        wear.add(round(seconds * NS_PER_S), mb)
    return wear


def test_a_rate_is_that_of_the_last_hour():
    wear = days(*((minute * 60, 1000.0 if minute < 60 else 1000 + (minute - 60) * 2) for minute in range(300)))
    assert wear.mb_per_day(300 * 60 * NS_PER_S, 1000 + 240 * 2) == pytest.approx(2 * 24 * 60)


def test_ten_minutes_are_needed_to_say_anything_of_a_day():
    wear = days((0, 5.0))
    assert wear.mb_per_day(round((LEAST_S - 1) * NS_PER_S), 6.0) is None
    assert wear.mb_per_day(round(LEAST_S * NS_PER_S), 6.0) == pytest.approx(DAY_S / LEAST_S)


def test_telemetry_once_an_hour_is_enough():
    wear = days(*((hour * 3600, hour * 10.0) for hour in range(30)))
    assert wear.mb_per_day(30 * 3600 * NS_PER_S, 300.0) == pytest.approx(240.0)
    assert wear.last_day_mb(30 * 3600 * NS_PER_S, 300.0) == pytest.approx(240.0)


def test_what_was_written_before_the_agent_looked_does_not_count():
    wear = days((0, 5000.0))
    assert wear.last_day_mb(60 * NS_PER_S, 5001.0) == 1.0


@given(st.lists(st.tuples(st.floats(0.1, 7200), st.floats(0, 50)), min_size=1, max_size=300))
def test_a_day_is_never_more_than_all_and_never_less_than_its_share(steps):
    wear, now_s, mb, written = Wear(), 0.0, 0.0, [(0.0, 0.0)]
    wear.add(0, 0.0)
    for seconds, amount in steps:
        now_s, mb = now_s + seconds, mb + amount
        wear.add(round(now_s * NS_PER_S), mb)
        written.append((now_s, mb))
    today = wear.last_day_mb(round(now_s * NS_PER_S), mb)
    # Points lie ten minutes apart at least, so of a day its first ten minutes and a step may be missing.
    slack_s = LEAST_S + max(seconds for seconds, _ in steps)
    least = mb - next(amount for at, amount in written if now_s - at <= DAY_S - slack_s or at == now_s)
    assert least - 1e-6 <= today <= mb + 1e-6
    assert len(wear._points) <= DAY_S / LEAST_S + 2


# --- the budget ------------------------------------------------------------------------------------------------------


class Counting(Processes):
    """Processes that wrote what a test says."""

    mb = 0.0

    def written_mb(self) -> float:
        return self.mb


def test_more_than_the_budget_in_a_day_is_told_and_forgotten_a_day_later(tmp_path):
    now, told, processes = [0.0], [], Counting()
    writing = Writing(
        processes, Medium(tmp_path, sys=tmp_path), budget_mb=100.0, changed=lambda: told.append(writing.problem()),
        clock_ns=lambda: round(now[0] * NS_PER_S),
    )  # fmt: skip
    for hour in range(30):
        now[0] = hour * 3600
        processes.mb = min(hour, 3) * 40.0
        writing.own_mb()
        assert (writing.problem() is not None) == (3 <= hour <= 24), hour
    assert len(told) == 2
    assert "report.wear_budget_mb_per_day (100)" in told[0]
    assert "120 MB" in told[0]


def test_another_budget_counts_at_once(tmp_path):
    processes = Counting()
    writing = Writing(processes, Medium(tmp_path, sys=tmp_path), budget_mb=None)
    processes.mb = 10_000.0
    writing.own_mb()
    assert writing.problem() is None
    writing.allow(9999.0)
    assert "9999" in (writing.problem() or "")
    writing.allow(None)
    assert writing.problem() is None


def test_an_emmc_that_nears_its_end_is_told_whatever_was_written(tmp_path):
    folder = "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001"
    make(Host({**ORIN.files, f"{folder}/pre_eol_info": "0x02"}, ORIN.device), tmp_path)
    writing = Writing(Counting(), Medium(tmp_path, sys=tmp_path / "sys", device=ORIN.device), budget_mb=None)
    assert "mmcblk0" in (writing.problem() or "")


# --- rates -----------------------------------------------------------------------------------------------------------


def test_a_rate_does_not_depend_on_who_else_asks():
    meter = Meter()
    for tenth in range(1, 400):
        rate = meter.per_second(tenth * NS_PER_S // 10, tenth * 7.0)
        assert rate is None if tenth == 1 else rate == pytest.approx(70.0)


def test_a_change_shows_after_the_window_and_is_gone_after_two():
    meter = Meter()
    rates = [meter.per_second(at * NS_PER_S, 100.0 if at >= 20 else 0.0) for at in range(60)]
    assert max(rate or 0 for rate in rates[20:26]) >= 100 / (2 * WINDOW_S)
    assert all(rate == 0 for rate in rates[20 + 2 * round(WINDOW_S) + 1 :])


def test_a_counter_or_a_clock_that_goes_back_begins_anew():
    meter = Meter()
    assert [meter.per_second(at * NS_PER_S, value) for at, value in ((1, 5), (2, 9), (3, 2), (4, 3), (2, 4))] == [
        None, 4.0, None, 1.0, None,
    ]  # fmt: skip
