from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import InputError, ModelError
from tools.model.quantize.static import PLAIN, Recipe, quantize

SHAPE = (1, 3, 16, 16)


def small_model(path: Path, *, opset: int = 17) -> Path:
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["y"], pads=[1, 1, 1, 1], name="second"),
    ]
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)),
        "w2": rng.normal(size=(4, 8, 3, 3)),
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 16, 16])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def images(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.uniform(0, 255, SHAPE).astype(np.float32) for _ in range(count)]


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def error(path: Path, source: Path, x: np.ndarray) -> float:
    reference = run(source, x)
    return float(np.abs(run(path, x) - reference).mean() / np.abs(reference).mean())


def test_int8_stays_near_float_with_u8_activations_and_s8_weights_per_channel(tmp_path: Path) -> None:
    source, target = small_model(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    quantize(source, target, images())
    assert error(target, source, images()[0]) < 0.1
    model = onnx.load(target)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert tensors["w1_quantized"].data_type == TensorProto.INT8
    assert numpy_helper.to_array(tensors["w1_scale"]).shape == (8,)
    assert tensors["x_zero_point"].data_type == TensorProto.UINT8
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_nodes_kept_in_float_are_not_quantized(tmp_path: Path) -> None:
    source, target = small_model(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    quantize(source, target, images(), Recipe(kept_float=("second",)))
    names = {tensor.name for tensor in onnx.load(target).graph.initializer}
    assert "w2" in names
    assert "w1" not in names


def test_the_calibration_set_is_counted_and_named_by_one_digest(tmp_path: Path) -> None:
    source = small_model(tmp_path / "float.onnx")
    one = quantize(source, tmp_path / "a.onnx", images())
    same = quantize(source, tmp_path / "b.onnx", iter(images()))
    other = quantize(source, tmp_path / "c.onnx", images(3))
    assert one == same
    assert (one.images, other.images) == (4, 3)
    assert one.sha256 != other.sha256


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        quantize(small_model(tmp_path / "float.onnx"), tmp_path / "int8.onnx", [])
    assert not (tmp_path / "int8.onnx").exists()


def test_an_opset_without_per_channel_is_refused_before_it_fails_to_load(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="opset 11 has no per-channel"):
        quantize(small_model(tmp_path / "old.onnx", opset=11), tmp_path / "int8.onnx", images())


def test_unknown_nodes_in_kept_float_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="third"):
        quantize(small_model(tmp_path / "f.onnx"), tmp_path / "i.onnx", images(), Recipe(kept_float=("third",)))


def test_a_recipe_says_what_it_does() -> None:
    assert str(PLAIN) == "static QDQ, per channel, activations uint8, weights int8, minmax"
