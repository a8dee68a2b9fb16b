"""OpenCV's own runtime, ``cv2.dnn``."""

from __future__ import annotations

import cv2
import numpy as np

from tools.bench.peers.job import Answer, Job, serve
from tools.bench.peers.runtime import in_a_row


def run(job: Job) -> Answer:
    """Measure, or look."""
    cv2.setNumThreads(job.threads)
    net = cv2.dnn.readNetFromONNX(job.files["onnx"])
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    names = job.options["outputs"]

    def forward(tensor: np.ndarray) -> list[np.ndarray]:
        net.setInput(tensor)
        return list(net.forward(names))

    return in_a_row(job, forward, {"opencv": cv2.__version__})


if __name__ == "__main__":
    serve(run)
