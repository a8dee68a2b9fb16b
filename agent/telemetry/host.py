"""The rows of the host and of the agent's processes, one declarative row each.

To add one is to add it here: the telemetry message, Prometheus, Home Assistant and ``docs/telemetry.md`` have it then.
Keys are constants of the wire: add, never rename; their end is their unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from agent.clock import monotonic_ns, synchronised
from agent.telemetry.heat import GpuLoad, Thermometer
from agent.telemetry.medium import Medium
from agent.telemetry.meter import Meter
from agent.telemetry.network import Network
from agent.telemetry.power import Power
from agent.telemetry.probes import Probe
from agent.telemetry.processes import Processes
from agent.telemetry.processor import Memory, Processor
from agent.telemetry.writing import Writing
from agent.types import MB

SYS, PROC = Path("/sys"), Path("/proc")
KB_PER_MB = MB / 1000


def host_probes(
    state_folder: Path,
    *,
    writing: Writing | None = None,
    processes: Processes | None = None,
    sys: Path = SYS,
    proc: Path = PROC,
) -> tuple[Probe, ...]:
    """Return the rows of this host and of the agent; ``state_folder`` is the one whose disk matters."""
    processes = processes or Processes(proc=proc)
    writing = writing or Writing(processes, Medium(state_folder, sys=sys))
    return (
        *_processor_rows(proc),
        *_agent_rows(processes),
        *_disk_rows(writing.medium, writing),
        *_network_rows(Network(sys)),
        *_heat_rows(sys),
        *_time_rows(),
    )


def _processor_rows(proc: Path) -> tuple[Probe, ...]:
    processor, memory = Processor(proc), Memory(proc)
    return (
        Probe("cpu_percent", "%", processor.busy_percent, "processor time in use, all cores together",
              name="processor", shown=True),
        Probe("load_1m", "", processor.load_1m, "runnable tasks, mean of the last minute", name="load"),
        Probe("memory_used_mb", "MB", memory.used_mb, "memory in use", "data_size", "memory used"),
        Probe("memory_available_mb", "MB", memory.available_mb, "memory to be had without swapping",
              "data_size", "memory available", shown=True),
        Probe("swap_used_mb", "MB", memory.swapped_mb, "memory that lies in swap", "data_size", "swap used",
              may_lack=True),
    )  # fmt: skip


def _agent_rows(processes: Processes) -> tuple[Probe, ...]:
    return (
        Probe("agent_cpu_percent", "%", lambda: processes.own().cpu_percent,
              "processor time of the agent's own process, of one core", name="agent processor"),
        Probe("agent_pss_mb", "MB", lambda: processes.own().memory_mb,
              "memory of the agent's own process, shared parts by share", "data_size", "agent memory"),
        Probe("processes_memory_mb", "MB", lambda: sum(row.memory_mb for row in processes.rows().values()),
              "memory of all of the agent's processes", "data_size", "memory of all processes", shown=True),
    )  # fmt: skip


def _disk_rows(medium: Medium, writing: Writing) -> tuple[Probe, ...]:
    return (
        Probe("disk_free_mb", "MB", medium.free_mb, "room where the state lies", "data_size", "disk free", shown=True),
        Probe("written_mb", "MB", writing.own_mb,
              "what the agent's processes gave to the disk since the agent started, those that ended too",
              "data_size", "written", may_lack=True, kind="counter"),
        Probe("written_mb_per_day", "MB/d", writing.own_mb_per_day,
              "what they would write in a day, by the last hour; the wear budget looks at the last 24 hours",
              name="written a day", shown=True, may_lack=True, needs="written_mb"),
        Probe("disk_written_mb", "MB", writing.all_mb,
              "what anybody wrote to the disk that the state lies on, since the host started",
              "data_size", "disk written", may_lack=True, kind="counter"),
        Probe("disk_written_mb_per_day", "MB/d", writing.all_mb_per_day,
              "what would be written to it in a day, by the last hour", name="disk written a day",
              may_lack=True, needs="disk_written_mb"),
        Probe("disk_life_used_percent", "%", medium.life_used_percent,
              "how much of its life an eMMC has used up, in steps of ten, as it reckons itself; 110: all and more",
              name="disk life used", shown=True, may_lack=True),
        Probe("disk_worn", "", medium.worn, "1 where an eMMC says that its end is near, else 0",
              name="disk worn", may_lack=True),
    )  # fmt: skip


def _network_rows(network: Network) -> tuple[Probe, ...]:
    return (
        Probe("network_received_mb", "MB", network.received_mb, "what came in over the network, since the host started",
              "data_size", "received", may_lack=True, kind="counter"),
        Probe("network_sent_mb", "MB", network.sent_mb, "what went out over the network, since the host started",
              "data_size", "sent", may_lack=True, kind="counter"),
        Probe("network_received_kb_s", "kB/s", _rate(network.received_mb), "what comes in over the network, a second",
              "data_rate", "receiving", may_lack=True),
        Probe("network_sent_kb_s", "kB/s", _rate(network.sent_mb), "what goes out over the network, a second",
              "data_rate", "sending", may_lack=True),
    )  # fmt: skip


def _heat_rows(sys: Path) -> tuple[Probe, ...]:
    power = Power(sys)
    return (
        Probe("temperature_c", "°C", Thermometer(sys).read, "temperature of the processor",
              "temperature", "temperature", shown=True, may_lack=True),
        Probe("gpu_percent", "%", GpuLoad(sys).read, "how busy a Jetson's GPU is", name="GPU", shown=True,
              may_lack=True),
        Probe("throttled", "", power.throttled,
              "1 while the processor is slowed down by heat or want of power, else 0", name="throttled", may_lack=True),
        Probe("throttled_since_boot", "", power.throttled_since_boot,
              "1 if it was slowed down since the host started, else 0", name="was throttled", may_lack=True),
        Probe("undervoltage", "", power.undervoltage, "1 while the supply's voltage is too low, else 0",
              name="undervoltage", shown=True, may_lack=True),
        Probe("undervoltage_since_boot", "", power.undervoltage_since_boot,
              "1 if it was too low since the host started, else 0", name="had undervoltage", may_lack=True),
        Probe("supply_events", "events", power.supply_events,
              "times that a Jetson was slowed down because its supply sagged or gave too little",
              name="supply events", may_lack=True, kind="counter"),
    )  # fmt: skip


def _time_rows() -> tuple[Probe, ...]:
    return (
        Probe("host_uptime_s", "s", _host_uptime_s, "time since the host was started", "duration", "host uptime"),
        Probe("clock_synchronised", "", lambda: float(synchronised()),
              "1 where something (NTP, PTP, a GPS) keeps the clock right, else 0", name="clock synchronised"),
    )  # fmt: skip


def _rate(megabytes: Callable[[], float | None]) -> Callable[[], float | None]:
    """Return what gives the rate of a counter of megabytes in kilobytes a second."""
    meter = Meter()

    def rate() -> float | None:
        now = megabytes()
        found = None if now is None else meter.per_second(monotonic_ns(), now)
        return None if found is None else found * KB_PER_MB

    rate()
    return rate


def _host_uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
