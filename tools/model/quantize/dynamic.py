"""Dynamic INT8: weights in eight bits, ranges of activations taken anew in every run; no calibration.

For recurrent and transformer models, whose values depend on what came before and have no range to calibrate, and whose
time goes into reading weights. ONNX Runtime does it for MatMul, Gemm, LSTM, GRU's products and attention.

On x86 without VNNI its kernels add two products in 16 bits, which saturates with weights of the full range: seen as a
relative error near 1 of an LSTM on AVX2, where seven bits of weight give 0.02. So both are tried, and the full range is
taken unless the reduced one is clearly nearer to float here.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from agent import atomic
from agent.errors import InputError, ModelError
from tools.model import clean
from tools.model.quantize import graph
from tools.model.quantize.judge import Latency
from tools.model.timing import interleaved_medians_ms

SIGNALS = 8
UNKNOWN_SIZE = 16
_NUMPY = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class Dynamic:
    """The file, what kind of model it is, and what it cost and brought.

    ``relative_error``: greatest difference of any output over the float output's greatest magnitude, on random inputs.
    """

    path: Path
    kind: graph.Kind
    kept_float: tuple[str, ...]
    quantized: int
    relative_error: float
    latency: Latency
    float_bytes: int
    int8_bytes: int
    reduced_range: bool = False


CLEARLY = 0.5
"""Of the full range's error, what the reduced range's must be below to be taken instead."""


def quantize(source: Path, target: Path, *, kept_float: Collection[str] = (), per_channel: bool = True) -> Dynamic:
    """Write ``source`` with INT8 weights to ``target`` and compare the two on random inputs.

    Raises :class:`ModelError` (it cannot be quantized, or nothing in it is), :class:`InputError` (unknown nodes).
    """
    model = clean.load(source)
    graph.name_nodes(model)
    unknown = sorted(set(kept_float) - {node.name for node in model.graph.node})
    if unknown:
        raise InputError(f"--keep-float names nodes that {source} does not have: {', '.join(unknown)}")
    data = _quantized(model, source, kept_float, per_channel=per_channel, reduce_range=False)
    changed = sum(node.op_type in _INTEGER for node in onnx.load_from_string(data).graph.node)
    if not changed:
        raise ModelError(
            f"{source}: nothing in it has an INT8 form (MatMul, Gemm, LSTM or attention with fixed weights)"
        )
    error, latency = _judge(source, data)
    narrow = _quantized(model, source, kept_float, per_channel=per_channel, reduce_range=True)
    narrow_error, narrow_latency = _judge(source, narrow)
    reduced = narrow_error < CLEARLY * error
    if reduced:
        data, error, latency = narrow, narrow_error, narrow_latency
    atomic.write_bytes(target, data)
    return Dynamic(
        path=target,
        kind=graph.kind(model),
        kept_float=tuple(kept_float),
        quantized=changed,
        relative_error=error,
        latency=latency,
        float_bytes=source.stat().st_size,
        int8_bytes=target.stat().st_size,
        reduced_range=reduced,
    )


_INTEGER = frozenset({"MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "ConvInteger"})


def _quantized(
    model: onnx.ModelProto, source: Path, kept_float: Collection[str], *, per_channel: bool, reduce_range: bool
) -> bytes:
    with tempfile.TemporaryDirectory(prefix="lookout-dynamic-") as folder:
        draft = Path(folder) / "int8.onnx"
        logger = logging.getLogger()
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            quantize_dynamic(
                model,
                str(draft),
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(kept_float),
                op_types_to_quantize=["MatMul", "Gemm", "LSTM", "Attention", "EmbedLayerNormalization"],
            )
        except (RuntimeError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{source}: cannot be quantized dynamically: {error}") from error
        finally:
            logger.setLevel(level)
        return draft.read_bytes()


def _judge(source: Path, data: bytes) -> tuple[float, Latency]:
    """Compare a quantized model with its source."""
    with tempfile.TemporaryDirectory(prefix="lookout-dynamic-") as folder:
        draft = Path(folder) / "int8.onnx"
        draft.write_bytes(data)
        return _compare(source, draft)


def _compare(source: Path, target: Path) -> tuple[float, Latency]:
    """Return the worst relative difference over random inputs, and both models' time."""
    one, two = _session(source), _session(target)
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(SIGNALS):
        feed = _random_feed(one, rng)
        for wanted, found in zip(one.run(None, feed), two.run(None, feed), strict=True):
            scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
            worst = max(worst, float(np.abs(wanted.astype(np.float64) - found).max(initial=0.0)) / scale)
    feed = _random_feed(one, rng)
    medians = interleaved_medians_ms(
        {"float": lambda: one.run(None, feed), "int8": lambda: two.run(None, feed)}, rounds=50
    )
    return worst, Latency(medians["float"], medians["int8"])


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no other base
        raise ModelError(f"{path}: cannot be loaded: {error}") from error


def _random_feed(session: onnxruntime.InferenceSession, rng: np.random.Generator) -> dict[str, np.ndarray]:
    feed = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) and size > 0 else UNKNOWN_SIZE for size in value.shape]
        if value.type not in _NUMPY:
            raise ModelError(f"input {value.name} is a {value.type}: it cannot be compared on random numbers")
        dtype = np.dtype(_NUMPY[value.type])
        feed[value.name] = (
            rng.normal(size=shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, shape).astype(dtype)
        )
    return feed
