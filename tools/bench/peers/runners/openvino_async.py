"""OpenVINO's async pipeline: an ``AsyncInferQueue`` with a callback, frames prepared while others are computed.

``hint``: its performance hint. ``threads`` 0 leaves threads and streams to the hint, as its guide advises.
"""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import openvino

from agent.infer.preprocess import Buffer
from tools.bench.peers.film import reader
from tools.bench.peers.job import Answer, Job, paced, rows_of, serve
from tools.bench.peers.runtime import detector

_KEPT: list[Any] = []
"""A queue that is freed while its last callback returns waits for its own thread: it lives as long as the process."""


def run(job: Job) -> Answer:
    """Measure, or look."""
    settings: dict[str, Any] = {"PERFORMANCE_HINT": job.options["hint"]}
    if job.threads:
        settings |= {"INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(job.files["onnx"], "CPU", settings)
    requests = max(2, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
    inferring = openvino.AsyncInferQueue(compiled, requests)
    _KEPT.append(inferring)
    made, read = detector(job, lambda _: []), reader(job.film, ahead=job.ahead)
    free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
    for _ in range(requests + 1):
        free.put(made.buffer())
    found: dict[int, np.ndarray | None] = {}

    def answered(request: Any, given: tuple[int, Buffer]) -> None:
        number, buffer = given
        outputs = [request.get_output_tensor(place).data for place in range(len(compiled.outputs))]
        found[number] = made.postprocess(outputs, buffer).detections
        free.put(buffer)

    inferring.set_callback(answered)
    numbers = iter(range(1 << 30))

    def step() -> None:
        buffer = free.get()
        made.preprocess(read(), buffer)
        inferring.start_async({0: buffer.tensor}, (next(numbers), buffer), share_inputs=True)

    if job.mode == "detect":
        for _ in range(job.frames):
            step()
        inferring.wait_all()
        rows = tuple(rows_of(found[number]) for number in range(job.frames))
        return Answer(rows=rows, versions={"openvino": openvino.__version__})
    answer = paced(step, job)
    inferring.wait_all()
    return answer


if __name__ == "__main__":
    serve(run)
