"""What ``/sys`` and ``/proc`` say on the hosts that Lookout runs on: the files that telemetry looks at, and links.

Paths are those of Raspberry Pi OS (kernel 6.6), JetPack 6 (kernel 5.15) and of a virtual machine; values are ordinary
ones. A text is a file's, a :class:`Link` leads from the root of the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    to: str


@dataclass(frozen=True)
class Host:
    """A host: what its files say, and the number of the device that its root is on."""

    files: Mapping[str, str | Link]
    device: str


STAT = "cpu  8000 100 2000 90000 500 0 300 0 0 0\ncpu0 2000 25 500 22500 125 0 75 0 0 0\n"
MEMINFO = "MemTotal:        8000000 kB\nMemFree:         1000000 kB\nMemAvailable:    6000000 kB\n"
PROC: dict[str, str | Link] = {
    "proc/stat": STAT,
    "proc/loadavg": "0.52 0.41 0.30 2/345 6789\n",
    "proc/meminfo": f"{MEMINFO}SwapTotal:        204796 kB\nSwapFree:         104796 kB\n",
}
ZEROS = "0 0 0 0 0 0 0 0 0 0 0"


def interface(name: str, place: str, received: int, sent: int, *, hardware: bool = True) -> dict[str, str | Link]:
    """Return the files of a network interface."""
    found: dict[str, str | Link] = {
        f"sys/class/net/{name}": Link(f"sys/devices/{place}/net/{name}"),
        f"sys/devices/{place}/net/{name}/statistics/rx_bytes": f"{received}\n",
        f"sys/devices/{place}/net/{name}/statistics/tx_bytes": f"{sent}\n",
    }
    if hardware:
        found[f"sys/devices/{place}/net/{name}/device"] = Link(f"sys/devices/{place}")
        found[f"sys/devices/{place}/uevent"] = ""
    return found


LOOPBACK = interface("lo", "virtual", 999_000_000, 999_000_000, hardware=False)
BRIDGE = interface("docker0", "virtual", 888_000_000, 888_000_000, hardware=False)

PI_4 = Host(
    {
        **PROC,
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "61835\n",
        "sys/class/thermal/cooling_device0/type": "gpio-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon0/temp1_input": "61835\n",
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
        "sys/dev/block/179:2":
            Link("sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/mmcblk0p2"),
        "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/stat":
            "  20606      286   774754    13310    49704    19537  2000000   195220        0   168344   340940\n",
        "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/device":
            Link("sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa"),
        "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/type": "SD\n",
        "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/mmcblk0p2/partition": "2\n",
        "sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/mmcblk0p2/stat": ZEROS,
        **interface("eth0", "platform/scb/fd580000.ethernet", 120_000_000, 30_000_000),
        **interface("wlan0", "platform/soc/fe300000.mmcnr/mmc_host/mmc1/mmc1:0001/mmc1:0001:1", 5_000_000, 1_000_000),
        **LOOPBACK,
        **BRIDGE,
    },
    "179:2",
)  # fmt: skip

PI_5 = Host(
    {
        **PROC,
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48850\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "2\n",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon0/temp1_input": "48850\n",
        "sys/class/hwmon/hwmon1/name": "rp1_adc\n",
        "sys/class/hwmon/hwmon1/temp1_input": "55123\n",
        "sys/class/hwmon/hwmon2/name": "pwmfan\n",
        "sys/class/hwmon/hwmon2/fan1_input": "3021\n",
        "sys/class/hwmon/hwmon3/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0\n",
        "sys/dev/block/259:2": Link("sys/devices/platform/axi/1000110000.pcie/nvme/nvme0/nvme0n1/nvme0n1p2"),
        "sys/devices/platform/axi/1000110000.pcie/nvme/nvme0/nvme0n1/stat":
            "9000 0 800000 3000 5000 0 4000000 2000 0 4000 5000 0 0 0 0 10 20\n",
        "sys/devices/platform/axi/1000110000.pcie/nvme/nvme0/nvme0n1/device":
            Link("sys/devices/platform/axi/1000110000.pcie/nvme/nvme0"),
        "sys/devices/platform/axi/1000110000.pcie/nvme/nvme0/model": "Samsung SSD 980\n",
        "sys/devices/platform/axi/1000110000.pcie/nvme/nvme0/nvme0n1/nvme0n1p2/partition": "2\n",
        **interface("eth0", "platform/axi/1000120000.pcie/1f00100000.ethernet", 7_000_000, 2_000_000),
        **LOOPBACK,
    },
    "259:2",
)  # fmt: skip

ORIN = Host(
    {
        **PROC,
        **{f"sys/class/thermal/thermal_zone{at}/{name}": text for at, (zone, temperature) in enumerate([
            ("cpu-thermal", "52343"), ("gpu-thermal", "49000"), ("cv0-thermal", ""), ("soc0-thermal", "50125"),
            ("tj-thermal", "52343"),
        ]) for name, text in (("type", f"{zone}\n"), ("temp", temperature))},
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
        "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device1/cur_state": "0\n",
        "sys/class/thermal/cooling_device2/type": "cpufreq-cpu4\n",
        "sys/class/thermal/cooling_device2/cur_state": "2\n",
        "sys/class/hwmon/hwmon0/name": "ina3221\n",
        "sys/class/hwmon/hwmon0/in1_input": "4984\n",
        "sys/class/hwmon/hwmon1/name": "tmp451\n",
        "sys/class/hwmon/hwmon1/temp1_input": "41000\n",
        "sys/class/hwmon/hwmon2/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon2/oc1_event_cnt": "1\n",
        "sys/class/hwmon/hwmon2/oc2_event_cnt": "0\n",
        "sys/class/hwmon/hwmon2/oc3_event_cnt": "37\n",
        "sys/class/devfreq/17000000.gpu": Link("sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu"),
        "sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu/device":
            Link("sys/devices/platform/bus@0/17000000.gpu"),
        "sys/devices/platform/bus@0/17000000.gpu/load": "437\n",
        "sys/dev/block/179:1":
            Link("sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1"),
        "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/stat":
            "9000 0 800000 3000 5000 0 6000000 2000 0 4000 5000 0 0 0 0 10 20\n",
        "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/device":
            Link("sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001"),
        "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/life_time": "0x01 0x03\n",
        "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/pre_eol_info": "0x01\n",
        "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1/partition": "1\n",
        **interface("eth0", "platform/bus@0/14100000.pcie/0001:01:00.0", 50_000_000, 40_000_000),
        **LOOPBACK,
    },
    "179:1",
)  # fmt: skip

VIRTUAL = Host(
    {
        **PROC,
        "proc/meminfo": MEMINFO,
        "sys/dev/block/253:0": Link("sys/devices/virtual/block/dm-0"),
        "sys/devices/virtual/block/dm-0/stat": ZEROS,
        "sys/devices/virtual/block/dm-0/slaves/vda2":
            Link("sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda/vda2"),
        "sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda/vda2/partition": "2\n",
        "sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda/stat":
            "551251 77965 30344922 640451 2295980 1131830 8000000 2182246 0 465304 3211973 682710 66 52969792\n",
        "sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda/device":
            Link("sys/devices/pci0000:00/0000:00:02.0/virtio1"),
        **interface("eth0", "pci0000:00/0000:00:03.0/virtio2", 3_000_000, 1_000_000),
        **LOOPBACK,
    },
    "253:0",
)  # fmt: skip
"""The state lies on a LUKS volume."""

CONTAINER = Host({**PROC, **interface("eth0", "virtual", 2_000_000, 1_000_000, hardware=False), **LOOPBACK}, "0:51")

HOSTS = {"pi 4": PI_4, "pi 5": PI_5, "orin": ORIN, "virtual machine": VIRTUAL, "container": CONTAINER}


def make(host: Host, root: Path) -> None:
    """Write a host's files below ``root``."""
    for name, said in host.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(said, Link):
            (root / said.to).mkdir(parents=True, exist_ok=True)
            path.symlink_to(root / said.to)
        else:
            path.write_text(said)
