"""What tells that the processor is slowed down, on the hosts that tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.telemetry.power import throttled
from agent.telemetry.probes import Probe, Probes


def cooler(sys: Path, number: int, kind: str, state: str) -> None:
    folder = sys / f"class/thermal/cooling_device{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "cur_state").write_text(f"{state}\n")


@pytest.mark.parametrize(
    ("flags", "said"), [("0", 0.0), ("50000", 0.0), ("50005", 1.0), ("4", 1.0), ("8", 1.0), ("1", 0.0)]
)
def test_a_raspberry_pi_says_it_by_what_is_so_now(tmp_path, flags, said):
    (tmp_path / "devices/platform/soc/soc:firmware").mkdir(parents=True)
    (tmp_path / "devices/platform/soc/soc:firmware/get_throttled").write_text(f"{flags}\n")
    assert throttled(tmp_path) == said


def test_elsewhere_a_lower_clock_that_cools_says_it(tmp_path):
    cooler(tmp_path, 0, "pwm-fan", "3")
    assert throttled(tmp_path) is None
    cooler(tmp_path, 1, "cpufreq-cpu0", "0")
    assert throttled(tmp_path) == 0.0
    cooler(tmp_path, 2, "thermal-cpufreq-1", "2")
    assert throttled(tmp_path) == 1.0
    cooler(tmp_path, 3, "Processor", "broken")
    assert throttled(tmp_path) == 1.0


def test_a_host_that_tells_nothing_has_no_value(tmp_path):
    assert throttled(tmp_path) is None


def test_only_the_rows_that_are_asked_for_are_read():
    asked = []
    rows = [Probe(key, "", lambda key=key: asked.append(key), "") for key in "abc"]
    assert Probes(rows).read({"b"}) == {"b": None}
    assert asked == ["b"]
