"""``session.run`` and nothing else: what every loop on ONNX Runtime is measured against.

The tensor is that of the film's first frame, the session has the product's own options.
"""

from __future__ import annotations

import os
from pathlib import Path

from agent.infer.preprocess import Preprocessor
from agent.infer.session import Session
from tools.bench.peers.film import Film
from tools.bench.peers.job import Answer, Job, paced, serve


def run(job: Job) -> Answer:
    """Measure."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as the product's children have it
    preprocess = Preprocessor(job.spec.input)
    buffer = preprocess.buffer()
    preprocess(Film(job.film).read(), buffer)
    session = Session.load(
        Path(job.files["onnx"]), providers=("CPUExecutionProvider",), threads=job.threads, spin=False
    )
    return paced(lambda: session.run(buffer.tensor), job)


if __name__ == "__main__":
    serve(run)
