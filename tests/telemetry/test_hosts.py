"""What each kind of host says of itself is told rightly, what it lacks is left out, and garbage harms nobody."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.telemetry import sysfs
from agent.telemetry.host import host_probes
from agent.telemetry.medium import Medium
from agent.telemetry.probes import Probes
from agent.telemetry.processes import Processes
from agent.telemetry.writing import Writing
from tests.depth import examples
from tests.telemetry.hosts import CONTAINER, HOSTS, ORIN, PI_4, PI_5, VIRTUAL, Host, Link, make


def probes(host: Host, root: Path) -> Probes:
    make(host, root)
    processes = Processes()
    writing = Writing(processes, Medium(root, sys=root / "sys", device=host.device))
    return Probes(host_probes(root, writing=writing, processes=processes, sys=root / "sys", proc=root / "proc"))


ALWAYS = {
    "load_1m": 0.52,
    "memory_used_mb": 2048.0,
    "memory_available_mb": 6144.0,
    "swap_used_mb": 102.4,
}


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (PI_4, {**ALWAYS, "temperature_c": 61.84, "throttled": 1.0, "throttled_since_boot": 1.0, "undervoltage": 1.0,
                "undervoltage_since_boot": 1.0, "disk_written_mb": 1024.0, "network_received_mb": 125.0,
                "network_sent_mb": 31.0}),
        (PI_5, {**ALWAYS, "temperature_c": 48.85, "undervoltage": 0.0, "disk_written_mb": 2048.0,
                "network_received_mb": 7.0, "network_sent_mb": 2.0}),
        (ORIN, {**ALWAYS, "temperature_c": 52.34, "throttled": 1.0, "gpu_percent": 43.7, "supply_events": 38.0,
                "disk_written_mb": 3072.0, "disk_life_used_percent": 30.0, "disk_worn": 0.0,
                "network_received_mb": 50.0, "network_sent_mb": 40.0}),
        (VIRTUAL, {**ALWAYS, "disk_written_mb": 4096.0, "network_received_mb": 3.0, "network_sent_mb": 1.0}),
        (CONTAINER, {**ALWAYS, "network_received_mb": 2.0, "network_sent_mb": 1.0}),
    ],
    ids=list(HOSTS),
)  # fmt: skip
def test_a_host_tells_what_it_has_and_leaves_out_what_it_lacks(host, said, tmp_path):
    if host is VIRTUAL:
        said = {key: value for key, value in said.items() if key != "swap_used_mb"}
    with capture_logs() as logs:
        seen = probes(host, tmp_path)
        rows = seen.read()
    assert {key: rows[key] for key in said} == said
    lacking = {row.key for row in seen.rows if row.may_lack} - set(rows)
    some = {
        "temperature_c",
        "throttled",
        "undervoltage",
        "gpu_percent",
        "disk_written_mb",
        "disk_worn",
        "supply_events",
    }
    assert lacking & some == some - set(said)
    assert not logs


def test_the_firmware_of_a_pi_5_is_asked_where_its_kernel_passes_the_flags_on(tmp_path):
    files = {**PI_5.files, "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "0x50000\n"}
    rows = probes(Host(files, PI_5.device), tmp_path).read()
    assert (rows["throttled"], rows["undervoltage"], rows["throttled_since_boot"]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("life", "end", "percent", "worn"), [
    ("0x0b 0x02", "0x02", 110.0, 1.0), ("0x00 0x00", "0x00", None, None), ("0x01 0x01", "0x03", 10.0, 1.0),
    ("", "", None, None), ("0xff", "0x09", None, None),
])  # fmt: skip
def test_an_emmc_says_how_worn_it_is(life, end, percent, worn, tmp_path):
    folder = "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001"
    make(Host({**ORIN.files, f"{folder}/life_time": life, f"{folder}/pre_eol_info": end}, ORIN.device), tmp_path)
    medium = Medium(tmp_path, sys=tmp_path / "sys", device=ORIN.device)
    assert (medium.life_used_percent(), medium.worn(), medium.name) == (percent, worn, "mmcblk0")


def test_a_sensor_that_comes_back_elsewhere_is_found_again(tmp_path):
    seen = probes(PI_4, tmp_path)
    assert seen.read({"temperature_c"}) == {"temperature_c": 61.84}
    for path in ("class/thermal/thermal_zone0", "class/hwmon/hwmon0"):
        (tmp_path / "sys" / path).rename(tmp_path / "sys" / f"{path}7")
    assert seen.read({"temperature_c"}) == {"temperature_c": 61.84}


def test_a_sensor_that_is_gone_is_null_from_then_on(tmp_path):
    seen = probes(ORIN, tmp_path)
    assert seen.read({"gpu_percent"}) == {"gpu_percent": 43.7}
    (tmp_path / "sys/devices/platform/bus@0/17000000.gpu/load").unlink()
    assert seen.read({"gpu_percent"}) == {"gpu_percent": None}


def test_links_that_lead_in_a_circle_are_no_disk(tmp_path):
    folder = tmp_path / "sys/dev/block"
    folder.mkdir(parents=True)
    (folder / "8:1").symlink_to(folder / "8:2")
    (folder / "8:2").symlink_to(folder / "8:1")
    assert Medium(tmp_path, sys=tmp_path / "sys", device="8:1").written_mb() is None


def test_the_disk_of_this_host_is_found_where_there_is_one(tmp_path):
    medium = Medium(tmp_path)
    assert medium.free_mb() > 0
    assert (medium.written_mb() is None) == (medium.name is None)


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b"-1", b"nan", b"1e99", b"0x", b"9" * 400, b"1_0", b"\xd9\xa3", b"cpu " + b"9" * 30]),
    st.integers(-(2**70), 2**70).map(lambda number: str(number).encode()),
    st.lists(st.integers(0, 2**64), max_size=20).map(lambda found: " ".join(map(str, found)).encode()),
)
_roots = itertools.count()


@settings(
    max_examples=examples(20),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(name=st.sampled_from(sorted(HOSTS)), data=st.data())
def test_whatever_the_files_hold_every_row_is_a_number_or_nothing(name, data):
    host = HOSTS[name]
    with tempfile.TemporaryDirectory(prefix="host-") as folder, capture_logs() as logs:
        root = Path(folder)
        make(host, root)
        for path in sorted(name for name, said in host.files.items() if not isinstance(said, Link)):
            said = data.draw(st.one_of(st.none(), GARBAGE), label=path)
            if said is not None:
                (root / path).write_bytes(said)
        processes = Processes()
        writing = Writing(processes, Medium(root, sys=root / "sys", device=host.device))
        rows = host_probes(root, writing=writing, processes=processes, sys=root / "sys", proc=root / "proc")
        for value in Probes(rows).read().values():
            assert value is None or -(2**75) < value < 2**75
    assert not logs


@given(GARBAGE.map(lambda said: said.decode("latin1")), st.sampled_from([10, 16]))
def test_a_number_is_one_that_the_kernel_could_mean(said, base):
    found = sysfs.integer(said, base)
    assert found is None or -(2**64) < found < 2**64


def test_a_file_that_is_none_says_nothing(tmp_path):
    assert sysfs.text(tmp_path) is None
    assert sysfs.text("a\0b") is None
    assert sysfs.text(tmp_path / "absent") is None
