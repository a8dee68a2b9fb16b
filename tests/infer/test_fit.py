"""Which of a file's outputs is which: by shape, by name, by the manifest's word; never a guess."""

from __future__ import annotations

import itertools

import pytest

from agent.errors import ModelError
from agent.infer.decoders.table import DECODERS
from agent.infer.fit import check_outputs
from agent.types import DecoderSpec, TensorInfo
from tests.fakes import models

FLOAT, WHOLE = "tensor(float)", "tensor(int64)"


def found(kind: str, file: list[TensorInfo], *, classes: int = 80, **params) -> list[str]:
    """The names of the outputs that are read, in the decoder's order."""
    spec = models.tiny_spec(decoder=DecoderSpec(kind, params), num_classes=classes)
    size = (spec.input.width, spec.input.height)
    expected = DECODERS[kind].expect(input_size=size, params=params, num_classes=classes)
    return [file[position].name for position in check_outputs(spec, expected, file)]


def out(name: str, *shape: int, dtype: str = FLOAT) -> TensorInfo:
    return TensorInfo(name, dtype, shape)


TENSORFLOW = [
    out("detection_boxes:0", 1, 100, 4),
    out("detection_classes:0", 1, 100),
    out("detection_multiclass_scores:0", 1, 100, 91),
    out("detection_scores:0", 1, 100),
    out("num_detections:0", 1),
    out("raw_detection_boxes:0", 1, 1917, 4),
    out("raw_detection_scores:0", 1, 1917, 91),
]


@pytest.mark.parametrize("shift", range(len(TENSORFLOW)))
def test_outputs_of_tensorflows_models_are_told_by_name_whatever_their_order(shift):
    outputs = TENSORFLOW[shift:] + TENSORFLOW[:shift]
    wanted = ["detection_boxes:0", "detection_classes:0", "detection_scores:0", "num_detections:0"]
    assert found("ssd", outputs) == wanted


def test_the_number_of_detections_may_be_missing():
    assert found("ssd", TENSORFLOW[:4]) == ["detection_boxes:0", "detection_classes:0", "detection_scores:0"]


def test_outputs_without_telling_names_have_to_be_named():
    outputs = [out("a", 1, 10, 4), out("b", 1, 10), out("c", 1, 10), out("d", 1)]
    with pytest.raises(ModelError, match=r"which of b .*, c .* holds the classes of decoder ssd\? Name the outputs in"):
        found("ssd", outputs)
    assert found("ssd", outputs, outputs=["a", "c", "b", "d"]) == ["a", "c", "b", "d"]
    assert found("ssd", outputs, outputs=["a", "c", "b"]) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "a list of 3 names of outputs is needed, for: boxes, classes, scores, number"),
        (["a", "b", "b"], "a list of 3 names"),
        ("a", "a list of 3 names"),
        (["a", "b", "x"], r"'x': an output of this name, of shape \[1, \?\] \(float\) for its scores, is needed"),
        (["b", "a", "c"], r"'b': an output of this name, of shape \[1, \?, 4\]"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(names, words):
    outputs = [out("a", 1, 10, 4), out("b", 1, 10), out("c", 1, 10)]
    with pytest.raises(ModelError, match=words) as caught:
        found("ssd", outputs, outputs=names)
    assert caught.value.field == "decoder.outputs"


def test_four_classes_look_like_boxes_and_are_told_by_name():
    outputs = [out("pred_scores", 1, 50, 4), out("pred_boxes", 1, 50, 4)]
    assert found("boxes_scores", outputs, classes=4) == ["pred_boxes", "pred_scores"]
    with pytest.raises(ModelError, match="holds the boxes of decoder boxes_scores"):
        found("boxes_scores", [out("one", 1, 50, 4), out("two", 1, 50, 4)], classes=4)


def test_whole_numbers_are_labels_and_no_scores():
    outputs = [out("x", -1, 4), out("y", -1, dtype=WHOLE), out("z", -1)]
    for order in itertools.permutations(outputs):
        assert found("boxes_scores", list(order), labels=True) == ["x", "z", "y"]


def test_a_missing_output_is_told_with_its_shape():
    with pytest.raises(ModelError, match=r"needs one of shape \[1, \?, 81\] \(float\) for its logits; the file's are"):
        found("detr", [out("logits", 1, 100, 80), out("boxes", 1, 100, 4)])


def test_free_sizes_fit_and_outputs_beyond_are_left_alone():
    outputs = [out("landms", 1, -1, 10), out("conf", 1, -1, 2), out("loc", 1, -1, 4)]
    assert found("retinaface", outputs, classes=1) == ["loc", "conf"]
