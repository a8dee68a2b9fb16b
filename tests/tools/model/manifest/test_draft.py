from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError, ModelError
from agent.registry.manifest import load_manifest
from tests.fakes.colours import picture, write_dataset
from tests.fakes.models import TINY_LABELS, tiny_classifier, tiny_conv_detector, tiny_detector, tiny_spec
from tools.model.clean import clean
from tools.model.manifest import golden
from tools.model.manifest.ask import Asked, draft_from, parse_budget
from tools.model.manifest.facts import evaluation_metrics, quantization_section
from tools.model.manifest.graph import load_graph
from tools.model.manifest.thresholds import best_score
from tools.model.manifest.variants import VariantFile
from tools.model.quantize import static
from tools.registry.check import check_release
from tools.registry.draft import load_draft


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The colour detector, cleaned, and its INT8."""
    folder = tmp_path_factory.mktemp("pair")
    float_, int8 = folder / "a.onnx", folder / "b.onnx"
    clean(tiny_conv_detector(folder / "raw.onnx"), float_, input_shape=(1, 3, 64, 64))
    static.quantize(float_, int8, [np.full((1, 3, 64, 64), level, np.float32) for level in (0, 100, 255)])
    return float_, int8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("colours") / "data")


def draft(models: tuple[Path, ...], folder: Path, **more: object):
    return draft_from(Asked(models, folder, "tiny", "1.0.0", **more), lambda *_: None)  # type: ignore[arg-type]


def test_nothing_has_to_be_typed(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    made = draft(pair, tmp_path / "out", data=data)
    manifest = load_manifest(made.path.read_bytes())
    assert [variant.precision for variant in manifest.variants] == ["fp32", "int8"]
    assert manifest.labels == TINY_LABELS
    assert manifest.decoder.kind == "yolox"
    assert len(manifest.golden) == 3
    assert {one.label for golden in manifest.golden for one in golden.detections or ()} == set(TINY_LABELS)
    check_release(load_draft(made.path), golden=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "golden",
        "manifest.json",
        "tiny.fp32.onnx",
        "tiny.int8.onnx",
    ]


def test_a_draft_replaces_an_older_one_whole(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    draft(pair, tmp_path / "out", data=data)
    made = draft(pair, tmp_path / "out", data=data, golden=1)
    assert len(list((tmp_path / "out" / "golden").iterdir())) == 1
    check_release(load_draft(made.path), golden=True)


def test_an_earlier_manifest_speaks_for_what_was_corrected(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    first = draft(pair, tmp_path / "one", data=data, description="corrected by hand", score=0.7)
    again = draft(pair, tmp_path / "two", data=data, base=first.path)
    assert (again.manifest.description, again.manifest.thresholds.score) == ("corrected by hand", 0.7)
    assert again.manifest.decoder == first.manifest.decoder


def test_reports_of_other_steps_fill_metrics_and_quantization(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps({"map_50_95": {"a": 0.31234567, "b": 0.3}, "rows": [1, 2]}))
    (tmp_path / "q.json").write_text(
        json.dumps({"recipe": {"ranges": "mse"}, "calibration": {"images": 4, "sha256": "a" * 64}, "kept_float": ["x"]})
    )
    (tmp_path / "l.txt").write_text("a\nb\nc\n")
    made = draft(
        pair,
        tmp_path / "out",
        labels=tmp_path / "l.txt",
        evaluation=tmp_path / "e.json",
        quantization=tmp_path / "q.json",
    )
    assert made.manifest.metrics == {"map_50_95": {"fp32": 0.3123, "int8": 0.3}}
    assert made.manifest.quantization is not None
    assert made.manifest.quantization.kept_float == ("x",)


def test_a_classifier_is_drafted_too(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("blue\ngreen\nred\n")
    made = draft((tiny_classifier(tmp_path / "c.onnx"),), tmp_path / "out", labels=tmp_path / "l.txt")
    assert (made.manifest.task, made.manifest.decoder.kind) == ("classify", "classify")


def test_classes_that_nothing_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--labels"):
        draft((tiny_detector(tmp_path / "m.onnx"),), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_other_classes_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", 3, classes=("a", "b", "c", "d"))
    with pytest.raises(InputError, match="none of the model's"):
        draft(pair, tmp_path / "out", data=other)


def test_variants_of_two_models_are_refused(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    classifier = tiny_classifier(tmp_path / "c.onnx")
    with pytest.raises(InputError, match="one model only"):
        draft((pair[0], classifier), tmp_path / "out", data=data)


def test_a_file_that_devices_would_refuse_is_not_drafted(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    model = onnx.load(pair[1])
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))  # ONNX Runtime does not mind, the device's inspection does
    onnx.save(model, tmp_path / "unsorted.onnx")
    with pytest.raises(ModelError, match="topologically"):
        draft((tmp_path / "unsorted.onnx",), tmp_path / "out", data=data)
    assert list((tmp_path / "out").iterdir()) == []


def test_precision_is_told_from_the_graph(pair: tuple[Path, Path]) -> None:
    assert [load_graph(path).precision for path in pair] == ["fp32", "int8"]


def test_a_golden_picture_shows_what_all_see_clearly_and_alone(pair: tuple[Path, Path]) -> None:
    detectors = [VariantFile(path, "", "", tiny_spec()).detector(score_floor=0.1) for path in pair]
    found = golden.consider(detectors, "a", picture({(1, 1): 2, (5, 5): 0}), score=0.35)
    assert found is not None
    assert {sight.class_id for sight in found.sights} == {0, 2}
    assert all(sight.score > 0.8 and sight.box is not None for sight in found.sights)
    dim = picture({(1, 1): 2}) // 2
    assert golden.consider(detectors, "b", dim, score=0.35) is None


def test_variants_that_disagree_make_no_golden_picture(pair: tuple[Path, Path], tmp_path: Path) -> None:
    blind = tiny_detector(tmp_path / "blind.onnx", constant=[(0, 0, 8, 8, 0.9, 1)])
    detectors = [VariantFile(path, "", "", tiny_spec()).detector(score_floor=0.1) for path in (pair[0], blind)]
    assert golden.consider(detectors, "a", picture({(4, 4): 2}), score=0.35) is None


def test_large_pictures_are_shrunk(pair: tuple[Path, Path]) -> None:
    jpeg, copy = golden.shrink(np.zeros((1000, 2000, 3), np.uint8))
    assert copy.shape == (320, 640, 3)
    assert jpeg.startswith(b"\xff\xd8\xff")


def test_the_threshold_parts_right_from_wrong() -> None:
    truth = np.array([[0, 0, 10, 10, 0]], float)
    right, wrong = [0, 0, 10, 10, 0.8, 0], [50, 50, 60, 60, 0.4, 0]
    score, f1 = best_score([truth, truth], [np.array([right, wrong], float)] * 2)
    assert (score, f1) == (0.65, 1.0)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_the_threshold_is_always_one_of_the_scale(pictures: list[list[tuple[float, bool]]]) -> None:
    truth = np.array([[0, 0, 10, 10, 0]], float)
    found = []
    for rows in pictures:
        ordered = sorted(rows, reverse=True)
        boxes = [[0, 0, 10, 10, score, 0] if good else [50, 50, 60, 60, score, 0] for score, good in ordered]
        found.append(np.array(boxes, float).reshape(-1, 6))
    score, f1 = best_score([truth] * len(found), found)
    assert 0.1 <= score <= 0.9
    assert 0 <= f1 <= 1


@pytest.mark.parametrize("text", ["", "latency_ms_p95", "default:latency_ms_p95=x", "a:weight=3", "a:memory_mb=-1"])
def test_budgets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--budget"):
        parse_budget((text,))


def test_budgets_go_by_class_of_device() -> None:
    assert parse_budget(("latency_ms_p95=150", "raspberry-pi-5:memory_mb=400")) == {
        "default": {"latency_ms_p95": 150.0},
        "raspberry-pi-5": {"memory_mb": 400.0},
    }


def test_a_quantization_report_without_a_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="recipe"):
        quantization_section({"verdict": "int8"})


def test_only_figures_enter_the_metrics() -> None:
    report = {
        "dataset": "coco128",
        "images": 64,
        "map_50_95": {"a": 0.31234567, "b": 0.3},
        "agreement": {"b": 0.87654321},
        "models": [{"name": "a"}],
        "notes": ["few"],
        "odd": {"x": [1]},
    }
    assert evaluation_metrics(report, {"a": "fp32", "b": "int8"}) == {
        "dataset": "coco128",
        "images": 64,
        "map_50_95": {"fp32": 0.3123, "int8": 0.3},
        "agreement": 0.8765,
    }
