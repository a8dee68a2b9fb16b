"""ncnn, with a model that pnnx converted from the ONNX file."""

from __future__ import annotations

import importlib.metadata

import ncnn
import numpy as np

from tools.bench.peers.job import Answer, Job, serve
from tools.bench.peers.runtime import in_a_row


def run(job: Job) -> Answer:
    """Measure, or look."""
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    net.load_param(job.files["param"])
    net.load_model(job.files["bin"])
    shapes = [tuple(shape) for shape in job.options["shapes"]]

    def forward(tensor: np.ndarray) -> list[np.ndarray]:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(tensor[0]))
            return [np.array(extractor.extract(f"out{place}")[1]).reshape(shape) for place, shape in enumerate(shapes)]

    return in_a_row(job, forward, {"ncnn": importlib.metadata.version("ncnn")})


if __name__ == "__main__":
    serve(run)
