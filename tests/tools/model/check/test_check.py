"""Checking: every file gets a report and honest verdicts, unless it is no ONNX file at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from agent.errors import InputError, ModelError
from tests.fakes import models
from tools.model.check import cost, fusion, support, targets
from tools.model.check.report import Checked, check_model
from tools.model.cli import app


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return models.tiny_detector(tmp_path / "tiny.onnx")


def verdicts(checked: Checked) -> dict[str, str]:
    return {judged.target: judged.verdict for judged in checked.verdicts}


def reasons(checked: Checked, target: str) -> str:
    return "\n".join(one.words for judged in checked.verdicts if judged.target == target for one in judged.reasons)


def network(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], **kwargs: object) -> Path:
    shape = kwargs.get("shape", [1, 3, 16, 16])
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kwargs.get("kind", TensorProto.FLOAT), shape)],  # type: ignore[arg-type]
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, kwargs.get("out", shape))],  # type: ignore[arg-type]
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = kwargs.get("opset", 17)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)  # type: ignore[list-item]
    return path


def test_a_good_model_is_fine_everywhere_and_a_time_is_told_only_where_it_was_measured(tiny: Path) -> None:
    checked = check_model(tiny)
    assert set(verdicts(checked)) == set(targets.TARGETS)
    assert set(verdicts(checked).values()) == {"fine"}
    assert checked.exit_code == 0
    assert all(judged.measured_ms is None for judged in checked.verdicts if judged.target != "x86")
    assert checked.trial.problem is None
    assert checked.facts.shape_inference == "whole"


def test_costs_are_those_of_the_shapes(tmp_path: Path) -> None:
    weight = np.ones((8, 3, 3, 3), np.float32)
    path = network(
        tmp_path / "conv.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"], "relu"),
        ],
        {"w": weight},
        out=[1, 8, 16, 16],
    )
    facts = check_model(path).facts
    assert facts.macs == 8 * 16 * 16 * 27
    assert facts.parameters == weight.size
    assert facts.peak_bytes == 2 * 8 * 16 * 16 * 4  # both sides of the Relu
    assert facts.uncounted == 0


def test_a_recurrent_layer_is_counted_step_by_step() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=5)
    graph = helper.make_graph([node], "rnn", [], [])
    assert cost.macs(graph, {"x": (7, 1, 3), "w": (1, 20, 3), "r": (1, 20, 5)}) == (7 * (60 + 100), 0)
    assert cost.macs(graph, {"x": (7, 1, 3)}) == (0, 1)


def test_patterns_are_counted_in_the_file_and_after_optimisation(tmp_path: Path) -> None:
    path = network(
        tmp_path / "silu.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("BatchNormalization", ["c", "one", "zero", "zero", "one"], ["n"], "norm"),
            helper.make_node("Sigmoid", ["n"], ["s"], "gate"),
            helper.make_node("Mul", ["n", "s"], ["y"], "silu"),
        ],
        {
            "w": np.ones((4, 3, 1, 1), np.float32),
            "one": np.ones(4, np.float32),
            "zero": np.zeros(4, np.float32),
        },
        out=[1, 4, 16, 16],
    )
    found = {pattern.name: (pattern.found, pattern.left) for pattern in check_model(path).patterns}
    assert found["Conv + BatchNormalization"] == (1, 0)
    assert found["SiLU as Sigmoid + Mul"] == (1, 0)


@pytest.mark.parametrize(("pieces", "name"), [("hard", "HardSwish in pieces"), ("gelu", "GELU in pieces (Erf)")])
def test_decomposed_activations_are_recognised(pieces: str, name: str) -> None:
    nodes = {
        "hard": [
            helper.make_node("Add", ["x", "three"], ["a"]),
            helper.make_node("Clip", ["a", "zero", "six"], ["b"]),
            helper.make_node("Div", ["b", "six"], ["c"]),
            helper.make_node("Mul", ["x", "c"], ["y"]),
        ],
        "gelu": [helper.make_node("Erf", ["x"], ["y"])],
    }[pieces]
    graph = helper.make_graph(nodes, "pieces", [], [])
    assert [(pattern.name, pattern.found, pattern.left) for pattern in fusion.patterns(graph, None)] == [
        (name, 1, None)
    ]


def test_weights_among_the_inputs_are_a_doubt(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    model.graph.input.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 64, 4]))
    onnx.save(model, tmp_path / "listed.onnx")
    checked = check_model(tmp_path / "listed.onnx")
    assert checked.facts.initializer_inputs == 1
    assert set(verdicts(checked).values()) == {"works with doubts"}
    assert checked.exit_code == 3


def test_several_inputs_are_reported_whole_and_run_nowhere(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("a", "b")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx")
    checked = check_model(tmp_path / "two.onnx")
    assert [tensor.name for tensor in checked.facts.inputs] == ["a", "b"]
    assert checked.trial.problem is None
    assert set(verdicts(checked).values()) == {"will not run"}
    assert "a model with one input is needed" in reasons(checked, "x86")
    assert checked.exit_code == 1


def test_external_data_is_named_whether_it_is_there_or_not(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64)
    there = check_model(tmp_path / "split.onnx")
    assert there.facts.external == ("weights.bin",)
    assert there.trial.problem is None
    (tmp_path / "weights.bin").unlink()
    gone = check_model(tmp_path / "split.onnx")
    assert gone.trial.problem is not None
    assert "lies in another file, 'weights.bin'" in reasons(gone, "raspberry-pi-5")
    assert set(verdicts(gone).values()) == {"will not run"}


def test_open_shapes_are_a_doubt(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "open.onnx")
    checked = check_model(tmp_path / "open.onnx", ["jetson-orin-nano", "x86"])
    assert checked.facts.open_shapes == ("images [batch, 3, 64, 64]",)
    assert verdicts(checked) == {"jetson-orin-nano": "works with doubts", "x86": "works with doubts"}
    assert "builds an engine for every shape" in reasons(checked, "jetson-orin-nano")


def test_sixty_four_bits_are_pointed_at(tmp_path: Path) -> None:
    path = network(
        tmp_path / "wide.onnx",
        [
            helper.make_node("Cast", ["x"], ["d"], "widen", to=TensorProto.DOUBLE),
            helper.make_node("Mul", ["d", "d"], ["e"], "square"),
            helper.make_node("Cast", ["e"], ["y"], "narrow", to=TensorProto.FLOAT),
        ],
        {},
    )
    checked = check_model(path, ["x86"])
    assert any(words.startswith("float64 in 1 Mul: square") for words in checked.facts.wide)
    assert verdicts(checked) == {"x86": "works with doubts"}


def _rounded(tmp_path: Path, point: int, kind: type = np.uint8) -> Path:
    return network(
        tmp_path / "int8.onnx",
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["d"], "dq"),
            helper.make_node("Sigmoid", ["d"], ["s"], "gate"),
            helper.make_node("Mul", ["d", "s"], ["y"], "silu"),
        ],
        {"scale": np.array(0.1, np.float32), "point": np.array(point, kind)},
    )


def test_int8_is_judged_by_the_processor(tmp_path: Path) -> None:
    checked = check_model(_rounded(tmp_path, 7))
    assert (checked.facts.precision, checked.facts.activations, checked.facts.zero_points) == ("int8", "uint8", True)
    assert "no INT8 dot product" in reasons(checked, "raspberry-pi-4")
    assert "no INT8 dot product" not in reasons(checked, "raspberry-pi-5")
    assert "TensorRT refuses them" in reasons(checked, "jetson-orin-nano")
    assert "1 SiLU are computed in INT8" in reasons(checked, "x86")
    signed = check_model(_rounded(tmp_path, 0, np.int8))
    assert "2.7 times slower" in reasons(signed, "x86")
    assert "TensorRT refuses" not in reasons(signed, "jetson-orin-nano")


def test_an_operator_that_the_accelerator_lacks_is_named_with_its_count(tmp_path: Path) -> None:
    path = network(tmp_path / "det.onnx", [helper.make_node("Det", ["x"], ["y"])], {}, shape=[1, 3, 3], out=[1])
    checked = check_model(path)
    found = {one.provider: one.missing for one in checked.providers}
    assert found["TensorrtExecutionProvider"] == {"Det": 1}
    assert found["CUDAExecutionProvider"] == {"Det": 1}
    assert found["CPUExecutionProvider"] == {}
    assert "takes 0% of the nodes, the rest goes elsewhere: Det (1)" in reasons(checked, "jetson-orin-nano")
    assert verdicts(checked)["x86"] == "fine"


@pytest.mark.parametrize("name", support.TABLES.values())
def test_the_tables_hold_only_operators_that_exist_and_name_their_source(name: str) -> None:
    table = support.Table.read(name)
    text = Path(support.__file__).with_name("operators").joinpath(name).read_text()
    assert "# Source: " in text
    ever = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    old = {"Affine", "Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh", "DynamicSlice", "QLinearConv"}
    new = {"TensorScatter"}  # opset 24, which the oldest onnx that we allow does not know yet
    assert set(table.operators) <= ever | old | new
    assert "Conv" in table.operators


def test_what_is_no_onnx_file_is_an_error_with_exit_code_2(tmp_path: Path, tiny: Path) -> None:
    photo, cut = tmp_path / "photo.onnx", tmp_path / "cut.onnx"
    photo.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    cut.write_bytes(tiny.read_bytes()[:-50])
    for path in (photo, cut, tmp_path / "nowhere.onnx"):
        with pytest.raises(ModelError):
            check_model(path)
        assert CliRunner().invoke(app, ["check", str(path)]).exit_code == 2
    with pytest.raises(InputError, match="known are raspberry-pi-4"):
        check_model(tiny, ["raspberry-pi-9"])


def test_the_command_tells_the_same_as_tables_and_as_json(tiny: Path) -> None:
    shown = CliRunner().invoke(app, ["check", str(tiny), "--target", "raspberry-pi-5"])
    assert shown.exit_code == 0, shown.output
    assert "no time is known" in shown.stdout.replace("\n", " ")
    told = CliRunner().invoke(app, ["check", str(tiny), "--json"])
    assert [judged["verdict"] for judged in json.loads(told.stdout)["verdicts"]] == ["fine"] * 4


@pytest.mark.shared
def test_yolox_nano_is_counted_as_its_authors_count_it(shared: Path) -> None:
    checked = check_model(shared / "models/yolox_nano.onnx")
    assert checked.facts.parameters == pytest.approx(0.91e6, rel=0.02)
    assert checked.facts.macs * 2 == pytest.approx(1.08e9, rel=0.05)
    assert checked.exit_code == 0
    listed = check_model(shared / "models/nanodet_m_320.onnx")
    assert listed.facts.initializer_inputs > 100
    assert listed.exit_code == 3
