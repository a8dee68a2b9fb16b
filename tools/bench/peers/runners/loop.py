"""Our loop: the real capture process, pipeline and worker process, with a camera that waits."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog

from agent.process.messages import Load, SourceSpec
from agent.types import Result, RunOptions
from tools.bench.models import LABELS
from tools.bench.peers.job import Answer, Job, Row, counted, serve
from tools.bench.rig import Rig

FIRST_RESULTS = 10


def run(job: Job) -> Answer:
    """Measure, or look."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    load = Load(
        spec=job.spec,
        path=str(Path(job.files["onnx"]).resolve()),
        providers=("CPUExecutionProvider",),
        options=RunOptions(job.threads, concurrency=job.options.get("concurrency", 1)),
        score_floor=job.floor,
    )
    film = SourceSpec("file", job.film, pace="lossless", loop=job.mode == "time")
    score = job.floor if job.mode == "detect" else job.options["score"]
    with Rig({"film": film}) as rig:
        rig.swap(rig.start_worker(load), LABELS, score)
        rig.open_cameras()
        if job.mode == "detect":
            rig.wait_results(job.frames)
            return Answer(rows=tuple(_rows(result) for result in rig.results[: job.frames]))
        rig.wait_results(FIRST_RESULTS)
        return counted(lambda: len(rig.results), job)


def _rows(result: Result) -> tuple[Row, ...]:
    return tuple((*one.box, one.score, one.class_id) for one in result.detections or ())


if __name__ == "__main__":
    serve(run)
