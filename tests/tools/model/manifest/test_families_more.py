"""The further families are told from graphs of their shapes, and what is told can be read by their decoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.model.manifest.test_recognise import model
from tools.model.manifest.recognise import recognise

NAMES = {"names": "{0: 'a', 1: 'b', 2: 'c'}"}
CASES = {
    "yolov5": ({"output": (1, 252, 8)}, {}, "yolov5", 3, {"strides": [8, 16, 32]}),
    "yolov7": ({"a": (1, 3, 8, 8, 8), "b": (1, 3, 4, 4, 8), "c": (1, 3, 2, 2, 8)}, {}, "yolov7", 3, {"grid": False}),
    "yolov8": ({"output0": (1, 7, 84)}, {}, "yolov8", 3, {"strides": [8, 16, 32]}),
    "yolov8 transposed": ({"output0": (1, 84, 6)}, {"last": "Identity"}, "yolox", 1, {}),
    "yolov8 masks": ({"output0": (1, 39, 84), "p": (1, 32, 16, 16)}, {"metadata": NAMES}, "yolov8", 3, {"extra": 32}),
    "end to end": ({"output0": (1, 300, 6)}, {"metadata": NAMES}, "yolo_end2end", 3, {}),
    "nanodet-plus": ({"output": (1, 85, 37)}, {}, "nanodet_plus", 5, {"reg_max": 7}),
    "retinaface": ({"loc": (1, 168, 4), "conf": (1, 168, 2), "landms": (1, 168, 10)}, {}, "retinaface", 1, {}),
    "ssd": (
        {"detection_boxes": (1, 10, 4), "detection_classes": (1, 10), "detection_scores": (1, 10)},
        {}, "ssd", 90, {"class_offset": 1},
    ),
    "detr": ({"logits": (1, 100, 4), "pred_boxes": (1, 100, 4)}, {}, "detr", 3, {}),
    "rt-detr": ({"pred_boxes": (1, 300, 4), "logits": (1, 300, 3)}, {}, "rtdetr", 3, {}),
    "pairs": ({"boxes": (1, 50, 4), "scores": (1, 50, 3)}, {}, "boxes_scores", 3, {"activation": "none"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_told_from_its_outputs(tmp_path: Path, name: str) -> None:
    outputs, options, kind, classes, params = CASES[name]
    found = recognise(model(tmp_path / "m.onnx", outputs, **options))
    assert (found.decoder.kind, found.num_classes) == (kind, classes)
    assert params.items() <= found.decoder.params.items()
    assert found.doubts
