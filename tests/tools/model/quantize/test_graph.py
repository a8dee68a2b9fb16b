from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import ModelError
from tools.model.quantize import graph


def build(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: tuple[str, ...]) -> onnx.ModelProto:
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def silu_detector() -> onnx.ModelProto:
    """Stem with SiLU, a residual, and two heads whose answers are read off by a sigmoid and a concat."""
    conv = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="stem", **conv),
        helper.make_node("Sigmoid", ["a"], ["s"], name="gate"),
        helper.make_node("Mul", ["a", "s"], ["b"], name="silu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="body", **conv),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Add", ["b", "d"], ["e"], name="residual"),
        helper.make_node("Conv", ["e", "w2"], ["f"], name="boxes", **conv),
        helper.make_node("Conv", ["e", "w2"], ["g"], name="scores", **conv),
        helper.make_node("Sigmoid", ["g"], ["h"], name="probability"),
        helper.make_node("Concat", ["f", "h"], ["out"], axis=1, name="concat"),
    ]
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, size, 3, 3)) for name, size in (("w0", 3), ("w1", 4), ("w2", 4))}
    return build(nodes, weights, ("out",))


def test_a_block_is_a_convolution_with_what_is_computed_from_its_answer_alone() -> None:
    found = {block.name: block.nodes for block in graph.blocks(silu_detector())}
    assert found == {
        "stem": ("stem", "gate", "silu"),
        "body": ("body", "relu"),  # the residual also reads another block
        "boxes": ("boxes",),
        "scores": ("scores", "probability"),
    }


def test_the_decode_tail_is_what_follows_the_last_convolution_of_every_path() -> None:
    assert graph.decode_tail(silu_detector()) == ("probability", "concat")


def test_a_model_without_weights_has_nothing_to_quantize() -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"], name="relu")], {}, ("y",))
    with pytest.raises(ModelError, match="no Conv, Gemm or MatMul"):
        graph.decode_tail(model)


def test_silus_are_found_whichever_way_the_product_is_written() -> None:
    assert graph.silu_inputs(silu_detector()) == ("a",)


def test_values_that_depend_on_the_input_are_watched_and_constants_are_not() -> None:
    assert graph.float_tensors(silu_detector()) == ("x", "a", "s", "b", "c", "d", "e", "f", "g", "h", "out")


def test_nodes_without_names_or_with_equal_ones_get_their_own() -> None:
    model = silu_detector()
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    graph.name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ([helper.make_node("LSTM", ["x", "w", "w"], ["y"], hidden_size=4)], "recurrent"),
        ([helper.make_node("MatMul", ["x", "x"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])], "transformer"),
        ([helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])], "convolutional"),
    ],
)
def test_recurrent_and_transformer_models_are_recognised(nodes: list[onnx.NodeProto], kind: str) -> None:
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")],
    )
    assert graph.kind(helper.make_model(body)) == kind
