"""What needs no framework: recognising sources, importing callables, reading errors, comparing answers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.errors import InputError
from tools.model.export import callables, kinds, parity, troubles
from tools.model.export.source import Port
from tools.model.export.troubles import CannotExport

REPORT = """
Errors grouped by operator:

- `prims.bessel_j0.default`:     No decompositions registered. Example node: `%b`. All nodes: `[bessel_j0]`
- `yard.twist.default`:     No decompositions registered. Example node: `%twist`. All nodes: `[twist, twist_1]`
"""


def model_of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes), "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("torchvision:resnet18", "torchvision model"),
        ("nets.yard:build", "module:callable"),
        ("nets/yard.py:Net.small", "module:callable"),
    ],
)
def test_a_source_is_recognised_by_how_it_is_written(text, kind):
    assert kinds.kind_of(text).name == kind


@pytest.mark.parametrize("name", ["m.pt2", "m.pt", "m.keras", "m.h5", "m.tflite"])
def test_a_file_is_recognised_by_its_suffix(tmp_path, name):
    path = tmp_path / name
    path.touch()
    assert path.suffix in kinds.kind_of(str(path)).name


def test_a_saved_model_is_a_folder_with_its_graph(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert kinds.kind_of(str(tmp_path)).name == "SavedModel folder"


def test_what_is_no_source_is_told_with_what_would_be(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        kinds.kind_of(str(tmp_path / "absent.keras"))
    (tmp_path / "model.txt").touch()
    with pytest.raises(InputError, match="not a kind of model that can be exported"):
        kinds.kind_of(str(tmp_path / "model.txt"))


def torch_archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickled)
    return path


@pytest.mark.parametrize(
    ("pickled", "words"),
    [(b"collections OrderedDict", "weights and no model"), (b"ctorch.nn.modules.conv\nConv2d", "pickled module")],
)
def test_a_pt_file_without_a_graph_says_what_to_do_and_is_not_unpickled(tmp_path, pickled, words):
    from tools.model.export.source import Asked

    path = torch_archive(tmp_path / "m.pt", pickled)
    with pytest.raises(InputError, match=words):
        kinds._load_torch_file(path, Asked(str(path)))


def test_a_cut_off_pt_file_is_told(tmp_path):
    from tools.model.export.source import Asked

    whole = torch_archive(tmp_path / "whole.pt", b"x" * 1000).read_bytes()
    path = tmp_path / "half.pt"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut off"):
        kinds._load_torch_file(path, Asked(str(path)))


def test_a_missing_framework_is_one_message_with_the_command(run):
    for module, extra in (("torch", "torch"), ("tf2onnx", "tensorflow")):
        assert f"pip install 'lookout-agent[{extra}]'" in troubles.missing(module).message
    assert "pip install ultralytics" in troubles.missing("ultralytics").message


# --- callables -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_of_tests.py").write_text(
        "import sys\nclass Net:\n    small = staticmethod(lambda: 'built')\n"
        "def broken():\n    return {}['absent']\nnumber = 7\n"
    )
    (tmp_path / "torn_of_tests.py").write_text("def build(:\n")
    (tmp_path / "lacking_of_tests.py").write_text("import tf2onnx_absent_of_tests\n")
    return tmp_path


def test_a_module_of_the_working_folder_or_a_file_is_imported_and_called(mine):
    assert callables.build("mine_of_tests:Net.small") == "built"
    assert callables.build(f"{mine}/mine_of_tests.py:Net.small") == "built"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("absent_of_tests:build", "no such module"),
        ("absent.of.tests:build", "no such module"),
        ("absent_of_tests.py:build", "no such file"),
        ("mine_of_tests:brokn", "did you mean broken"),
        ("mine_of_tests:number", "int, not something that can be called"),
        ("mine_of_tests:broken", r"KeyError: 'absent' \(.*mine_of_tests.py line 5\)"),
        ("torn_of_tests:build", "importing torn_of_tests raised: SyntaxError"),
        ("lacking_of_tests:build", "ModuleNotFoundError"),
    ],
)
def test_a_callable_that_is_not_there_or_fails_is_told_with_the_place(mine, text, words):
    with pytest.raises(InputError, match=words):
        callables.build(text)


# --- troubles --------------------------------------------------------------------------------------------------------


def test_every_operator_of_a_report_is_found():
    assert troubles.operators_in_report(REPORT) == ("prims.bessel_j0", "yard.twist")


@pytest.mark.parametrize(
    ("message", "operator"),
    [
        ("No ONNX function found for <OpOverload(op='aten._linalg_svd', overload='default')>.", "aten._linalg_svd"),
        ("Exporting the operator 'aten::bessel' to ONNX opset version 18 is not supported", "aten::bessel"),
        ("failed on an operator with unrecognized namespace yard::twist. If you are trying", "yard::twist"),
    ],
)
def test_an_error_of_either_exporter_names_its_operator(message, operator):
    assert troubles.operators_in_message(message) == (operator,)


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        ("aten._linalg_svd", "linear algebra"),
        ("prims.bessel_j0", "--exporter torchscript"),
        ("yard.twist", "CompositeImplicitAutograd"),
        ("TFL_FlexSvd", "linear algebra"),
        ("TFL_FlexErf", "SavedModel"),
        ("TFL_Mine", "custom operator"),
        ("BesselJ0", "higher --opset"),
    ],
)
def test_advice_fits_the_operator(operator, words):
    assert words in troubles.Unsupported(operator, ("net/odd",)).advice


def test_foreign_operators_of_a_graph_come_with_their_layers_also_from_a_branch():
    node = helper.make_node
    branch = helper.make_graph([node("Odd", ["x"], ["b"], name="net/then/Odd")], "b", [], [])
    model = model_of(
        node("Relu", ["x"], ["a"], name="net/relu"),
        node("Svd", ["a"], ["y"], name="net/odd_1/Svd"),
        node("If", ["x"], ["z"], then_branch=branch, else_branch=branch),
        node("FusedConv", ["x"], ["c"], domain="com.microsoft"),
    )
    found = {one.operator: one.layers for one in troubles.foreign_nodes(model)}
    assert found == {"Svd": ("net/odd_1",), "Odd": ("net/then",)}


def test_a_long_reason_is_cut_and_keeps_its_place():
    message = (
        "Failed\n## Exception summary\n\n<class 'torch.fx.GuardOnData'>: Could not guard on "
        + "u0 + " * 500
        + "\n\nCaused by: (ops/boxes.py:86 in nms)\n"
    )
    reason = troubles.capture_reason(message)
    assert reason.startswith("GuardOnData: Could not guard")
    assert reason.endswith("(at ops/boxes.py:86 in nms)")
    assert len(reason) < 250


# --- parity ----------------------------------------------------------------------------------------------------------


def one(a, b):
    return parity._one("y", [np.asarray(a, np.float32)], [np.asarray(b, np.float32)])


def test_a_difference_is_relative_to_the_outputs_largest_value():
    found = one([100.0, 0.0], [100.5, 0.5])
    assert (found.max_abs, found.mean_abs) == (0.5, 0.5)
    assert found.max_rel == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("a", "b", "worst"),
    [
        ([np.nan, 1], [np.nan, 1], 0),
        ([np.inf, 1], [np.inf, 1], 0),
        ([np.nan, 1], [0, 1], np.inf),
        ([np.inf, 1], [1, 1], np.inf),
        ([0, 0], [0, 0], 0),
        ([0, 0], [0, 1e-9], np.inf),
    ],
)
def test_what_is_not_a_number_on_one_side_only_is_a_difference_without_bound(a, b, worst):
    assert one(a, b).max_rel == worst


def test_another_shape_is_a_miss_and_an_empty_output_compares_nothing():
    assert one([1, 2], [1, 2, 3]).reason is not None
    assert one([], []).compared == 0


def test_rows_that_changed_places_are_found_and_a_wrong_row_is_not_hidden():
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    scores = np.array([0.9, 0.8, 0.8, 0.7, 0.1], np.float32)
    order = [0, 2, 1, 3, 4]
    theirs, ours = [boxes, scores], [boxes[order], scores[order]]
    assert parity.align_rows(theirs, ours, [0, 1]) == 2
    assert (ours[0] == boxes).all()
    ours = [boxes[order] + np.array([[0], [0], [3], [0], [0]], np.float32), scores[order]]
    parity.align_rows(theirs, ours, [0, 1])
    assert np.abs(ours[0] - boxes).max() == 3


def test_noise_is_the_same_for_a_seed_and_fits_the_type():
    ports = (Port("a", (1, 3, 4, 4)), Port("b", (2,), "int64"), Port("c", (9,), "uint8"))
    first, again = parity.noise(ports, seed=3, count=2), parity.noise(ports, seed=3, count=2)
    assert all((x == y).all() for one, two in zip(first, again, strict=True) for x, y in zip(one, two, strict=True))
    assert [array.dtype.name for array in first[0]] == ["float32", "int64", "uint8"]
    assert set(first[0][1].tolist()) <= {0, 1}


def test_photographs_become_the_inputs_shape_in_either_layout(tmp_path):
    import cv2

    frame = np.zeros((30, 50, 3), np.uint8)
    frame[..., 2] = 255  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    (nchw,) = parity.photographs(tmp_path, (Port("x", (1, 3, 8, 16)),), pixels="unit", count=4)
    (nhwc,) = parity.photographs(tmp_path, (Port("x", (1, 8, 16, 3), "uint8"),), pixels="unit", count=4)
    assert nchw[0].shape == (1, 3, 8, 16)
    assert nchw[0][0, :, 0, 0].tolist() == [1, 0, 0]
    assert nhwc[0][0, 0, 0].tolist() == [255, 0, 0]
    (scaled,) = parity.photographs(tmp_path, (Port("x", (1, 3, 8, 8)),), pixels="imagenet", count=1)
    assert scaled[0][0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)


def test_a_folder_without_pictures_or_a_model_without_one_picture_is_told(tmp_path):
    port = Port("x", (1, 3, 8, 8))
    with pytest.raises(InputError, match="no such folder"):
        parity.photographs(tmp_path / "absent", (port,), pixels="unit", count=1)
    with pytest.raises(InputError, match="holds no picture"):
        parity.photographs(tmp_path, (port,), pixels="unit", count=1)
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="not a picture"):
        parity.photographs(tmp_path, (port,), pixels="unit", count=1)
    with pytest.raises(InputError, match="leave --images out"):
        parity.photographs(tmp_path, (Port("series", (1, 20, 8)),), pixels="unit", count=1)


def test_a_graph_that_onnx_runtime_refuses_is_told():
    with pytest.raises(CannotExport, match="cannot load"):
        parity.load(model_of(helper.make_node("Nothing", ["x"], ["y"])))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x:y", "--input-shape", "1,a"], "--input-shape 1,a"),
        (["x:y", "--input-shape", "1,0"], "--input-shape 1,0"),
        (["x:y", "--option", "novalue"], "KEY=VALUE"),
        (["x:y", "--exporter", "caffe"], "auto, dynamo, torchscript"),
        (["x:y", "--pixels", "hsv"], "unit, imagenet, raw"),
        (["/nowhere/at.all"], "no such file"),
        (["absent_of_tests:build"], "no such module"),
    ],
)
def test_bad_words_are_one_message_and_exit_2(run, arguments, words):
    done = run(*arguments)
    assert done.code == 2
    assert words in done.stderr
    assert not done.out.exists()


def test_importing_the_command_imports_no_framework():
    import subprocess
    import sys

    code = (
        "import sys, tools.model.export.command\n"
        "heavy = {'torch', 'tensorflow', 'onnx', 'onnxruntime', 'cv2', 'numpy', 'tools.model.export.road'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
