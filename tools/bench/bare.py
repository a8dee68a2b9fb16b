"""``session.run`` and nothing else, in a process of its own: the throughput that the frame loop is measured against.

``python -m tools.bench.bare MODEL INPUT THREADS FRAMES`` prints frames a second. The tensor is precomputed, the session
has the product's own options.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from agent.infer.session import Session

WARM_RUNS = 20


def measure(model: Path, tensor: np.ndarray, threads: int, frames: int) -> float:
    """Return the runs a second of ``frames`` runs in a row."""
    session = Session.load(model, providers=("CPUExecutionProvider",), threads=threads, spin=False)
    for _ in range(WARM_RUNS):
        session.run(tensor)
    started = time.perf_counter()
    for _ in range(frames):
        session.run(tensor)
    return frames / (time.perf_counter() - started)


def main() -> None:
    """Read the arguments, measure, print."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as the product's children have it
    model, tensor, threads, frames = sys.argv[1:]
    print(measure(Path(model), np.load(tensor), int(threads), int(frames)))


if __name__ == "__main__":
    main()
