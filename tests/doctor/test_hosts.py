"""What is said of real boards, from what their kernels tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.doctor.findings import Finding
from agent.doctor.judge import kernel, memory, power, storage
from agent.doctor.look import board
from agent.telemetry import sysfs

from .hosts import HOSTS, JETSON, PC, PI_4, PI_5, Files, build


def told(folder: Path, files: Files) -> dict[str, Finding]:
    """Every finding about a host, by name."""
    host = build(folder, files)
    said = sysfs.text(host / "proc/meminfo") or ""
    numbers = {words[0].rstrip(":"): int(words[1]) / 1000 for words in map(str.split, said.splitlines())}
    mounts = storage.read_mounts(files["proc/self/mountinfo"])
    swaps = memory.read_swaps(files["proc/swaps"], [(mount.point, mount.source) for mount in mounts])
    found = (
        *power.judge(board.look(host, 80.0)),
        *kernel.judge(board.look_at_groups(host)),
        *memory.judge(memory.Memory(numbers["MemTotal"], numbers["MemAvailable"], 20.0, None, swaps)),
    )
    return {finding.name: finding for finding in found}


def test_a_pi_with_too_little_voltage_fails_and_is_told_what_supply_it_needs(tmp_path: Path) -> None:
    found = told(tmp_path, PI_4)
    assert found["power supply"].verdict == "failed"
    assert "5 V 3 A" in found["power supply"].remedy
    assert found["heat"].verdict == "warning"
    assert found["heat"].found == "82 °C, it is throttled"
    assert found["memory limits"].verdict == "warning"
    assert "cgroup_enable=memory" in found["memory limits"].remedy
    assert "/boot/firmware/cmdline.txt" in found["memory limits"].remedy
    assert found["swap"].verdict == "warning"
    assert "/var/swap" in found["swap"].found
    assert found["power mode"].verdict == "ok"


def test_a_pi_that_was_undervolted_once_is_warned_of_it_though_all_is_well_now(tmp_path: Path) -> None:
    found = told(tmp_path, PI_5)
    assert found["power supply"].verdict == "warning"
    assert "since it was started" in found["power supply"].found
    assert found["heat"].found == "51 °C, since it was started it was throttled"
    assert found["memory limits"].verdict == "ok"
    assert found["swap"].verdict == "ok"
    assert not any(finding.degrades for finding in found.values())


def test_a_jetson_tells_its_power_mode_and_its_overdrawn_supply(tmp_path: Path) -> None:
    found = told(tmp_path, JETSON)
    assert found["power mode"].verdict == "ok"
    assert found["power mode"].found.startswith("7W (others: 15W)")
    assert "0.96 of its 1.51 GHz" in found["power mode"].found
    assert found["power supply"].verdict == "warning"
    assert "12 times" in found["power supply"].found
    assert found["heat"].found == "47 °C, not throttled"


def test_a_pc_without_flags_has_nothing_to_say_of_its_supply(tmp_path: Path) -> None:
    found = told(tmp_path, PC)
    assert found["power supply"].verdict == "skipped"
    assert found["heat"].found == "44 °C, not throttled"
    assert found["swap"].found == "none"
    assert not any(finding.verdict in ("warning", "failed") for finding in found.values())


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_what_is_wrong_always_says_what_to_do(tmp_path: Path, name: str) -> None:
    for finding in told(tmp_path, HOSTS[name]).values():
        assert finding.remedy or finding.verdict in ("ok", "skipped"), finding


def test_a_processor_that_is_held_back_outside_a_power_mode_is_a_warning(tmp_path: Path) -> None:
    files = {**PC, "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "800000"}
    found = told(tmp_path, files)["power mode"]
    assert found.verdict == "warning"
    assert "0.80 of its 4.50 GHz" in found.found


def test_a_clock_lowered_by_heat_is_told_where_no_firmware_does(tmp_path: Path) -> None:
    found = told(tmp_path, {**PC, "sys/class/thermal/cooling_device0/cur_state": "3"})["heat"]
    assert (found.verdict, found.values["throttled_now"]) == ("warning", True)


def test_a_host_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    findings = (*power.judge(board.look(tmp_path, 80.0)), *kernel.judge(board.look_at_groups(tmp_path)))
    assert {finding.verdict for finding in findings} == {"skipped"}
