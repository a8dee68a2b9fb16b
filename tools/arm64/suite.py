"""What of the test suite runs under emulation, in parts, and what came of each.

A part is a run of pytest in the ARM root (or the demo). What only real hardware or a real kernel can do is skipped
there with its reason (``tests/arm64/emulation.py``), and every reason is told at the end.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tools.arm64.emulator import INSIDE, Emulator

SLOWER = 20
"""An emulated core against one of this machine's own, roughly: tests wait so many times longer for anything."""

TEST_TIMEOUT_S = 900
PART_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Part:
    """Some tests. ``smoke``: pytest's arguments for the short run, empty where the part is left out of it."""

    name: str
    what: str
    tests: tuple[str, ...]
    smoke: tuple[str, ...] = ()


START = "tests/arm64/test_start.py"
REAL_PARTS = "tests/deploy/test_real_parts.py"
SWAP = f"{REAL_PARTS}::test_deploy_swap_refuse_and_come_back_from_a_kill_with_real_processes"

PARTS = (
    Part("start", "every import, the command, what phones home", (START,), (START,)),
    Part(
        "decoders",
        "every family against its recording",
        ("tests/infer/decoders", "tests/infer/test_references.py", "tests/infer/test_families.py"),
        ("tests/infer/test_references.py",),
    ),
    Part(
        "inference",
        "preprocessing, NMS, sessions, providers, real models",
        (
            *("tests/infer/test_preprocess.py", "tests/infer/test_nms.py", "tests/infer/test_geometry.py"),
            *("tests/infer/test_session.py", "tests/infer/test_detector.py", "tests/infer/test_fit.py"),
            *("tests/infer/test_providers.py", "tests/arm64/test_models.py"),
        ),
    ),
    Part("vision", "tracks, zones, events, motion", ("tests/vision",)),
    Part(
        "trust",
        "TUF and its cryptography, the store",
        ("tests/registry/test_client.py", "tests/registry/test_store.py"),
    ),
    Part("processes", "children, channels, rings, limits", ("tests/process",)),
    Part("workers", "workers as real processes", ("tests/serve",)),
    Part("swap", "trial, swap, refusal and recovery with real processes", (REAL_PARTS,), (SWAP,)),
    Part("device", "a whole device, over a broker and a registry", ("tests/arm64/test_device.py",)),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a part on one processor. ``skipped`` holds test and reason; ``died``: why there is no more."""

    part: str
    cpu: str
    passed: int
    failed: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    died: str | None = None

    @property
    def ok(self) -> bool:
        """Whether something was tested, and nothing failed."""
        return self.passed > 0 and not self.failed and self.died is None


def run_tests(emulator: Emulator, part: Part, *, smoke: bool) -> Outcome:
    """Run a part's tests, with their own words on the terminal."""
    report = emulator.tmp / f"{part.name}.xml"
    began = time.monotonic()
    status = emulator.run(
        [
            *(f"{INSIDE}/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.arm64.emulation"),
            *("--timeout", str(TEST_TIMEOUT_S), "--basetemp", f"/tmp/{part.name}"),  # noqa: S108 - the root's own
            *("--junitxml", f"/tmp/{report.name}", *(part.smoke if smoke else part.tests)),  # noqa: S108
        ],
        timeout_s=PART_TIMEOUT_S,
        env={"LOOKOUT_TEST_PATIENCE": str(SLOWER)},
    )
    seconds = time.monotonic() - began
    if not report.is_file():
        return Outcome(part.name, emulator.cpu.name, 0, (), (), seconds, died=_how(status))
    return read(part.name, emulator.cpu.name, report, seconds)


def run_demo(emulator: Emulator, cache: Path) -> Outcome:
    """Run ``make demo`` at its shortest; its claims count as tests."""
    began = time.monotonic()
    status = emulator.run(
        [
            *(f"{INSIDE}/python", "-m", "tools.demo", "--plain", "--slow", str(SLOWER)),
            *("--cache", str(cache), "--out", "/tmp/demo-out"),  # noqa: S108 - the root's own
        ],
        timeout_s=PART_TIMEOUT_S,
    )
    seconds = time.monotonic() - began
    died = None if status == 0 else _how(status)
    return Outcome("demo", emulator.cpu.name, int(status == 0), (), (), seconds, died=died)


def read(part: str, cpu: str, report: Path, seconds: float) -> Outcome:
    """Read what pytest wrote."""
    passed, failed, skipped = 0, [], []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it a moment ago
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skip is not None:
            skipped.append((name, skip.get("message", "")))
        else:
            passed += 1
    return Outcome(part, cpu, passed, tuple(failed), tuple(skipped), seconds)


def _how(status: int | None) -> str:
    return f"ended after {PART_TIMEOUT_S} s without an end" if status is None else f"ended with status {status}"
