"""Mean average precision, on detections whose figure is known, on a tiny model, and on the real ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tests.fakes import models
from tools.model.dataset import read_dataset
from tools.model.evaluate.detection import evaluate, main, mean_average_precision, to_pixels

TRUTH = [np.array([[10, 10, 50, 50, 0], [60, 60, 90, 90, 1]], float)]


def coloured(folder: Path, pictures: int = 4) -> Path:
    """Pictures with one pure cell of 8 by 8 each, labelled as the tiny detector's classes."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("\n".join(models.TINY_LABELS))
    for index in range(pictures):
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[8 * index : 8 * index + 8, 16:24, index % 3] = 255
        cv2.imwrite(str(folder / "images" / f"{index}.png"), frame)
        (folder / "labels" / f"{index}.txt").write_text(f"{index % 3} {20 / 64} {(8 * index + 4) / 64} 0.125 0.125\n")
    return folder


def test_perfect_detections_are_worth_one_and_none_nothing():
    perfect = np.array([[10, 10, 50, 50, 0.9, 0], [60, 60, 90, 90, 0.8, 1]])
    assert mean_average_precision(TRUTH, [perfect], 3) == (pytest.approx(1), pytest.approx(1))
    assert mean_average_precision(TRUTH, [np.zeros((0, 6))], 3) == (0, 0)


def test_a_box_that_overlaps_by_0_8_counts_up_to_that_threshold():
    shrunk = np.array([[10, 10, 50, 42, 0.9, 0], [60, 60, 90, 90, 0.8, 1]])  # IoU 0.8 and 1
    map_50_95, map_50 = mean_average_precision(TRUTH, [shrunk], 2)
    assert map_50 == pytest.approx(1)
    assert map_50_95 == pytest.approx((0.7 + 1) / 2, abs=0.051)  # 0.80 itself is a matter of rounding


def test_labels_become_pixels():
    assert to_pixels(np.array([[3, 0.5, 0.25, 0.2, 0.1]]), 100, 200).tolist() == [[40, 40, 60, 60, 3]]


def test_a_tiny_model_on_its_own_colours_is_perfect(tmp_path):
    dataset = read_dataset(coloured(tmp_path / "data"))
    result = evaluate(models.tiny_detector(tmp_path / "tiny.onnx"), models.tiny_spec(), dataset, threads=1)
    assert (result.images, result.map_50_95) == (4, pytest.approx(1))
    assert evaluate(tmp_path / "tiny.onnx", models.tiny_spec(), dataset.half("odd"), threads=1).images == 2


def test_a_data_set_of_other_classes_is_refused(tmp_path):
    dataset = read_dataset(coloured(tmp_path / "data"))
    with pytest.raises(InputError, match=r"classes\.txt has 3 classes, the manifest 80 labels"):
        evaluate(models.tiny_detector(tmp_path / "tiny.onnx"), models.yolox_spec(), dataset)


def test_the_command_line_reads_a_manifest_and_prints_facts(tmp_path, capsys):
    model = models.tiny_detector(tmp_path / "tiny.onnx")
    data = model.read_bytes()
    manifest = {
        "schema": 1, "model": "tiny", "version": "1.0.0", "task": "detect", "labels": list(models.TINY_LABELS),
        "variants": [{
            "providers": ["CPUExecutionProvider"], "precision": "fp32",
            "file": {"path": "tiny.onnx", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)},
        }],
        **models.fragment(models.tiny_spec()),
    }  # fmt: skip
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    folder = str(coloured(tmp_path / "data"))
    assert main([str(path), folder, "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["map_50_95"] == pytest.approx(1)
    assert main([str(path), folder, "--half", "even"]) == 0
    assert "2 images: mAP 50-95 100.0%" in capsys.readouterr().out
    assert main([str(path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main([str(path), folder, "--variant", "1"]) == 2
    assert main([str(tmp_path / "absent.json"), folder]) == 2


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "spec", "least"),
    [("yolox_nano", models.yolox_spec(), 33.5), ("nanodet_m_320", models.nanodet_spec(), 29.0)],
    ids=["yolox", "nanodet"],
)
def test_the_real_models_reach_their_known_accuracy(shared, name, spec, least):
    dataset = read_dataset(shared / "data/coco128")
    result = evaluate(shared / f"models/{name}.onnx", spec, dataset, threads=2)
    assert result.images == 128
    assert round(result.map_50_95 * 100, 1) >= least
