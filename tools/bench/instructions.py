"""How many instructions the parts of a frame's way take, native code as well: callgrind counts them, no clock is read.

A busy machine changes nothing of it, so that two versions of the code can be compared anywhere. Each part runs twice,
a few times and many times, in processes of their own; the difference is what the parts take without starting up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, CannotRun, Case, Figure, Outcome, Wanted
from tools.bench.instructed import PARTS

FEW = 20
COLLECTED = re.compile(rb"Collected : (\d+)")
MOST_MILLIONS = {"preprocess": 6.2, "decode and NMS": 0.8, "track": 1.8, "serialise": 1.4}
"""Half as much again as was counted when these were written (x86-64, AVX2, Python 3.11)."""


class Settings(msgspec.Struct, frozen=True):
    """How often: loading ONNX Runtime varies by ten million instructions, which so many frames make small."""

    times: Annotated[int, typer.Option(min=10, help="frames counted")] = 200


class InstructionsReport(msgspec.Struct, frozen=True):
    """Instructions a frame, by part."""

    a_frame: dict[str, float]


def run(bench: Bench, settings: Settings) -> Outcome:
    """Count and tell. Raises :class:`CannotRun` without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CannotRun("valgrind is absent: apt-get install valgrind")
    found = {}
    for part in PARTS:
        bench.progress(f"counting {part}")
        few, many = (_count(valgrind, part, times) for times in (FEW, FEW + settings.times))
        found[part] = (many - few) / settings.times
    figures = tuple(
        Figure(f"{part}, millions", count / 1e6, wanted=Wanted(MOST_MILLIONS[part], "at_most"))
        for part, count in found.items()
    )
    return Outcome(figures, InstructionsReport(found), remarks=("Counted by callgrind, which knows no AVX-512.",))


def _count(valgrind: str, part: str, times: int) -> int:
    """Return the instructions of one process. Raises CalledProcessError."""
    command = [
        valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null",
        sys.executable, "-m", "tools.bench.instructed", part, str(times),
    ]  # fmt: skip
    env = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, check=True, env=env)
    collected = COLLECTED.search(done.stderr)
    if collected is None:
        raise CannotRun(f"valgrind said nothing of instructions: {done.stderr[-200:]!r}")
    return int(collected.group(1))


CASE = Case(
    name="instructions",
    title="Instructions of the parts of a frame's way",
    help="Count the instructions that preprocess, decode and NMS, track and serialise take (callgrind; three minutes).",
    settings=Settings(),
    quick=Settings(times=10),
    run=run,
    in_all=False,
)
