from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import InputError, ManifestError, ModelError
from agent.infer.detector import Detector
from agent.infer.session import Session
from tests.fakes.models import TINY_LABELS, nanodet_spec, tiny_classifier, tiny_detector, tiny_spec, yolox_spec
from tools.model.manifest.coco import COCO
from tools.model.manifest.describe import describe, parse_size, read_labels
from tools.model.manifest.recognise import labels_in_metadata, recognise

Outputs = dict[str, tuple[int, ...]]


def model(
    path: Path,
    outputs: Outputs,
    *,
    input_shape: tuple[int | str, ...] = (1, 3, 64, 64),
    dtype: int = TensorProto.FLOAT,
    last: str = "Sigmoid",
    metadata: dict[str, str] | None = None,
    declared: bool = True,
) -> Path:
    """A model of which only the ends matter: each output is a constant, added to nothing and sent through ``last``."""
    nodes = [helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Sub", ["mean", "mean"], ["nothing"]))
    constants = []
    for name, shape in outputs.items():
        constants.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [f"{name}_raw"]))
        nodes.append(helper.make_node(last, [f"{name}_raw"], [name]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape) if declared else ["n"] * len(shape))
        for name, shape in outputs.items()
    ]
    start = helper.make_tensor_value_info("images", dtype, list(input_shape))
    made = helper.make_model(
        helper.make_graph(nodes, "ends", [start], ends, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    for key, value in (metadata or {}).items():
        made.metadata_props.add(key=key, value=value)
    onnx.save(made, path)
    return path


def nanodet_outputs(classes: int = 5, bins: int = 8) -> Outputs:
    cells = {8: 64, 16: 16, 32: 4}
    scores = {f"cls_{stride}": (1, count, classes) for stride, count in cells.items()}
    return scores | {f"dis_{stride}": (1, count, 4 * bins) for stride, count in cells.items()}


def test_the_real_models_are_what_their_manifests_say(shared: Path) -> None:
    for file, spec in (("yolox_nano.onnx", yolox_spec()), ("nanodet_m_320.onnx", nanodet_spec())):
        found = describe(shared / "models" / file)
        assert found.spec.input == spec.input
        assert found.spec.decoder == spec.decoder
        assert found.labels == COCO
        assert any("COCO" in doubt for doubt in found.doubts)


def test_what_is_recognised_can_be_served(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / "m.onnx")
    found = describe(path, labels=TINY_LABELS)
    assert found.spec.decoder == tiny_spec().decoder
    session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
    assert Detector(found.spec, session, score_floor=0.1)(np.zeros((64, 64, 3), np.uint8)).detections is not None


def test_a_yolox_that_decodes_itself_is_told_by_its_exponential(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", {"output": (1, 84, 9)}, last="Exp")
    assert recognise(path).decoder.params["decoded"] is True


def test_nanodet_is_told_with_its_bins_and_raw_scores(tmp_path: Path) -> None:
    sigmoid = recognise(model(tmp_path / "a.onnx", nanodet_outputs(bins=16)))
    assert (sigmoid.decoder.kind, sigmoid.decoder.params["reg_max"], sigmoid.num_classes) == ("nanodet", 15, 5)
    raw = recognise(model(tmp_path / "b.onnx", nanodet_outputs(), last="Identity"))
    assert raw.decoder.params["logits"] is True


def test_centerface_is_one_class_called_face(tmp_path: Path) -> None:
    outputs = {"heat": (1, 1, 16, 16), "sizes": (1, 2, 16, 16), "offsets": (1, 2, 16, 16), "marks": (1, 10, 16, 16)}
    found = describe(model(tmp_path / "m.onnx", outputs))
    assert (found.spec.decoder.kind, found.labels, found.spec.input.color) == ("centerface", ("face",), "RGB")


@pytest.mark.parametrize(("last", "softmax"), [("Softmax", False), ("Identity", True)])
def test_a_classifier_gets_a_softmax_unless_it_has_one(tmp_path: Path, last: str, softmax: bool) -> None:
    found = recognise(model(tmp_path / "m.onnx", {"probabilities": (1, 7)}, last=last))
    assert (found.task, found.decoder.params["softmax"], found.decoder.params["top"]) == ("classify", softmax, 5)


def test_a_byte_model_is_fed_bytes(tmp_path: Path) -> None:
    found = recognise(model(tmp_path / "m.onnx", {"logits": (1, 7)}, dtype=TensorProto.UINT8))
    assert (found.input.dtype, found.input.scale, found.input.mean) == ("uint8", 1.0, (0.0, 0.0, 0.0))


def test_pixels_last_is_seen_from_the_input(tmp_path: Path) -> None:
    found = recognise(model(tmp_path / "m.onnx", {"logits": (1, 7)}, input_shape=(1, 48, 64, 3)))
    assert (found.input.layout, found.input.width, found.input.height) == ("NHWC", 64, 48)


def test_sizes_that_only_a_run_tells_are_found(tmp_path: Path) -> None:
    found = recognise(model(tmp_path / "m.onnx", {"output": (1, 84, 9)}, declared=False))
    assert (found.decoder.kind, found.num_classes) == ("yolox", 4)


def test_an_open_size_is_taken_from_the_outputs_or_asked_for(tmp_path: Path) -> None:
    open_ = (1, 3, "height", "width")
    yolox = recognise(model(tmp_path / "a.onnx", {"output": (1, 84, 9)}, input_shape=open_))
    assert (yolox.input.width, yolox.input.height) == (64, 64)
    assert any("open" in doubt for doubt in yolox.doubts)
    classifier = model(tmp_path / "b.onnx", {"logits": (1, 7)}, input_shape=open_)
    with pytest.raises(InputError, match="--input-size"):
        recognise(classifier)
    assert recognise(classifier, input_size=(96, 64)).input.shape == (1, 3, 64, 96)


def test_an_examples_batch_and_size_are_not_believed(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", {"logits": (1, 7)}, input_shape=(10, 3, 32, 32))
    with pytest.raises(InputError, match="example"):
        recognise(path)
    assert recognise(path, input_size=(64, 64)).input.shape == (1, 3, 64, 64)


def test_an_unknown_family_is_described_and_the_known_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"output0 \[1, 9, 83\].*It reads: boxes_scores, centerface, classify"):
        recognise(model(tmp_path / "m.onnx", {"output0": (1, 9, 83)}))


@pytest.mark.parametrize("shape", [(1, 3, 64), (1, 1, 64, 64)])
def test_what_takes_no_colour_picture_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="images"):
        recognise(model(tmp_path / "m.onnx", {"logits": (1, 7)}, input_shape=shape))


def test_labels_come_from_the_file_itself(tmp_path: Path) -> None:
    names = {"names": "{0: 'ant', 1: 'bee', 2: 'cat', 3: 'dog'}"}
    found = describe(model(tmp_path / "m.onnx", {"output": (1, 84, 9)}, metadata=names))
    assert (found.labels, found.labels_from) == (("ant", "bee", "cat", "dog"), "metadata")


@pytest.mark.parametrize("text", ["", "{0: 'a', 2: 'b'}", "['a', 'a']", "[1, 2]", "__import__('os')", "{", "['', 'b']"])
def test_labels_that_make_no_sense_are_left_alone(text: str) -> None:
    assert labels_in_metadata({"names": text}) == ()


def test_unknown_classes_are_numbered_and_doubted(tmp_path: Path) -> None:
    found = describe(tiny_classifier(tmp_path / "m.onnx"))
    assert found.labels == ("class 0", "class 1", "class 2")
    assert any("--labels" in doubt for doubt in found.doubts)


def test_as_many_labels_as_classes_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 labels.*3 classes"):
        describe(tiny_detector(tmp_path / "m.onnx"), labels=("a", "b"))


def test_label_files_hold_each_name_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a\n\n b \n")
    assert read_labels(path) == ("a", "b")
    path.write_text("a\na\n")
    with pytest.raises(InputError, match="twice"):
        read_labels(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.parametrize("text", ["", "x", "0x5", "64x", "64x64x3", "-1", "9000"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_are_width_by_height() -> None:
    assert (parse_size("640x384"), parse_size("320")) == ((640, 384), (320, 320))


def test_a_manifest_is_believed_even_without_hashes(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / "m.onnx")
    spec = tiny_spec()
    fields = {
        "schema": 1,
        "model": "tiny",
        "version": "1.0.0",
        "task": "detect",
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": {"path": "m.onnx"}}],
        "input": msgspec.to_builtins(spec.input),
        "decoder": {"kind": "yolox", **spec.decoder.params},
        "labels": ["x", "y", "z"],
        "thresholds": {"score": 0.2, "nms_iou": 0.6},
    }
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(fields))
    found = describe(path, tmp_path / "manifest.json")
    assert (found.labels, found.score, found.spec.nms_iou, found.doubts) == (("x", "y", "z"), 0.2, 0.6, ())
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ManifestError, match="problem"):
        describe(path, tmp_path / "manifest.json")
