"""Ultralytics' predict loop on an ONNX file, as its documentation has it: ``YOLO(file).predict(film, stream=True)``.

``threads`` 0 leaves it as it comes. With a number, ONNX Runtime's session gets it (the loop has no setting for it), and
PyTorch's pool, which merges overlapping boxes. Nothing is drawn or saved.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports
os.environ["YOLO_OFFLINE"] = "true"  # these are read when ultralytics is imported
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_VERBOSE"] = "false"

from collections.abc import Iterator
from typing import Any

import onnxruntime
import torch
import ultralytics

from tools.bench.peers.job import Answer, Job, Row, paced, rows_of, serve


def run(job: Job) -> Answer:
    """Measure, or look."""
    if job.threads:
        _limit(job.threads)
    model = ultralytics.YOLO(job.files["onnx"], task="detect")
    image = job.spec.input

    def predict() -> Iterator[Any]:
        found: Iterator[Any] = model.predict(
            job.film,
            stream=True,
            imgsz=(image.height, image.width),
            rect=False,
            conf=job.options["score"] if job.mode == "time" else job.floor,
            iou=job.spec.nms_iou,
            max_det=job.spec.max_detections,
            device="cpu",
            verbose=False,
        )
        return found

    results = predict()
    if job.mode == "detect":
        rows = tuple(_rows(next(results)) for _ in range(job.frames))
        versions = {"ultralytics": ultralytics.__version__, "torch": str(torch.__version__)}
        return Answer(rows=rows, versions=versions)

    def step() -> None:
        nonlocal results
        try:
            next(results)
        except StopIteration:
            results = predict()
            next(results)

    return paced(step, job)


def _rows(result: Any) -> tuple[Row, ...]:
    return rows_of(result.boxes.data.numpy())


def _limit(threads: int) -> None:
    """Give sessions that are made without options this many threads."""
    torch.set_num_threads(threads)
    plain = onnxruntime.InferenceSession

    def limited(path: Any, sess_options: Any = None, **more: Any) -> Any:
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return plain(path, options, **more)

    onnxruntime.InferenceSession = limited


if __name__ == "__main__":
    serve(run)
