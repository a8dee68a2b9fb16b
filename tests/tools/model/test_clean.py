from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import ModelError
from tools.model import clean


def old_export(path: Path, *, opset: int = 9, inputs: int = 1) -> Path:
    """Conv, batch norm, relu as old exporters wrote them: weights among the inputs, one weight nobody reads."""
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "scale": np.full(4, 0.5, np.float32),
        "shift": np.full(4, 0.1, np.float32),
        "mean": np.zeros(4, np.float32),
        "var": np.ones(4, np.float32),
        "num_batches_tracked": np.array(7, np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["y"], name="relu"),
    ]
    declared = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [10, 3, 32, 32]),
        *(helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, [1]) for n in range(1, inputs)),
        *(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in weights.items()
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        declared,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 4, 8, 8])],  # wrong, as CenterFace's are
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    onnx.save(model, path)
    return path


def run(model: Path | bytes, x: np.ndarray) -> np.ndarray:
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_a_cleaned_model_lists_only_real_inputs_and_no_idle_weights(tmp_path: Path) -> None:
    target = tmp_path / "clean.onnx"
    clean.clean(old_export(tmp_path / "old.onnx"), target, input_shape=(1, 3, 16, 24))
    model = onnx.load(target)
    assert [value.name for value in model.graph.input] == ["x"]
    assert "num_batches_tracked" not in {tensor.name for tensor in model.graph.initializer}


def test_a_cleaned_model_has_the_static_shape_and_the_opset(tmp_path: Path) -> None:
    target = tmp_path / "clean.onnx"
    clean.clean(old_export(tmp_path / "old.onnx"), target, input_shape=(1, 3, 16, 24))
    model = onnx.load(target)
    sizes = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert sizes == [1, 4, 16, 24]
    assert clean.opset_of(model) == clean.OPSET


def test_cleaning_changes_no_answer(tmp_path: Path) -> None:
    source, target = old_export(tmp_path / "old.onnx"), tmp_path / "clean.onnx"
    clean.clean(source, target, input_shape=(10, 3, 32, 32))
    x = np.random.default_rng(2).normal(size=(10, 3, 32, 32)).astype(np.float32)
    raw = onnx.load(source)
    raw.graph.output[0].type.tensor_type.ClearField("shape")
    np.testing.assert_allclose(run(target, x), run(raw.SerializeToString(), x), atol=1e-5)


def test_batch_norms_are_merged(tmp_path: Path) -> None:
    target = tmp_path / "clean.onnx"
    clean.clean(old_export(tmp_path / "old.onnx"), target, input_shape=(1, 3, 16, 24))
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(target).graph.node}


def test_a_newer_opset_is_never_lowered(tmp_path: Path) -> None:
    model = clean.load(old_export(tmp_path / "new.onnx", opset=18))
    clean.pin_input(model_without_initializers(model), (1, 3, 8, 8))
    assert clean.opset_of(clean.raise_opset(model)) == 18


def model_without_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    clean.drop_initializers_from_inputs(model)
    return model


def test_weights_read_only_inside_a_branch_are_kept() -> None:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("Identity", ["inner"], [f"{name}_out"])
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1])]
        )

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), name) for name in ("inner", "idle")],
    )
    model = helper.make_model(graph)
    clean.drop_unused_initializers(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["inner"]


@pytest.mark.parametrize(
    ("data", "words"),
    [(None, "cannot be read"), (b"", "not an ONNX file"), (b"\x08\xff garbage", "not an ONNX file")],
)
def test_a_file_that_is_no_model_is_refused_in_words(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "bad.onnx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        clean.load(path)


def test_a_cut_off_model_is_refused_in_words(tmp_path: Path) -> None:
    whole = old_export(tmp_path / "old.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut off"):
        clean.load(tmp_path / "cut.onnx")


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    source = old_export(tmp_path / "old.onnx", inputs=2)
    with pytest.raises(ModelError, match=r"2 inputs \(x, x1\)"):
        clean.clean(source, tmp_path / "clean.onnx", input_shape=(1, 3, 16, 16))


def test_a_shape_of_another_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="4 dimensions"):
        clean.clean(old_export(tmp_path / "old.onnx"), tmp_path / "clean.onnx", input_shape=(3, 16, 16))


def test_a_shape_that_the_graph_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        clean.clean(old_export(tmp_path / "old.onnx"), tmp_path / "clean.onnx", input_shape=(1, 5, 16, 16))
    assert not (tmp_path / "clean.onnx").exists()
