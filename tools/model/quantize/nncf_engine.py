"""NNCF as a second engine behind the same recipe: its post-training quantization with fast bias correction.

Needs the extra ``nncf``, which fits beside the workshop (no torch, no OpenVINO). Its telemetry package is kept from
being imported: nothing here may use a network. Ranges are NNCF's own; of the recipe only ``kept_float`` and
``per_channel`` count: weights are S8 and activations U8, as it chooses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from agent.errors import InputError, ModelError
from tools.model.quantize.static import Recipe


def quantize(model: onnx.ModelProto, tensors: Sequence[np.ndarray], recipe: Recipe) -> onnx.ModelProto:
    """Return a quantized copy of ``model``, calibrated on ``tensors``.

    Raises :class:`InputError` (NNCF is not installed), :class:`ModelError` (it cannot quantize the model).
    """
    nncf = load()
    name = model.graph.input[0].name
    names = {node.name for node in model.graph.node}
    ignored = nncf.IgnoredScope(names=[kept for kept in recipe.kept_float if kept in names], validate=False)
    weights = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=recipe.per_channel)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        quantized: onnx.ModelProto = nncf.quantize(
            copy,
            nncf.Dataset([{name: tensor} for tensor in tensors]),
            subset_size=len(tensors),
            ignored_scope=ignored,
            advanced_parameters=nncf.AdvancedQuantizationParameters(weights_quantization_params=weights),
        )
    except (RuntimeError, ValueError, KeyError, nncf.ValidationError, nncf.UnsupportedModelError) as error:
        raise ModelError(f"NNCF cannot quantize the model: {error}") from error
    return quantized


def load() -> Any:
    """Import NNCF with its telemetry and its log switched off. Raises :class:`InputError` where it is not installed."""
    os.environ["NNCF_CI"] = "1"  # NNCF's own switch; and without the package below it could not send anyway
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes its import fail
    try:
        import nncf
    except ImportError as error:
        raise InputError(
            "--engine nncf: NNCF is not installed; pip install 'lookout-agent[workshop,nncf]', or --engine ort"
        ) from error
    import logging

    nncf.set_log_level(logging.ERROR)
    return nncf
