"""Roboflow's ``InferencePipeline`` with custom logic, the only kind that asks nothing of the network.

The pipeline brings the reading of the film, its threads and its sinks; the logic is that of the plain script, as its
documentation has it for models of one's own.
"""

from __future__ import annotations

import os

os.environ["TELEMETRY_OPT_OUT"] = "True"  # these are read when the packages are imported: keep them above the imports
os.environ["METRICS_ENABLED"] = "False"
os.environ["OFFLINE_MODE"] = "True"
os.environ["DISABLE_VERSION_CHECK"] = "True"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import importlib.metadata
import threading
from typing import Any

import numpy as np
from inference import InferencePipeline

from tools.bench.peers.job import Answer, Job, counted, rows_of, serve
from tools.bench.peers.runners.plain import looker

FIRST_S = 60.0


def run(job: Job) -> Answer:
    """Measure, or look."""
    look = looker(job)
    found: list[np.ndarray] = []
    enough = threading.Event()
    wanted = job.frames if job.mode == "detect" else 1

    def logic(frames: list[Any]) -> list[np.ndarray]:
        return [look(frame.image) for frame in frames]

    def sink(predictions: Any, _frames: Any) -> None:
        found.extend(predictions if isinstance(predictions, list) else [predictions])
        if len(found) >= wanted:
            enough.set()

    pipeline = InferencePipeline.init_with_custom_logic(
        video_reference=job.film, on_video_frame=logic, on_prediction=sink
    )
    pipeline.start(use_main_thread=False)
    if not enough.wait(FIRST_S):
        raise TimeoutError(f"{wanted} answers did not come within {FIRST_S:g} s")
    if job.mode == "detect":
        versions = {"inference": importlib.metadata.version("inference-cpu")}
        return Answer(rows=tuple(map(rows_of, found[: job.frames])), versions=versions)
    return counted(lambda: len(found), job)


if __name__ == "__main__":
    serve(run)
