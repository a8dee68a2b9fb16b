"""Optimizing: the answers stay the same, are proved to, and nothing is written where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from agent.errors import InputError, ModelError, StorageError
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.registry.manifest import Variant
from tests.fakes import models
from tools.model.cli import app
from tools.model.optimize import parity, steps
from tools.model.optimize.road import Wishes, optimize, pixel_spec
from tools.model.optimize.samples import noise_frames

SPEC = models.tiny_spec()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return models.tiny_detector(tmp_path / "tiny.onnx")


def detector(path: Path, spec: object) -> Detector:
    session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
    return Detector(spec, session, score_floor=0.3)  # type: ignore[arg-type]


def test_every_step_is_compared_with_the_original_and_keeps_its_bound(tiny: Path, tmp_path: Path) -> None:
    made = optimize(tiny, tmp_path / "out.onnx", wishes=Wishes(uint8_input=True), spec=SPEC.input, rounds=2)
    assert [step.step for step in made.steps] == ["original", "clean", "simplify", "uint8 input"]
    assert all(step.parity.kept for step in made.steps[1:] if step.parity)
    assert all(step.latency_ms and step.latency_ms > 0 for step in made.steps)


@pytest.mark.parametrize("layout", ["mean", "scale", "identity"])
def test_a_model_that_takes_pixels_sees_what_the_float_model_saw(layout: str, tmp_path: Path) -> None:
    changes = {
        "mean": {"mean": (103.5, 116.3, 123.7), "std": (57.4, 57.1, 58.4)},
        "scale": {"scale": 1 / 255, "color": "RGB"},
        "identity": {},
    }[layout]
    spec = msgspec.structs.replace(SPEC.input, **changes)
    source = models.tiny_detector(tmp_path / "tiny.onnx")
    made = optimize(source, tmp_path / "u8.onnx", wishes=Wishes(uint8_input=True), spec=spec, rounds=0)
    assert made.steps[-1].parity is not None
    assert made.steps[-1].parity.relative < 1e-5
    float_model = detector(source, models.tiny_spec(input=spec))
    byte_model = detector(tmp_path / "u8.onnx", models.tiny_spec(input=pixel_spec(spec)))
    for frame in noise_frames(100, 80, 3):
        one, other = float_model.run(_filled(float_model, frame)), byte_model.run(_filled(byte_model, frame))
        np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-4)


def _filled(model: Detector, frame: np.ndarray):
    buffer = model.buffer()
    model.preprocess(frame, buffer)
    return buffer


def test_the_variant_is_one_that_a_manifest_takes(tiny: Path, tmp_path: Path) -> None:
    made = optimize(tiny, tmp_path / "u8.onnx", wishes=Wishes(uint8_input=True), spec=SPEC.input, rounds=0)
    variant = Variant.model_validate_json(json.dumps(made.variant))
    assert variant.input is not None
    assert (variant.input.dtype, variant.input.scale, variant.input.std) == ("uint8", 1.0, (1.0, 1.0, 1.0))
    assert variant.file.size == (tmp_path / "u8.onnx").stat().st_size


def _overflowing(path: Path) -> Path:
    """A model whose numbers fit 32 bits, and not 16."""
    nodes = [
        helper.make_node("Mul", ["images", "large"], ["huge"], "grow"),
        helper.make_node("Mul", ["huge", "small"], ["output"], "shrink"),
    ]
    graph = helper.make_graph(
        nodes,
        "overflow",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 8, 8])],
        [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("large", 3e4), ("small", 1e-3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_sixteen_bits_that_overflow_are_refused_in_words_and_nothing_is_written(tmp_path: Path) -> None:
    source = _overflowing(tmp_path / "overflow.onnx")
    with pytest.raises(ModelError, match=r"fp16: Mul grow reaches .*end at 65504; nothing was written; leave --fp16"):
        optimize(source, tmp_path / "half.onnx", wishes=Wishes(fp16=True, simplify=False), rounds=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overflow.onnx"]


def test_sixteen_bits_have_a_bound_of_their_own_and_halve_the_file(tmp_path: Path) -> None:
    source = models.tiny_detector(tmp_path / "tiny.onnx")
    made = optimize(source, tmp_path / "half.onnx", wishes=Wishes(fp16=True), spec=SPEC.input, rounds=0)
    last = made.steps[-1]
    assert last.parity is not None
    assert last.parity.bound == parity.HALF
    assert made.variant["precision"] == "fp16"
    assert Session.load(
        tmp_path / "half.onnx", providers=("CPUExecutionProvider",), threads=1, spin=False
    ).inputs[0].dtype == "tensor(float)"  # fmt: skip


def test_the_ort_file_answers_the_same_and_its_operators_are_listed(tiny: Path, tmp_path: Path) -> None:
    made = optimize(tiny, tmp_path / "out.onnx", wishes=Wishes(ort=True, fuse=True), spec=SPEC.input, rounds=0)
    assert made.ort == str(tmp_path / "out.ort")
    assert "AveragePool" in (tmp_path / "out.required_operators.config").read_text()
    frame = noise_frames(64, 64, 1)[0]
    one = detector(tiny, SPEC)(frame).detections
    other = detector(tmp_path / "out.ort", SPEC)(frame).detections
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_parity_says_largest_mean_and_range() -> None:
    found = parity.compare([[np.array([0.0, 10.0])]], [[np.array([0.5, 10.0])]], bound=parity.EXACT)
    assert (found.max_abs, found.mean_abs, found.relative) == (0.5, 0.25, 0.05)
    assert not found.kept
    assert not parity.compare([[np.ones(3)]], [[np.full(3, np.nan)]], bound=1.0).kept
    with pytest.raises(ModelError, match="shapes"):
        parity.compare([[np.ones(3)]], [[np.ones(4)]], bound=1.0)


def test_what_cannot_be_done_is_said_before_anything_is(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --manifest"):
        optimize(tiny, tmp_path / "o.onnx", wishes=Wishes(uint8_input=True))
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        optimize(tiny, tmp_path / "o.ort")
    with pytest.raises(InputError, match="is the source itself"):
        optimize(tiny, tiny)
    with pytest.raises(InputError, match="32 bits again"):
        optimize(tiny, tmp_path / "o.onnx", wishes=Wishes(fp16=True, fuse=True))
    (tmp_path / "photo.onnx").write_bytes(b"\xff\xd8\xff\xe0 not a model")
    with pytest.raises(ModelError, match="is not an ONNX file"):
        optimize(tmp_path / "photo.onnx", tmp_path / "o.onnx")


def test_an_open_shape_needs_one_and_several_inputs_are_refused(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(InputError, match="open shape; give --shape"):
        optimize(tmp_path / "open.onnx", tmp_path / "o.onnx")
    made = optimize(tmp_path / "open.onnx", tmp_path / "o.onnx", shape=(1, 3, 64, 64), rounds=1)
    assert made.steps[0].latency_ms is not None
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(InputError, match=r"has 2 inputs \(images, more\)"):
        optimize(tmp_path / "two.onnx", tmp_path / "p.onnx")


def test_weights_beside_the_file_come_into_it_and_missing_ones_are_said(tiny: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.onnx"
    onnx.save(onnx.load(tiny), split, save_as_external_data=True, location="weights.bin", size_threshold=64)
    optimize(split, tmp_path / "whole.onnx", spec=SPEC.input, rounds=0)
    (tmp_path / "weights.bin").unlink()
    assert detector(tmp_path / "whole.onnx", SPEC) is not None
    with pytest.raises(ModelError, match="its weights lie in another file"):
        optimize(split, tmp_path / "again.onnx", spec=SPEC.input, rounds=0)


def test_a_target_that_cannot_be_written_is_said_in_words(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        optimize(tiny, tmp_path / "file" / "out.onnx", spec=SPEC.input, rounds=0)


def test_the_command_writes_model_and_variant_and_tells_in_json(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    result = CliRunner().invoke(app, ["optimize", str(tiny), "-o", str(target), "--json", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [step["step"] for step in told["steps"]] == ["original", "clean", "simplify"]
    assert json.loads(target.with_suffix(".variant.json").read_text())["precision"] == "fp32"
    refused = CliRunner().invoke(app, ["optimize", str(tiny), "-o", str(target), "--uint8-input"])
    assert refused.exit_code == 2
    assert "give --manifest" in refused.stderr
    assert CliRunner().invoke(app, ["optimize", str(tiny), "-o", str(target), "--shape", "1,x"]).exit_code == 2


@pytest.mark.shared
@pytest.mark.parametrize("name", ["yolox_nano", "nanodet_m_320"])
def test_real_detectors_that_take_pixels_find_the_same_on_photographs(shared: Path, name: str, tmp_path: Path) -> None:
    spec = {"yolox_nano": models.yolox_spec(), "nanodet_m_320": models.nanodet_spec()}[name]
    source = shared / "models" / f"{name}.onnx"
    optimize(source, tmp_path / "u8.onnx", wishes=Wishes(uint8_input=True), spec=spec.input, rounds=0)
    exact = detector(source, spec)
    pixels = detector(tmp_path / "u8.onnx", msgspec.structs.replace(spec, input=pixel_spec(spec.input)))
    seen = 0
    for path in sorted((shared / "data/coco128/images").glob("*.jpg"))[::16]:
        frame = cv2.imread(str(path))
        one, other = exact(frame).detections, pixels(frame).detections
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one[:, 5], other[:, 5])
        np.testing.assert_allclose(one[:, :5], other[:, :5], atol=0.05)
        seen += len(one)
    assert seen > 10


def test_a_graph_that_the_simplifier_cannot_read_names_the_way_out(tmp_path: Path, monkeypatch) -> None:
    source = models.tiny_detector(tmp_path / "tiny.onnx")
    monkeypatch.setattr("onnxslim.slim", lambda model: None)
    with pytest.raises(ModelError, match="--no-simplify"):
        steps.simplify(source, tmp_path / "out.onnx")
