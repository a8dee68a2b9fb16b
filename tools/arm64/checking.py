"""What must hold of the image, looked at in the finished archive: each check is a claim with what was seen.

The last ones run it as a container engine would, under emulation where this machine is no ARM one: in a process
namespace of its own, as the image's user, with tini as process 1.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.arm64.archive import Image, sizes_mb
from tools.arm64.cpus import A76

USER = "990:990"
PROGRAMS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin", "opt/lookout/bin")
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "tcc", "ld", "as", "make", "cargo", "rustc", "go")
OWN_LIMIT_MB = 350
"""Unpacked, what the product adds to its base."""
START_S = 180
"""For an emulated processor on a busy machine."""
STOP_S = 60

CONFIG = """\
schema: 1
device: {id: trial}
cameras: {one: {source: {kind: pattern, width: 320, height: 240, fps: 2}}}
pipelines: {main: {cameras: [one]}}
"""


@dataclass(frozen=True)
class Claim:
    """Something that must hold, what was seen of it, and whether it does."""

    what: str
    seen: str
    kept: bool


def size(image: Image) -> Claim:
    """Weigh it: all of it, and what of it is ours."""
    packed, unpacked = sizes_mb(image, image.layers)
    own_packed, own = sizes_mb(image, image.own_layers)
    seen = (
        f"{packed:.0f} MB compressed, {unpacked:.0f} MB unpacked; of it {own_packed:.0f} and {own:.0f} MB over its base"
    )
    return Claim(f"it adds at most {OWN_LIMIT_MB} MB to its base", seen, own <= OWN_LIMIT_MB)


def described(image: Image) -> Iterator[Claim]:
    """Look at what the image says of itself."""
    told = image.settings
    architecture = image.config.get("architecture")
    yield Claim("it is for 64-bit ARM", str(architecture), architecture == "arm64")
    yield Claim("it does not run as root", f"user {told.get('User')}", told.get("User") == USER)
    health = (told.get("Healthcheck") or {}).get("Test") or ["none"]
    yield Claim("it has a health check", " ".join(health), health[0] == "CMD")
    entry = told.get("Entrypoint") or []
    yield Claim("process 1 is tini", " ".join(entry) or "none", entry[:1] == ["tini"])
    environment = dict(line.partition("=")[::2] for line in told.get("Env") or ())
    telemetry = environment.get("ORT_DISABLE_TELEMETRY")
    yield Claim("ONNX Runtime phones nobody", f"ORT_DISABLE_TELEMETRY={telemetry}", telemetry == "1")
    volumes = sorted(told.get("Volumes") or ())
    yield Claim("its state is a volume", ", ".join(volumes) or "none", volumes == ["/var/lib/lookout"])
    version = (told.get("Labels") or {}).get("org.opencontainers.image.version")
    yield Claim("it says its version", str(version), bool(version) and version != "0")


def contents(root: Path) -> Iterator[Claim]:
    """Look at its files."""
    found = [f"{place}/{name}" for place in PROGRAMS for name in COMPILERS if os.path.lexists(root / place / name)]
    yield Claim("no compiler is in it", ", ".join(found) or "none", not found)
    caches = [place for place in ("root/.cache", "var/lib/lookout/.cache") if (root / place).exists()]
    lists = [path.name for path in (root / "var/lib/apt/lists").glob("*_Packages*")]
    left = [*caches, *lists]
    yield Claim("no cache was left", ", ".join(left) or "none", not left)
    compiled = any((root / "opt/lookout").glob("lib/python3*/site-packages/agent/__pycache__/app.*.pyc"))
    yield Claim("the agent is compiled to bytecode", "yes" if compiled else "no", compiled)
    writable = [path for path in (root / "opt/lookout").rglob("*") if path.lstat().st_uid != 0]
    yield Claim("its user cannot change the program", f"{len(writable)} files of others than root", not writable)


def at_work(image: Image, root: Path, work: Path) -> Iterator[Claim]:
    """Run it: the command, then the agent, its health check, and its end by SIGTERM."""
    around = _environment(image)
    told = subprocess.run(
        _inside(root, work, [*around, "lookout", "version"]),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    first = (told.stdout or told.stderr).strip().splitlines()
    said = first[0] if first else f"status {told.returncode}"
    yield Claim("it starts", said, told.returncode == 0 and said.startswith("lookout-agent "))
    (root / "etc/lookout/agent.yaml").write_text(CONFIG, encoding="utf-8")
    with (work / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            _inside(root, work, [*around, *image.settings["Entrypoint"], *image.settings["Cmd"]]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield from _alive_and_stopped(agent, root, [*around, *image.settings["Healthcheck"]["Test"][1:]])
    finally:
        agent.kill()  # with it, by --kill-child, its whole namespace
        agent.wait()


def _alive_and_stopped(agent: subprocess.Popen[bytes], root: Path, check: Sequence[str]) -> Iterator[Claim]:
    asked = 1
    deadline = time.monotonic() + START_S
    while agent.poll() is None and (asked := _beside(agent, root, check)) and time.monotonic() < deadline:
        time.sleep(1)
    yield Claim("its agent is found healthy", f"health check: status {asked}", asked == 0)
    first = _first(agent.pid)
    if first is None:
        yield Claim("SIGTERM to process 1 ends it in order", f"it had ended: {agent.poll()}", kept=False)
        return
    began = time.monotonic()
    os.kill(first, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        agent.wait(STOP_S)
    ended = f"status {agent.poll()} after {time.monotonic() - began:.1f} s"
    yield Claim("SIGTERM to process 1 ends it in order", ended, agent.poll() == 0)


def _inside(root: Path, work: Path, program: Sequence[str]) -> list[str]:
    """Return the command that runs a program of the image alone in namespaces of its own, as the image's user."""
    fake = work / "cpuinfo"
    fake.write_text(A76.cpuinfo(), encoding="ascii")
    emulated = platform.machine() != "aarch64"
    script = (
        'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && '
        + ('mount --bind "$2" "$1/proc/cpuinfo" && ' if emulated else "")
        + 'root=$1 && shift 2 && exec chroot --userspec=990:990 "$root" "$@"'
    )
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return [*namespaces, "sh", "-c", script, "sh", str(root), str(fake), *program]


def _environment(image: Image) -> list[str]:
    """Return the program and arguments that set what an engine would set from the image."""
    return ["/usr/bin/env", "-i", f"QEMU_CPU={A76.qemu}", *image.settings["Env"]]


def _beside(agent: subprocess.Popen[bytes], root: Path, program: Sequence[str]) -> int:
    """Run a program in the agent's namespaces, as ``docker exec`` does, and return its status."""
    first = _first(agent.pid)
    if first is None:
        return 1
    enter = ["nsenter", "--target", str(first), "--mount", "--pid", "chroot", "--userspec=990:990", str(root)]
    done = subprocess.run([*enter, *program], capture_output=True, timeout=START_S, check=False)
    return done.returncode


def _first(unshare: int) -> int | None:
    """Return the process that is number 1 inside: the only child of ``unshare``."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text(encoding="ascii").split()[0])
    return None
