from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import InputError
from agent.types import ModelSpec
from tests.fakes.models import tiny_classifier_spec
from tools.model.datasets.pictures import Still
from tools.model.datasets.records import Dataset
from tools.model.quantize import search
from tools.model.quantize.budget import Budget, BudgetMissed, Figures
from tools.model.quantize.judge import Judge, Latency
from tools.model.quantize.static import PLAIN, Recipe
from tools.model.quantize.workbench import Workbench

SIDE = 64
BASES = (PLAIN, Recipe(ranges="mse"))


def classifier(path: Path) -> Path:
    """Six convolutions; the class is the brightest colour. One channel of the first is huge and used by nobody."""
    rng = np.random.default_rng(0)
    first = np.zeros((4, 3, 1, 1))
    first[:3, :, 0, 0] = np.eye(3) / 255
    first[3] = 40.0
    second = np.zeros((3, 4, 1, 1))
    second[:, :3, 0, 0] = np.eye(3)
    third = np.eye(3)[:, :, None, None] + rng.normal(size=(3, 3, 1, 1)) * 0.01
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="second"),
        helper.make_node("Conv", ["c", "w3"], ["d"], name="third"),
        *(
            helper.make_node("Conv", [value, "w3"], [answer], name=name)
            for value, answer, name in (("d", "d1", "fourth"), ("d1", "d2", "fifth"), ("d2", "d3", "sixth"))
        ),
        helper.make_node("ReduceMean", ["d3"], ["e"], axes=[2, 3], keepdims=0, name="pool"),
        helper.make_node("Softmax", ["e"], ["output"], name="softmax"),
    ]
    weights = {"w1": first, "w2": second, "w3": third}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def pictures(count: int = 24, *, labelled: bool = True, classes: int = 3) -> Dataset:
    rng = np.random.default_rng(5)
    stills = []
    for index in range(count):
        label = index % 3
        image = rng.integers(0, 90, (SIDE, SIDE, 3)).astype(np.uint8)
        image[..., label] += 60
        stills.append(Still(path=Path(str(index)), image=image, label=label if labelled else None))
    names = ("blue", "green", "red", "more")[:classes] if labelled else ()
    return Dataset(pictures=tuple(stills), classes=names, task="classify")


def spec() -> ModelSpec:
    return tiny_classifier_spec()


def quiet(*_: object) -> None:
    """Tell nobody."""


def run(folder: Path, budget: str, **options: object) -> search.Quantized:
    source = classifier(folder / "float.onnx")
    arguments = {"cache": folder / "cache", "on_progress": quiet, "bases": BASES, **options}
    return search.search(source, spec(), pictures(), Budget.parse(budget), folder / "int8.onnx", **arguments)  # type: ignore[arg-type]


def test_the_fewest_blocks_that_keep_the_budget_stay_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "latency", lambda *_, **__: Latency(1.0, 1.0))  # equally fast: only the count decides
    found = run(tmp_path, "agreement=1.0")
    assert found.agreement == 1.0
    assert set(found.floats) == {"first", "second"}  # between them lies the channel that nobody reads
    assert {"pool", "softmax"} <= set(found.kept_float)
    assert found.blocks == 6
    assert found.path.is_file()
    assert found.pictures == 24


def test_a_budget_that_nothing_keeps_says_how_near_it_came_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "excess", lambda *_: 0.5)
    with pytest.raises(BudgetMissed, match=r"none of \d+ candidates keeps it. The nearest .*agreement") as caught:
        run(tmp_path, "agreement=1.0")
    assert "Nothing was written" in caught.value.message
    assert not (tmp_path / "int8.onnx").exists()


def test_a_stopped_search_goes_on_without_measuring_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def stop_after_two(what: str, _: float, __: float | None) -> None:
        steps.append(what)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "agreement=1.0", on_progress=stop_after_two)
    kept = sorted((tmp_path / "cache").rglob("*.json"))
    assert kept
    times = {path: path.stat().st_mtime_ns for path in kept}
    run(tmp_path, "agreement=1.0")
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    monkeypatch.setattr(Workbench, "build", lambda *_, **__: pytest.fail("measured again"))
    with Workbench(tmp_path / "float.onnx", spec(), pictures(), tmp_path / "cache", quiet) as bench:
        bench.figures(bench.recipe(BASES[0]), "again")


def test_other_pictures_are_another_question(tmp_path: Path) -> None:
    source = classifier(tmp_path / "float.onnx")
    folders = set()
    for count in (16, 24):
        with Workbench(source, spec(), pictures(count), tmp_path / "cache", quiet) as bench:
            folders.add(bench.store.folder)
    assert len(folders) == 2


def test_no_picture_judges_ranges_that_it_helped_to_choose(tmp_path: Path) -> None:
    with Workbench(classifier(tmp_path / "float.onnx"), spec(), pictures(), tmp_path / "cache", quiet) as bench:
        even, odd = bench.judge.halves
        assert len(even) + len(odd) == 24
        assert not {tensor.tobytes() for tensor in even} & {tensor.tobytes() for tensor in odd}
        asked: list[tuple[str, int]] = []
        real = bench.judge._answers
        bench.judge._answers = lambda detectors: (
            asked.append(  # type: ignore[method-assign]
                tuple(detector.session.path.stem for detector in detectors)
            )
            or real(detectors)
        )
        bench.figures(bench.recipe(PLAIN), "")
    assert asked == [("odd", "even")]  # the first is asked about even pictures: it was calibrated on odd ones


def test_plain_measures_one_recipe_without_a_budget(tmp_path: Path) -> None:
    found = search.plain(
        classifier(tmp_path / "float.onnx"),
        spec(),
        pictures(),
        Recipe(ranges="percentile"),
        tmp_path / "int8.onnx",
        cache=tmp_path / "cache",
        on_progress=quiet,
        always_float=("second",),
    )
    assert set(found.kept_float) == {"pool", "softmax", "second"}
    assert found.budget is None
    assert found.top1 is not None


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (pictures(7), "7 pictures are too few.*16"),
        (pictures(classes=2), "2 classes, the model 3"),
        (Dataset(pictures(24).pictures, (), "detect", form="YOLO text"), "the data set is one to detect"),
    ],
)
def test_pictures_that_cannot_judge_the_model_are_refused(tmp_path: Path, dataset: Dataset, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Workbench(classifier(tmp_path / "float.onnx"), spec(), dataset, tmp_path / "cache", quiet)


def test_unlabelled_pictures_leave_only_agreement(tmp_path: Path) -> None:
    source = classifier(tmp_path / "float.onnx")
    dataset, target = pictures(labelled=False), tmp_path / "int8.onnx"
    with pytest.raises(InputError, match="no labels"):
        search.search(
            source, spec(), dataset, Budget.parse("top1=1"), target, cache=tmp_path, on_progress=quiet, bases=BASES
        )


@pytest.mark.parametrize(("int8_ms", "floats", "verdict"), [(5.0, 0, "int8"), (5.0, 2, "mixed"), (10.0, 0, "float")])
def test_the_verdict_says_whether_int8_is_worth_it(int8_ms: float, floats: int, verdict: str) -> None:
    said, advice = search.judge_speed(Latency(10.0, int8_ms), floats, 9)
    assert said == verdict
    assert ("not faster" in advice) == (verdict == "float")


@pytest.mark.parametrize(
    ("engines", "wanted"), [(("nncf", "ort"), "percentile"), (("ort", "nncf"), "minmax"), (("nncf",), "mse")]
)
def test_blocks_are_never_ranked_by_nncf(engines: tuple[str, ...], wanted: str) -> None:
    """It knows no single blocks, so that all would rank alike, and takes half a minute for each."""
    ways = ("minmax", "percentile")
    whole = [
        search.Candidate(Recipe(engine=engine, ranges=way), (), Figures(0.5), 0.1)  # type: ignore[arg-type]
        for engine, way in zip(engines, ways, strict=False)
    ]
    ranker = search._ranker(whole)
    assert (ranker.engine, ranker.ranges) == ("ort", wanted)


def test_an_engine_that_is_ahead_with_all_blocks_in_int8_does_not_shut_out_the_other() -> None:
    whole = [
        search.Candidate(Recipe(engine=engine, ranges=way), (), Figures(0.5), excess)  # type: ignore[arg-type]
        for engine, way, excess in (("nncf", "minmax", 0.05), ("ort", "mse", 0.4), ("ort", "minmax", 0.9))
    ]
    assert [(one.engine, one.ranges) for one in search._hopeful(whole)] == [("ort", "mse")]
    assert [one.engine for one in search._hopeful(whole[:1])] == ["nncf"], "asked for alone"


def test_the_meter_estimates_from_what_such_steps_took(tmp_path: Path) -> None:
    told: list[float | None] = []
    run(tmp_path, "agreement=1.0", on_progress=lambda _, __, left: told.append(left))
    assert told[0] is None
    assert any(left is not None and left >= 0 for left in told[1:])
