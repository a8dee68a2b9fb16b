"""A real worker whose model leaks: what a faulty native operator does, 5 MB a run that nobody gives back."""

import sys

import numpy as np

import agent.serve.main as worker
from agent.infer.detector import Detector
from agent.infer.preprocess import Buffer

LEAK_BYTES = 5_000_000

leaked: list[np.ndarray] = []
run = Detector.run


def leaking_run(detector: Detector, buffer: Buffer) -> list[np.ndarray]:
    leaked.append(np.ones(LEAK_BYTES, np.uint8))
    return run(detector, buffer)


if __name__ == "__main__":
    Detector.run = leaking_run  # type: ignore[method-assign]
    sys.exit(worker.main())
