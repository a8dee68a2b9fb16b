"""The command, on tiny models whose answers are known, on bad input, and on the real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from agent.errors import InputError, ModelError
from tests.fakes import models
from tools.model.cli import app
from tools.model.datasets.read import read_dataset
from tools.model.evaluate.ask import evaluate, name_models
from tools.model.evaluate.compare import compare
from tools.model.evaluate.predict import predict
from tools.model.evaluate.sheet import page
from tools.model.evaluate.show import facts


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


def tinted(folder: Path) -> Path:
    """A folder a class, whose pictures are of the colour that the class is named for."""
    for number, name in enumerate(models.TINY_LABELS):
        (folder / name).mkdir(parents=True)
        for index in range(2):
            frame = np.full((64, 64, 3), 20 * index, np.uint8)
            frame[:, :, number] = 250
            cv2.imwrite(str(folder / name / f"{index}.png"), frame)
    return folder


def manifest(path: Path, spec: Any, task: str = "detect") -> Path:
    fields = {
        "schema": 1, "model": "tiny", "version": "1.0.0", "task": task, "labels": list(models.TINY_LABELS),
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": {"path": "tiny.onnx"}}],
        **models.fragment(spec),
    }  # fmt: skip
    path.write_text(json.dumps(fields))
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    models.tiny_detector(tmp_path / "tiny.onnx")
    coloured(tmp_path / "data")
    manifest(tmp_path / "manifest.json", models.tiny_spec())
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})


def test_a_tiny_model_on_its_own_colours_is_perfect(tiny):
    dataset = read_dataset(tiny / "data")
    found = compare({"tiny": tiny / "tiny.onnx"}, models.tiny_spec(), dataset)
    scores = found.models[0].detection
    assert scores is not None
    assert scores.map_50_95 == pytest.approx(1)
    assert (found.models[0].agreement, found.different) == (None, ())
    assert "4 pictures are few: below 500" in found.notes[-1]


def test_predict_takes_pictures_of_a_data_set_and_pixels_alike(tiny):
    dataset = read_dataset(tiny / "data")
    done: list[None] = []
    by_file = predict(tiny / "tiny.onnx", models.tiny_spec(), dataset.pictures, on_picture=lambda: done.append(None))
    by_pixels = predict(tiny / "tiny.onnx", models.tiny_spec(), (one.pixels() for one in dataset.pictures))
    assert all(np.array_equal(*pair) for pair in zip(by_file.detections, by_pixels.detections, strict=True))
    assert (by_file.sizes, by_file.classes, len(done)) == ([(64, 64)] * 4, None, 4)
    assert by_file.mean_ms > 0


def test_two_models_are_compared_and_their_differences_shown(tiny):
    models.tiny_detector(tiny / "other.onnx", constant=[(8, 8, 40, 40, 0.9, 2)])
    report = tiny / "report.html"
    done = run(
        tiny / "tiny.onnx", tiny / "other.onnx", "--data", tiny / "data", "--manifest", tiny / "manifest.json",
        "-o", report, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["map_50_95"] == {"tiny": pytest.approx(1), "other": 0}
    assert told["agreement"] == {"other": 0}
    assert told["matched_f1"] == {"other": 0}
    assert (told["images"], told["form"], told["report"]) == (4, "YOLO text", str(report))
    assert len(told["most_different"]) == 4
    html = report.read_text()
    assert html.count("data:image/jpeg;base64,") == 4
    assert html.count("data:image/png;base64,") == 4  # the curve, the classes, two confusions
    assert "1 seen by tiny alone, 1 by other alone" in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_table_is_for_people(tiny):
    done = run(tiny / "tiny.onnx", "--data", tiny / "data", "--manifest", tiny / "manifest.json", "--half", "odd")
    assert done.exit_code == 0, done.output
    assert "2 pictures of" in done.stdout
    assert "mAP 50-95" in done.stdout
    assert "100.0" in done.stdout
    assert "note: 2 pictures are few" in done.stderr


def test_a_classifier_is_judged_by_its_first_answer(tmp_path):
    models.tiny_classifier(tmp_path / "tiny.onnx")
    path = manifest(tmp_path / "manifest.json", models.tiny_classifier_spec(), "classify")
    data = tinted(tmp_path / "data")
    cv2.imwrite(str(data / "red/2.png"), np.full((64, 64, 3), (90, 10, 10), np.uint8))  # blue among the red
    found = evaluate([tmp_path / "tiny.onnx"], data, manifest=path)
    scores = found.models[0].classification
    assert scores is not None
    assert scores.top1 == pytest.approx(6 / 7)
    assert found.models[0].confusion[2, 0] == 1
    told = facts(found)
    assert told["top1"] == {"tiny": pytest.approx(6 / 7, abs=1e-4)}
    assert "map_50_95" not in told
    assert "share of right first answers" in page(found).html()


def test_two_classifiers_are_shown_the_pictures_they_name_otherwise(tmp_path):
    for name in ("one", "two"):
        models.tiny_classifier(tmp_path / f"{name}.onnx")
    spec = models.tiny_classifier_spec()
    other = models.tiny_classifier_spec(input=models.msgspec.structs.replace(spec.input, color="RGB"))
    dataset = read_dataset(tinted(tmp_path / "data"))
    paths = {name: tmp_path / f"{name}.onnx" for name in ("one", "two")}
    found = compare(paths, {"one": spec, "two": other}, dataset)
    assert found.models[1].agreement == pytest.approx(2 / 6)
    html = page(found).html()
    assert "one: red" in html
    assert "two: blue" in html
    assert "truth: red" in html


def test_classes_are_matched_by_name(tiny):
    (tiny / "data/classes.txt").write_text("Red\nblue\ngreen\n")
    for path in (tiny / "data/labels").iterdir():
        number, rest = path.read_text().split(" ", 1)
        path.write_text(f"{(int(number) + 1) % 3} {rest}")
    found = evaluate([tiny / "tiny.onnx"], tiny / "data", manifest=tiny / "manifest.json")
    assert facts(found)["map_50_95"] == {"tiny": pytest.approx(1)}


def test_names_are_stems_and_with_their_folder_where_two_are_the_same(tmp_path):
    paths = [tmp_path / "a/m.onnx", tmp_path / "b/m.onnx", tmp_path / "c.onnx"]
    assert list(name_models(paths)) == ["a/m", "b/m", "c"]
    with pytest.raises(InputError, match="given twice"):
        name_models([paths[0], paths[0]])


def test_bad_input_is_named_and_ends_with_two(tiny):
    model, given = tiny / "tiny.onnx", ("--manifest", tiny / "manifest.json")
    (tiny / "empty").mkdir()
    tinted(tiny / "folders")
    coloured(tiny / "broken")
    (tiny / "broken/images/1.png").write_bytes(b"no picture")
    coloured(tiny / "strange")
    (tiny / "strange/classes.txt").write_text("a\nb\nc\n")
    coloured(tiny / "single", pictures=1)
    for data, words in (
        ("empty", "no labels in it"),
        ("folders", "is a model to detect"),
        ("broken", "1.png: this picture cannot be read"),
        ("strange", "none of the model's (blue, green, red)"),
        ("absent", "no such file or folder"),
    ):
        done = run(model, "--data", tiny / data, *given)
        assert done.exit_code == 2, done.output
        assert words in done.stderr
    done = run(model, "--data", tiny / "single", *given, "--half", "odd")
    assert (done.exit_code, "holds no pictures" in done.stderr or "no picture shows" in done.stderr) == (2, True)


def test_a_model_that_is_no_detector_is_refused_on_boxes(tiny):
    models.tiny_classifier(tiny / "classes.onnx")
    done = run(tiny / "classes.onnx", "--data", tiny / "data")
    assert done.exit_code == 2
    assert "to classify" in done.stderr


def test_models_of_two_kinds_are_not_set_side_by_side(tiny):
    models.tiny_classifier(tiny / "classes.onnx")
    specs = {"one": models.tiny_spec(), "two": models.tiny_classifier_spec()}
    with pytest.raises(InputError, match=r"two: it is a model to classify of 3 classes, the first one is to detect"):
        compare({"one": tiny / "tiny.onnx", "two": tiny / "classes.onnx"}, specs, read_dataset(tiny / "data"))


def test_a_file_that_its_spec_does_not_fit_is_refused(tiny):
    with pytest.raises(ModelError, match="input"):
        predict(tiny / "tiny.onnx", models.nanodet_spec(), [])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "spec", "least"),
    [("yolox_nano", models.yolox_spec(), 33.5), ("nanodet_m_320", models.nanodet_spec(), 29.0)],
    ids=["yolox", "nanodet"],
)
def test_the_real_models_reach_their_known_accuracy(shared, name, spec, least):
    dataset = read_dataset(shared / "data/coco128")
    found = compare({name: shared / f"models/{name}.onnx"}, spec, dataset, threads=2)
    assert len(found.dataset.pictures) == 128
    assert found.models[0].detection is not None
    assert round(found.models[0].detection.map_50_95 * 100, 1) >= least
