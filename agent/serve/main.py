"""The worker process: ``python -m agent.serve.main``, started by the agent, one for each loaded release.

Hello, then one ``Load``, then ``Ready`` once the model is loaded and warm, then answers until the end. Whatever keeps
it from getting ready is told as an ``Error`` and ends the process with status 1. An unforeseen failure of any stage
ends the process at once, its traceback the last words: the agent replaces a dead worker, it could not half a one.
"""

from __future__ import annotations

import agent.lean  # noqa: F401 - first, for its effect on what follows

import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import structlog

from agent.errors import ChildError, LookoutError
from agent.infer.detector import Detector
from agent.infer.session import Session, available_providers, runtime_version
from agent.process import lifeline, limits
from agent.process.channel import Channel, ChannelClosed
from agent.process.messages import Error, Hello, Load, Ready, Stop
from agent.serve.stages import Stages

log = structlog.get_logger(part="serve")

EXIT_NOT_READY = 1
EXIT_BROKEN = 70


def main() -> int:
    """Run until told to stop or until the agent is gone; return the exit status."""
    channel = lifeline.enter("worker")
    threading.excepthook = lambda failure: _end_at_once(failure.exc_value)
    cv2.setNumThreads(1)  # the cores are the model's
    try:
        channel.send(hello())
        load = receive_load(channel)
        if load is None:
            return 0
        detector, ready = make_ready(load)
        channel.send(ready)
    except ChannelClosed:
        return 0
    except LookoutError as error:
        channel.send(Error.of(error))
        return EXIT_NOT_READY
    Stages(channel, detector, load.options.concurrency).serve()
    return 0


def hello() -> Hello:
    """Return the first message: what this process is made of."""
    versions = {
        "onnxruntime": runtime_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": sys.version.split()[0],
    }
    return Hello("worker", os.getpid(), versions=versions, providers=available_providers())


def receive_load(channel: Channel) -> Load | None:
    """Return the order to load a model; None: the agent thought better of it. Raises :class:`ChildError`."""
    received = channel.receive()
    assert received is not None
    message, _ = received
    if isinstance(message, Stop):
        return None
    if not isinstance(message, Load):
        raise ChildError(f"a worker wants Load first, not {type(message).__name__}: agent and worker differ, reinstall")
    return message


def make_ready(load: Load) -> tuple[Detector, Ready]:
    """Load, check and warm the model up. Raises :class:`~agent.errors.ModelError`."""
    if load.data_limit_bytes:
        limits.limit_data(load.data_limit_bytes)
    session = Session.load(
        Path(load.path),
        providers=load.providers,
        threads=load.options.threads,
        spin=load.options.spin,
        arena=load.options.arena,
        optimized=Path(load.optimized) if load.optimized else None,
        optimize_to=Path(load.optimize_to) if load.optimize_to else None,
    )
    detector = Detector(load.spec, session, score_floor=load.score_floor)
    run_together(detector, load.options.concurrency)
    if load.data_limit_bytes:
        limits.limit_data(0)  # from Ready on the agent watches, and whoever serves must not run into a wall
    ready = Ready(
        providers=session.providers,
        inputs=session.inputs,
        outputs=session.outputs,
        load_ms=session.load_ms,
        first_run_ms=session.first_run_ms or 0.0,
        warnings=session.warnings,
    )
    return detector, ready


def run_together(detector: Detector, concurrency: int) -> None:
    """Have so many runs at once, if more than one, so that no frame pays for their memory. Raises ModelError."""
    if concurrency > 1:
        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(lambda _: detector.run(detector.buffer()), range(concurrency)))


def _end_at_once(failure: BaseException | None) -> None:
    """End without the interpreter's farewell: other threads sit in native code, which must not outlive it."""
    traceback.print_exception(failure)
    sys.stderr.flush()
    os._exit(EXIT_BROKEN)


if __name__ == "__main__":
    try:
        status = main()
    except BaseException as failure:  # the process' last line: whatever it was becomes its last words
        _end_at_once(failure)
        raise
    sys.exit(status)
