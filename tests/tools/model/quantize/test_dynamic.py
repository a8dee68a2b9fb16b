from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import InputError, ModelError
from tools.model.quantize import dynamic


def lstm(path: Path, hidden: int = 32, features: int = 16) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(1, 4 * hidden, features)) * 0.2,
        "r": rng.normal(size=(1, 4 * hidden, hidden)) * 0.2,
        "b": np.zeros((1, 8 * hidden)),
    }
    body = helper.make_graph(
        [helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=hidden, name="memory")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [10, 1, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 1, 1, hidden])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_recurrent_model_gets_int8_weights_and_stays_near_float(tmp_path: Path) -> None:
    found = dynamic.quantize(lstm(tmp_path / "lstm.onnx"), tmp_path / "int8.onnx")
    assert found.kind == "recurrent"
    assert found.quantized == 1
    assert found.relative_error < 0.05
    assert found.int8_bytes < found.float_bytes / 2


def test_a_kept_node_leaves_nothing_to_quantize_and_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing in it has an INT8 form"):
        dynamic.quantize(lstm(tmp_path / "lstm.onnx"), tmp_path / "int8.onnx", kept_float=["memory"])
    assert not (tmp_path / "int8.onnx").exists()


def test_unknown_nodes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        dynamic.quantize(lstm(tmp_path / "lstm.onnx"), tmp_path / "int8.onnx", kept_float=["absent"])
