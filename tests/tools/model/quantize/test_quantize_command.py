from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

from agent.errors import InputError
from tools.model.cli import app
from tools.model.quantize import nncf_engine


def sibling(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["quantize", *map(str, arguments)])


def classes(folder: Path, count: int = 8) -> Path:
    """An ImageNet-like folder: one folder a class."""
    rng = np.random.default_rng(5)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 90, (64, 64, 3)).astype(np.uint8)
            image[..., label] += 60
            cv2.imwrite(str(folder / name / f"{index}.png"), image)
    return folder


def test_a_folder_of_pictures_gives_an_int8_model_and_its_figures_as_json(tmp_path: Path) -> None:
    model = sibling("test_search").classifier(tmp_path / "float.onnx")
    pictures = tmp_path / "all"
    pictures.mkdir()
    for number, path in enumerate(sorted(classes(tmp_path / "data").rglob("*.png"))):
        path.rename(pictures / f"{number}.png")
    done = call(
        model, "-o", tmp_path / "int8.onnx", "--data", pictures, "--method", "mse", "--json", "--cache", tmp_path / "c"
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["recipe"]["ranges"] == "mse"
    assert facts["figures"]["map_50_95"] is None
    assert (tmp_path / "int8.onnx").is_file()


def test_too_few_pictures_end_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    model = sibling("test_search").classifier(tmp_path / "float.onnx")
    pictures = tmp_path / "few"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "1.png"), np.zeros((8, 8, 3), np.uint8))
    done = call(model, "-o", tmp_path / "int8.onnx", "--data", pictures)
    assert done.exit_code == 2
    assert "1 pictures are too few" in done.output
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "--method magic"),
        (["--activations", "int4"], "--activations int4"),
        (["--engine", "other"], "--engine other"),
        ([], "--data is missing"),
        (["--data", "nowhere-at-all"], "no such folder, video or camera"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    model = sibling("test_search").classifier(tmp_path / "float.onnx")
    done = call(model, "-o", tmp_path / "int8.onnx", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    done = call(tmp_path / "text.onnx", "-o", tmp_path / "int8.onnx", "--data", tmp_path)
    assert done.exit_code == 2
    assert "ONNX" in done.output


def test_a_recurrent_model_is_quantized_dynamically_without_pictures(tmp_path: Path) -> None:
    model = sibling("test_dynamic").lstm(tmp_path / "lstm.onnx")
    done = call(model, "-o", tmp_path / "int8.onnx", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kind"] == "recurrent"


def test_a_disk_without_room_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sibling("test_search").classifier(tmp_path / "float.onnx")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    done = call(model, "-o", tmp_path / "int8.onnx", "--data", tmp_path)
    assert done.exit_code == 1
    assert "MB are needed" in done.output


@pytest.mark.skipif(importlib.util.find_spec("nncf") is not None, reason="NNCF is installed")
def test_nncf_that_is_not_installed_is_said_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"lookout-agent\[workshop,nncf\]"):
        nncf_engine.load()


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="the extra nncf is not installed")
def test_nncf_keeps_what_the_recipe_keeps_and_sends_nothing(tmp_path: Path) -> None:
    helpers = sibling("test_search")
    source = helpers.classifier(tmp_path / "float.onnx")
    with helpers.Workbench(source, helpers.spec(), helpers.pictures(), tmp_path, helpers.quiet) as bench:
        made = bench.build(bench.recipe(helpers.Recipe(engine="nncf"), ("first",)), "even")
    assert "w1" in {tensor.name for tensor in made.graph.initializer}
    import sys

    assert sys.modules["openvino_telemetry"] is None


def test_a_model_without_weights_is_told_that_int8_brings_nothing(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["output"], axes=[2, 3], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    pictures = classes(tmp_path / "data") / "red"
    done = call(tmp_path / "m.onnx", "-o", tmp_path / "int8.onnx", "--data", pictures)
    assert done.exit_code == 2
    assert "no Conv, Gemm or MatMul" in done.output
