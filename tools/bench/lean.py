"""The loop in a process that imports no more than the agent's part of it, for measuring memory.

``python -m tools.bench.lean SHARED VIDEO FRAMES`` prints the PSS in bytes of itself, of capture and of the worker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.process.messages import SourceSpec
from tools.bench.models import YOLOX_NANO
from tools.bench.rig import Rig


def own_pss_bytes() -> int:
    """Return this process' PSS."""
    for line in Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Read the arguments, run, measure, print."""
    shared, video, frames = sys.argv[1:]
    with Rig({"camera": SourceSpec("file", video, pace="realtime", loop=True)}) as rig:
        worker = rig.start_worker(YOLOX_NANO.load(Path(shared)))
        rig.swap(worker)
        rig.open_cameras()
        rig.wait_results(int(frames))
        sizes = (own_pss_bytes(), rig.capture.memory_bytes(), worker.memory_bytes())
    print(*sizes)


if __name__ == "__main__":
    main()
