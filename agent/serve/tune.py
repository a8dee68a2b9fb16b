"""The tuning process: ``python -m agent.serve.tune``, started by the agent at a variant's first trial on a host.

It is apart from the worker that will serve, so that the sessions it builds and throws away leave nothing in that one's
memory, and one at a time is built here, since threads of two would take the cores from one another. ``Hello``, then
``Tune`` by ``Tune`` a ``Tuned`` or an ``Error``, until the agent closes the channel.

The options take turns, to and fro, and a run's cost is that of the faster ones (the lower quartile): what disturbs a
run on a device that serves meanwhile only makes it longer. Runs of several frames at once begin together.
"""

from __future__ import annotations

import agent.lean  # noqa: F401 - first, for its effect on what follows

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from agent.errors import ChildError, LookoutError
from agent.infer.detector import Detector
from agent.infer.preprocess import Buffer
from agent.infer.session import Session, runtime_version
from agent.process import lifeline, limits
from agent.process.channel import Channel
from agent.process.messages import Error, Hello, Load, Tune, Tuned
from agent.serve.stages import read_picture
from agent.types import RunCost, RunOptions

ROUNDS = 2
LEAST_RUNS = 3
"""Timed runs of each options in each round, however long one takes, as long as there is time."""


def serve(channel: Channel) -> None:
    """Answer what the agent asks; returns only by the channel's end."""
    cv2.setNumThreads(1)
    channel.send(Hello("tune", os.getpid(), versions={"onnxruntime": runtime_version()}))
    while True:
        received = channel.receive()
        if received is None or not isinstance(received[0], Tune):
            raise ChildError(f"the tuning was sent {received!r} where a Tune was due")
        try:
            channel.send(Tuned(measure(received[0])))
        except LookoutError as error:
            channel.send(Error.of(error))


def measure(tune: Tune) -> tuple[RunCost, ...]:
    """Return what a run costs under each of the options. Raises :class:`~agent.errors.ModelError`, InputError."""
    if tune.load.data_limit_bytes:
        limits.limit_data(tune.load.data_limit_bytes)
    ends = time.monotonic() + tune.seconds
    share_s = tune.seconds / (ROUNDS * len(tune.options))
    picture = read_picture(tune.picture)
    seen: dict[RunOptions, list[tuple[float, float]]] = {options: [] for options in tune.options}
    for turn in range(ROUNDS):
        for options in tune.options if turn % 2 == 0 else tune.options[::-1]:
            if time.monotonic() < ends or not any(seen.values()):
                seen[options] += _run(tune.load, options, picture, share_s, ends)
    return tuple(_cost(options, runs) for options, runs in seen.items() if runs)


def _run(
    load: Load, options: RunOptions, picture: np.ndarray, share_s: float, ends: float
) -> list[tuple[float, float]]:
    """Return wall and processor time of each run, seconds; loading and the first run are in the share, not in these."""
    began = time.monotonic()
    copy = Path(load.optimized or load.optimize_to) if load.optimized or load.optimize_to else None
    known = copy is not None and copy.is_file()  # from the second session on, at least
    session = Session.load(
        Path(load.path),
        providers=load.providers,
        threads=options.threads,
        spin=options.spin,
        arena=options.arena,
        optimized=copy if known else None,
        optimize_to=None if known else copy,
    )
    detector = Detector(load.spec, session, score_floor=load.score_floor)
    buffers = [detector.buffer() for _ in range(options.concurrency)]
    for buffer in buffers:
        detector.preprocess(picture, buffer)
    runs: list[tuple[float, float]] = []
    with ThreadPoolExecutor(len(buffers)) as pool:
        together = _together(detector, buffers, pool)
        together()
        while time.monotonic() - began < share_s or len(runs) < LEAST_RUNS:
            used, started = time.process_time(), time.perf_counter()
            together()
            runs.append((time.perf_counter() - started, (time.process_time() - used) / len(buffers)))
            if time.monotonic() > ends:
                break
    return runs


def _together(detector: Detector, buffers: Sequence[Buffer], pool: Executor) -> Callable[[], object]:
    """Return what runs the model on all of the buffers at once; one alone needs no other thread."""
    if len(buffers) == 1:
        return lambda: detector.run(buffers[0])
    return lambda: list(pool.map(detector.run, buffers))


def _cost(options: RunOptions, runs: Sequence[tuple[float, float]]) -> RunCost:
    """Return the lower quartiles."""
    wall, used = (sorted(run[which] for run in runs) for which in (0, 1))
    place = len(runs) // 4
    return RunCost(options, run_ms=wall[place] * 1e3, cpu_ms=used[place] * 1e3, runs=len(runs))


def main() -> None:
    """Run until the agent has heard enough, or is gone."""
    lifeline.run("tune", serve)


if __name__ == "__main__":
    main()
