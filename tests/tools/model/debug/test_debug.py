"""Debugging INT8: the guilty block is found, its arguments are those that quantize takes, and no pair is an error."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from agent.errors import InputError, ModelError
from tests.fakes import models
from tools.model.clean import clean
from tools.model.cli import app
from tools.model.debug import show
from tools.model.debug.analyse import debug
from tools.model.debug.errors import Sums, output_error
from tools.model.debug.pair import read_pair
from tools.model.optimize.samples import input_tensors, noise_tensors
from tools.model.quantize.static import quantize

SHAPE = (1, 3, 16, 16)


def _conv(number: int, source: str, target: str) -> list[onnx.NodeProto]:
    """A convolution and its SiLU."""
    return [
        helper.make_node("Conv", [source, f"w{number}"], [f"c{number}"], f"Conv_{number}"),
        helper.make_node("Sigmoid", [f"c{number}"], [f"s{number}"], f"Sigmoid_{number}"),
        helper.make_node("Mul", [f"c{number}", f"s{number}"], [target], f"Mul_{number}"),
    ]


def network(path: Path, *, named: bool = True) -> Path:
    """Four blocks; the second makes one channel a thousand times larger than what the third reads of the others."""
    generator = np.random.default_rng(1)
    weights = {f"w{number}": generator.standard_normal((4, 3 if number == 0 else 4, 1, 1)) for number in range(4)}
    weights["w1"][0] *= 1000
    weights["w2"][:, 0] = 0
    graph = helper.make_graph(
        [*_conv(0, "x", "a0"), *_conv(1, "a0", "a1"), *_conv(2, "a1", "a2"), *_conv(3, "a2", "y")],
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 16, 16])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    if not named:
        for node in graph.node:
            node.name = ""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    exact = network(tmp_path / "float.onnx")
    quantize(exact, tmp_path / "int8.onnx", noise_tensors(SHAPE))
    return exact, tmp_path / "int8.onnx"


def test_sqnr_is_the_power_of_the_signal_over_that_of_the_error() -> None:
    sums = Sums()
    sums.add(np.array([10.0, 0.0]), np.array([10.0, 1.0]))
    assert sums.db == pytest.approx(20.0)
    sums.add(np.array([10.0, 0.0]), np.array([10.0, 1.0]))
    assert sums.db == pytest.approx(20.0)
    assert Sums().db == 120.0
    assert Sums(signal=1.0, noise=float("nan")).db == -120.0


def test_the_block_that_loses_the_small_channels_is_blamed_and_leaving_it_float_mends_the_answer(
    pair: tuple[Path, Path],
) -> None:
    found = debug(*pair, noise_tensors(SHAPE))
    guilty = {name for block in found.proposed for name in block.nodes}
    assert {"Conv_1", "Sigmoid_1", "Mul_1"} <= guilty
    assert "Conv_0" not in guilty
    assert found.proposed_db > found.answer_db + 6
    assert [block.alone_db for block in found.blocks] == sorted(block.alone_db for block in found.blocks)
    assert sum(block.share for block in found.blocks) == pytest.approx(1.0)


def test_what_is_proposed_is_what_quantize_takes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    from tools.model.quantize.static import Recipe

    found = debug(*pair, noise_tensors(SHAPE))
    assert show.arguments(found).startswith("--keep-float ")
    quantize(pair[0], tmp_path / "mixed.onnx", noise_tensors(SHAPE), Recipe(kept_float=found.kept_float))
    again = debug(pair[0], tmp_path / "mixed.onnx", noise_tensors(SHAPE))
    assert again.answer_db > found.answer_db + 6


def test_every_quantized_tensor_and_weight_has_its_error_worst_first(pair: tuple[Path, Path]) -> None:
    found = debug(*pair, noise_tensors(SHAPE))
    assert {weight.node for weight in found.weights} == {"Conv_0", "Conv_1", "Conv_2", "Conv_3"}
    assert [weight.db for weight in found.weights] == sorted(weight.db for weight in found.weights)
    assert {"a0", "a1", "a2"} <= {layer.tensor for layer in found.layers}
    totals = [layer.total_db for layer in found.layers if layer.total_db is not None]
    assert totals == sorted(totals)


def test_nothing_quantized_is_the_float_model_and_everything_is_the_int8_one(pair: tuple[Path, Path]) -> None:
    import onnxruntime

    both = read_pair(*pair)
    feeds = [{"x": tensor} for tensor in noise_tensors(SHAPE)]
    run = onnxruntime.InferenceSession(str(pair[0])).run
    reference = [run(None, feed) for feed in feeds]
    assert output_error(reference, both.model(set()).SerializeToString(), feeds)[0] < 1e-10
    whole = output_error(reference, both.model(set(both.quantizers)).SerializeToString(), feeds)[0]
    assert whole == pytest.approx(output_error(reference, pair[1], feeds)[0], rel=0.05)


def test_nodes_without_names_are_matched_by_what_they_write(tmp_path: Path) -> None:
    exact = network(tmp_path / "float.onnx", named=False)
    quantize(exact, tmp_path / "int8.onnx", noise_tensors(SHAPE))
    assert read_pair(exact, tmp_path / "int8.onnx").quantizers


def test_no_pair_is_said_in_words(pair: tuple[Path, Path], tmp_path: Path) -> None:
    exact, rounded = pair
    with pytest.raises(InputError, match="nothing in it is quantized"):
        read_pair(exact, exact)
    with pytest.raises(InputError, match="is quantized itself"):
        read_pair(rounded, rounded)
    other = models.tiny_detector(tmp_path / "other.onnx")
    with pytest.raises(InputError, match="no quantized layer in common"):
        read_pair(other, rounded)
    (tmp_path / "cut.onnx").write_bytes(rounded.read_bytes()[:-40])
    with pytest.raises(ModelError, match="cut off"):
        read_pair(exact, tmp_path / "cut.onnx")
    with pytest.raises(InputError, match="no images"):
        debug(exact, rounded, [])


def test_pictures_are_png(pair: tuple[Path, Path]) -> None:
    from tools.model.debug import plots

    found = debug(*pair, noise_tensors(SHAPE))
    assert plots.worst_blocks(found).startswith(b"\x89PNG")
    assert plots.along_the_network(found, ["a0", "a1", "a2"]).startswith(b"\x89PNG")


def _manifest(path: Path, spec: models.ModelSpec, shared: Path) -> Path:
    fields = {
        "schema": 1,
        "model": "yolox-nano",
        "version": "1.0.0",
        "task": "detect",
        "labels": models.coco_labels(shared),
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": {"path": "float.onnx"}}],
        **models.fragment(spec),
    }
    path.write_text(json.dumps(fields))
    return path


@pytest.mark.shared
def test_yolox_nanos_stem_and_first_depthwise_are_blamed_and_the_page_shows_them(shared: Path, tmp_path: Path) -> None:
    """On the backbone's first 20 convolutions, for time's sake; the whole network's ranking is the same (docs)."""
    spec, page = models.yolox_spec(), tmp_path / "report.html"
    whole, exact, rounded = (tmp_path / name for name in ("whole.onnx", "float.onnx", "int8.onnx"))
    clean(shared / "models/yolox_nano.onnx", whole, input_shape=spec.input.shape)
    gates = [node for node in onnx.load(whole).graph.node if node.op_type == "Mul"]
    onnx.utils.extract_model(str(whole), str(exact), ["images"], [gates[19].output[0]])
    pictures = sorted((shared / "data/coco128/images").glob("*.jpg"))
    quantize(exact, rounded, input_tensors(spec.input, (cv2.imread(str(path)) for path in pictures[::16])))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/one.jpg").write_bytes(pictures[1].read_bytes())
    options = ["--images", str(tmp_path / "images"), "-o", str(page), "--limit", "1", "--json"]
    manifest = _manifest(tmp_path / "manifest.json", spec, shared)
    result = CliRunner().invoke(app, ["debug", str(exact), str(rounded), "--manifest", str(manifest), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert {block["nodes"][0] for block in told["blocks"][:2]} == {"Conv_41", "Conv_44"}
    assert {"Conv_41", "Conv_44"} <= set(told["kept_float"])
    assert "data:image/png;base64" in page.read_text()
