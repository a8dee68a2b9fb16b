"""The processors that are emulated, and what the kernel would say of them in ``/proc/cpuinfo``.

Libraries choose their ARM code by these flags, and QEMU refuses an instruction that its processor lacks: the two must
agree, or a process ends with SIGILL (a flag too many) or takes code that no board of this kind would (one too few).
"""

from __future__ import annotations

from dataclasses import dataclass

CORES = 4
"""Both boards have four; the host's own number is what is really used."""


@dataclass(frozen=True)
class Cpu:
    """A processor: ``qemu`` is QEMU's name of it, ``features`` and ``part`` are the kernel's words."""

    name: str
    board: str
    qemu: str
    part: str
    revision: str
    features: tuple[str, ...]

    def cpuinfo(self) -> str:
        """Return the text of ``/proc/cpuinfo`` on such a board."""
        core = (
            f"BogoMIPS\t: 108.00\nFeatures\t: {' '.join(self.features)}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {self.part}\nCPU revision\t: {self.revision}\n\n"
        )
        return "".join(f"processor\t: {number}\n{core}" for number in range(CORES))


A72 = Cpu(
    name="a72",
    board="Raspberry Pi 4",
    qemu="cortex-a72",
    part="0xd08",
    revision="3",
    features=("fp", "asimd", "evtstrm", "crc32", "cpuid"),
)
A76 = Cpu(
    name="a76",
    board="Raspberry Pi 5",
    qemu="cortex-a76",
    part="0xd0b",
    revision="1",
    features=(
        *("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp"),
        *("cpuid", "asimdrdm", "lrcpc", "dcpop", "asimddp"),
    ),
)

CPUS = {cpu.name: cpu for cpu in (A72, A76)}
