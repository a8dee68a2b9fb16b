"""Peers run where they are installed, see what our loop sees, and are told by reason where they do not."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import structlog
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from tools.bench.cli import app
from tools.bench.host import VNNI
from tools.bench.models import YOLOX_NANO
from tools.bench.peers.convert import fold_focus
from tools.bench.peers.job import Answer, Job
from tools.bench.peers.launch import RunnerFailed, answer
from tools.bench.peers.lineup import Cell, PeerModel, cells, runners
from tools.bench.peers.matching import FLOAT
from tools.bench.peers.plot import draw
from tools.bench.peers.prepare import absent, reason_of
from tools.bench.peers.results import Timed, figures, standing, tables, with_ratios

PEERS = Path(".venv-peers/bin/python")
TABLE = runners(cores=2)
MODEL = PeerModel(
    key="yolox",
    title="YOLOX, float",
    precision="float",
    spec=YOLOX_NANO.spec,
    files={},
    outputs=(),
    shapes=(),
    tolerance=FLOAT,
    runners={"same": ("bare", "loop", "plain", "ncnn"), "best": ("bare", "loop", "ncnn")},
)


@pytest.fixture(autouse=True)
def untouched_logging():
    yield
    structlog.reset_defaults()


def timed(runner, *fps, contest="same", reason=""):
    return Timed("yolox", runner, contest, "one thread", fps, "100.0% of 48 boxes agree", reason)


def test_ratios_are_our_loop_over_each_runner_of_the_same_contest():
    found = with_ratios([timed("bare", 100, 50), timed("loop", 97, 48), timed("ncnn", 60, 60, contest="best")])
    bare, loop, ncnn = found
    assert bare.over.rounds == (pytest.approx(0.97), pytest.approx(0.96))
    assert loop.over is None
    assert ncnn.over is None, "our loop was not measured at its best"


def test_who_sees_something_else_has_no_time_and_the_table_says_why():
    found = with_ratios([timed("loop", 97.0), timed("ncnn", reason="other detections: 12.0% of 48 boxes agree")])
    (table,) = tables(found, [MODEL], TABLE)
    assert table.rows[1] == ("ncnn", "one thread", "not shown", "", "", "", "other detections: 12.0% of 48 boxes agree")
    (figure,) = figures(found, [MODEL], TABLE)
    assert figure.value is None
    assert figure.note.startswith("other detections")


def test_what_was_promised_is_judged_by_runner_and_precision():
    found = with_ratios([timed("loop", 97.0), timed("bare", 100.0), timed("plain", 90.0)])
    kept = {figure.what.split(",")[0]: figure.kept for figure in figures(found, [MODEL], TABLE)}
    assert kept == {"our loop over bare session.run": True, "our loop over a plain script": False}
    int8 = dataclasses.replace(MODEL, precision="int8")
    assert all(figure.wanted.where == VNNI for figure in figures(found, [int8], TABLE))


def test_where_we_are_behind_is_said():
    found = with_ratios([timed("loop", 100.0), timed("plain", 80.0), timed("ncnn", 120.0)])
    said = " ".join(standing(found, [MODEL], TABLE))
    assert "ahead of a plain script on YOLOX, float (1.25 x)" in said
    assert "BEHIND ncnn on YOLOX, float (0.833 x)" in said


def test_a_runner_that_cannot_read_a_model_is_no_cell():
    lacking = dataclasses.replace(MODEL, lacking={"ncnn": "reads no INT8"})
    names = [cell.runner for cell in cells([lacking], TABLE, ("same", "best"))]
    assert "ncnn" not in names
    assert names.count("loop") == 2
    assert Cell("yolox", "bare", "best") not in cells([MODEL], TABLE, ("same", "best"))


def test_a_picture_is_drawn_of_what_was_measured(tmp_path):
    found = with_ratios([timed("loop", 97.0, 95.0), timed("bare", 100.0, 99.0)])
    assert draw(found, [MODEL], TABLE, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert not draw([timed("loop", 1.0)], [MODEL], TABLE, tmp_path / "none.png")


def test_a_runner_that_is_not_installed_says_what_installs_it(tmp_path):
    with pytest.raises(RunnerFailed) as failed:
        answer(tmp_path / "python", "bare", job(tmp_path), tmp_path)
    assert reason_of(failed.value.message) == absent("peers")
    assert reason_of("ncnn_net: ModuleNotFoundError: No module named 'ncnn'") == "not installed here: make bench-peers"


def job(folder, **more):
    more = {"mode": "time", "files": {"onnx": str(folder / "m.onnx")}, "threads": 1, "floor": 0.2} | more
    return Job(spec=YOLOX_NANO.spec, film=str(folder / "no.avi"), seconds=0.2, warm_s=0.0, **more)


def test_a_runner_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(RunnerFailed, match=r"plain: .*(no\.avi|m\.onnx)"):
        answer(Path(sys.executable), "plain", job(tmp_path), tmp_path)


def test_the_folded_stem_computes_what_three_nodes_did(tmp_path):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(4, 12, 3, 3)).astype(np.float32)
    order = np.array([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["d"], blocksize=2),
        helper.make_node("Gather", ["d", "order"], ["g"], axis=1),
        helper.make_node("Conv", ["g", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(order, "order")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)
    before = run(model, x)
    fold_focus(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert np.allclose(run(model, x), before, atol=1e-4)


def run(model, x):
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.faults
@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_plain_script_sees_what_our_loop_sees_and_both_are_timed(shared, tmp_path):
    arguments = ["peers", "--shared", shared, "--out", tmp_path, "--rounds", 1, "--seconds", 0.2, "--models", "yolox"]
    arguments += ["--runners", "bare,plain", "--contests", "same", "--peers-python", tmp_path / "absent"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.output)
    found = {one["runner"]: one for one in record["report"]["cells"]}
    assert set(found) == {"bare", "loop", "plain"}
    assert all(len(one["fps"]) == 1 for one in found.values())
    assert found["plain"]["same"].startswith("100.0% of")
    assert 0.1 < found["bare"]["over"]["median"] < 10


@pytest.mark.shared
@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", ["openvino_async", "opencv_dnn"])
def test_a_peer_answers_where_it_is_installed(shared, tmp_path, runner):
    python = Path(sys.executable) if runner == "opencv_dnn" else PEERS.absolute()
    if not python.is_file():
        pytest.skip(f"no {PEERS}: make bench-peers")
    told = job(
        tmp_path,
        mode="detect",
        frames=2,
        files={"onnx": str(shared / "models/yolox_nano.onnx")},
        options={"hint": "LATENCY", "outputs": ["output"]},
    )
    found = answer(python, runner, msgspec.structs.replace(told, film=str(shared / "data/video/plaza.avi")), tmp_path)
    assert isinstance(found, Answer)
    assert [len(rows) > 5 for rows in found.rows] == [True, True]
