"""One cell of a benchmark: one model, one provider, one number of threads, in this process and nothing else.

Stands alone on purpose (standard library, numpy, ONNX Runtime): it is sent to hosts that have another Lookout, or none.
One JSON object comes in on standard input, one goes out on standard output; what fails is told as ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the product's children have it

import numpy as np
import onnxruntime

NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
MOST_RUNS = 100_000
SEED = 7


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Load, warm up and run for ``seconds``; return times in milliseconds and what the process came to hold."""
    started = time.perf_counter()
    session = _session(order)
    load_ms = (time.perf_counter() - started) * 1e3
    feeds = {tensor.name: _feed(tensor, order["shapes"]) for tensor in session.get_inputs()}
    started = time.perf_counter()
    session.run(None, feeds)
    first_ms = (time.perf_counter() - started) * 1e3
    for _ in range(order["warm_runs"]):
        session.run(None, feeds)
    return {
        "times_ms": _times_ms(session, feeds, order["seconds"], order["least_runs"]),
        "load_ms": load_ms,
        "first_ms": first_ms,
        "memory_mb": _memory_mb(),
        "providers": session.get_providers(),
        "inputs": {name: list(feed.shape) for name, feed in feeds.items()},
        "onnxruntime": onnxruntime.__version__,
        **_host(),
    }


def _session(order: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = order["threads"]
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if order["spin"] else "0")
    options.log_severity_level = 3
    wanted = order["provider"]
    if wanted not in onnxruntime.get_available_providers():
        raise LookupError(f"{wanted} is not in this ONNX Runtime: {', '.join(onnxruntime.get_available_providers())}")
    session = onnxruntime.InferenceSession(order["model"], options, providers=[wanted])
    if session.get_providers()[0] != wanted:
        raise LookupError(
            f"{wanted} does not work on this host; ONNX Runtime fell back to {session.get_providers()[0]}"
        )
    return session


def _feed(tensor: Any, shapes: dict[str, list[int]]) -> np.ndarray:
    """Return a seeded input: the speed of some models depends on the values, never of two runs of one bench."""
    shape = shapes.get(tensor.name) or [size if isinstance(size, int) and size > 0 else 1 for size in tensor.shape]
    kind = NUMPY_TYPES.get(tensor.type)
    if kind is None:
        raise LookupError(f"input {tensor.name} has type {tensor.type}, which this bench cannot make")
    noise = np.random.default_rng(SEED).random(shape)
    return np.asarray(noise * 255 if kind == "uint8" else noise).astype(kind)


def _times_ms(session: Any, feeds: dict[str, np.ndarray], seconds: float, least: int) -> list[float]:
    times: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while (clock() < end or len(times) < least) and len(times) < MOST_RUNS:
        started = clock()
        session.run(None, feeds)
        times.append((clock() - started) * 1e3)
    return times


def _memory_mb() -> float | None:
    """Return the proportional set size in 10^6 bytes; None where the kernel does not tell."""
    try:
        with open("/proc/self/smaps_rollup") as file:  # noqa: PTH123 - stands alone
            lines = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
        return int(lines["Pss"].split()[0]) * 1024 / 1e6
    except (OSError, KeyError, ValueError):
        return None


def _host() -> dict[str, Any]:
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", errors="replace") as file:  # noqa: PTH123 - stands alone
            fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
    except OSError:
        pass  # not Linux: the machine's name will do
    cpu = fields.get("model name") or fields.get("CPU part") or platform.machine()
    return {"host": platform.node(), "machine": platform.machine(), "cpu": cpu, "cores": os.cpu_count() or 1}


def main() -> int:
    """Read the order, measure, answer."""
    order = json.load(sys.stdin)
    try:
        answer = measure(order)
    except LookupError as error:
        answer = {"error": str(error)}
    except Exception as error:  # ONNX Runtime's errors have no common base: the last line of a process
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
