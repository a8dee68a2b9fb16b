"""Hosts as their kernels describe them: the files of a Pi 4, a Pi 5, a Jetson Orin Nano and a PC, below a folder.

Written down from those boards' kernels and documentation; :func:`build` lays them out as one would find them.
"""

from __future__ import annotations

from pathlib import Path

PI_CMDLINE = (
    "coherent_pool=1M 8250.nr_uarts=0 snd_bcm2835.enable_headphones=0 cgroup_disable=memory numa_policy=interleave "
    "console=ttyS0,115200 root=PARTUUID=9730496b-02 rootfstype=ext4 fsck.repair=yes rootwait"
)
PI_MOUNTS = (
    "25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n"
    "30 25 179:1 / /boot/firmware rw,relatime shared:2 - vfat /dev/mmcblk0p1 rw\n"
    "26 25 0:24 / /tmp rw,nosuid - tmpfs tmpfs rw\n"
)
NO_MEMORY_GROUPS = (
    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t73\t1\ncpu\t0\t73\t1\nmemory\t0\t73\t0\npids\t0\t73\t1\n"
)
MEMORY_GROUPS = NO_MEMORY_GROUPS.replace("memory\t0\t73\t0", "memory\t0\t73\t1")
CARD_SWAP = "Filename\tType\tSize\tUsed\tPriority\n/var/swap                file\t524272\t102400\t-2\n"
ZRAM_SWAP = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0  partition  1024000  20480  100\n"
NVPMODEL = (
    "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
    "< POWER_MODEL ID=1 NAME=7W >\nCPU_ONLINE CORE_0 1\n< PM_CONFIG DEFAULT=0 >\n"
)

Files = dict[str, str]


def _clock(governor: str, may: int, could: int) -> Files:
    folder = "sys/devices/system/cpu/cpufreq/policy0"
    return {
        f"{folder}/scaling_governor": governor,
        f"{folder}/scaling_max_freq": str(may),
        f"{folder}/cpuinfo_max_freq": str(could),
    }


def _memory(total_mb: int, available_mb: int) -> str:
    return f"MemTotal: {total_mb * 1000} kB\nMemFree: 1 kB\nMemAvailable: {available_mb * 1000} kB\nSwapTotal: 0 kB\n"


PI_4: Files = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cmdline": PI_CMDLINE,
    "proc/cgroups": NO_MEMORY_GROUPS,
    "proc/meminfo": _memory(3800, 2900),
    "proc/swaps": CARD_SWAP,
    "proc/self/mountinfo": PI_MOUNTS,
    "boot/firmware/cmdline.txt": PI_CMDLINE,
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "82300",
    **_clock("ondemand", 1_800_000, 1_800_000),
}
"""Undervolted and throttled at this moment."""

PI_5: Files = {
    **PI_4,
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cgroups": MEMORY_GROUPS,
    "proc/cmdline": f"{PI_CMDLINE} cgroup_enable=memory",
    "proc/swaps": ZRAM_SWAP,
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50000",
    "sys/class/thermal/thermal_zone0/temp": "51200",
    **_clock("ondemand", 2_400_000, 2_400_000),
}
"""Well now; undervolted and throttled at some time before."""

JETSON: Files = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/cmdline": "root=/dev/mmcblk0p1 rw rootwait",
    "proc/cgroups": MEMORY_GROUPS,
    "proc/meminfo": _memory(7600, 5100),
    "proc/swaps": ZRAM_SWAP,
    "proc/self/mountinfo": "25 1 259:1 / / rw,noatime - ext4 /dev/nvme0n1p1 rw\n",
    "etc/nvpmodel.conf": NVPMODEL,
    "var/lib/nvpmodel/status": "pmode:0001 fmode:fanNull\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "12",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "47100",
    "sys/class/thermal/thermal_zone8/type": "tj-thermal",
    "sys/class/thermal/thermal_zone8/temp": "48000",
    **_clock("schedutil", 960_000, 1_510_400),
}

PC: Files = {
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p2 ro quiet",
    "proc/cgroups": MEMORY_GROUPS,
    "proc/meminfo": _memory(32000, 21000),
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
    "proc/self/mountinfo": "25 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma",
    "sys/class/hwmon/hwmon1/name": "coretemp",
    "sys/class/hwmon/hwmon1/temp1_input": "44000",
    "sys/class/thermal/cooling_device0/type": "Processor",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    **_clock("powersave", 4_500_000, 4_500_000),
}

HOSTS = {"pi-4": PI_4, "pi-5": PI_5, "jetson": JETSON, "pc": PC}


def build(folder: Path, files: Files) -> Path:
    """Lay the files out below ``folder``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
