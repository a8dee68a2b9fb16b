"""Benchmarks of a model: fresh processes here, a real SSH server, a real running device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from agent.errors import InputError, ModelError
from tests.fakes.models import TINY_SIZE, tiny_detector
from tools.model.bench import rounds, show
from tools.model.bench.records import Cell, Figures, Host, Report, Sample, figures, read_report
from tools.model.bench.runners import Here
from tools.model.cli import app

CPU = "CPUExecutionProvider"
QUICK = ["--rounds", "2", "--seconds", "0.05"]


def run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def lstm(path: Path) -> Path:
    """A recurrent model with two inputs, one of them of no fixed size."""
    hidden, features = 4, 3
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.random((1, 4 * hidden, size)).astype(np.float32), name)
        for name, size in (("W", features), ("R", hidden))
    ]
    node = helper.make_node("LSTM", ["X", "W", "R", "", "", "H"], ["Y"], hidden_size=hidden)
    graph = helper.make_graph(
        [node],
        "lstm",
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, ["steps", 1, features]),
            helper.make_tensor_value_info("H", TensorProto.FLOAT, [1, 1, hidden]),
        ],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def sample(*times_ms: float, memory_mb: float | None = 50.0) -> Sample:
    return Sample(times_ms, 1.0, 1.0, memory_mb, (CPU,), {}, "1.32.0", "host", "x86_64", "cpu", 2)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_all_rounds_and_each_rounds_median_is_kept():
    found = figures("host", Cell("m.onnx", CPU, 1), [sample(*[1.0] * 50), sample(*[3.0] * 50)])
    assert (found.p50_ms, found.p99_ms, found.runs) == (2.0, 3.0, 100)
    assert found.round_medians_ms == (1.0, 3.0)
    assert found.throughput_s == pytest.approx(500)


def test_a_cell_that_was_never_measured_has_no_figures():
    with pytest.raises(InputError, match="nothing was measured"):
        figures("host", Cell("m.onnx", CPU, 1), [])


def test_a_ratio_compares_only_what_ran_alike():
    def row(model: str, threads: int, p50: float) -> Figures:
        return Figures("host", model, CPU, threads, p50, p50, p50, 1.0, None, None, 1)

    rows = [row("float", 1, 10.0), row("float", 2, 6.0), row("int8", 1, 5.0), row("int8", 2, 4.0)]
    assert list(show.ratios(rows)) == [None, None, 2.0, 1.5]


def test_reports_of_two_hosts_are_shown_side_by_side(tmp_path):
    def report(name: str) -> Report:
        host = Host(name, "x86_64", "cpu", 2, "1.32.0", "here")
        return Report((host,), 1, (Figures(name, "m.onnx", CPU, 1, 1.0, 2.0, 3.0, 4.0, 5.0, None, 6),))

    both = report("edge").joined(report("server"))
    assert [host.name for host in both.hosts] == ["edge", "server"]
    assert show.plot(both).startswith(b"\x89PNG")


def test_a_file_that_is_no_report_is_named():
    with pytest.raises(InputError, match=r"old\.json: is no report"):
        read_report(b'{"hosts": 1}', "old.json")


# --- here -------------------------------------------------------------------------------------------------------------


def test_every_cell_runs_in_turn_and_the_report_is_kept_with_its_picture(tmp_path):
    first, second = tiny_detector(tmp_path / "a.onnx"), tiny_detector(tmp_path / "b.onnx")
    ended = run(first, second, "--threads", "1,2", *QUICK, "-o", tmp_path / "out", "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert [(row["model"], row["threads"]) for row in told["figures"]] == [
        ("a.onnx", 1), ("a.onnx", 2), ("b.onnx", 1), ("b.onnx", 2),
    ]  # fmt: skip
    assert all(len(row["round_medians_ms"]) == 2 and row["runs"] >= 40 for row in told["figures"])
    assert all(row["memory_mb"] > 10 for row in told["figures"])
    kept = read_report((tmp_path / "out" / "bench.json").read_bytes(), "bench.json")
    assert len(kept.figures) == 4
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_recurrent_model_with_several_inputs_is_measured_at_the_shape_that_is_asked_for(tmp_path):
    answer = Here().run(Cell("l.onnx", CPU, 1), lstm(tmp_path / "l.onnx"), {"X": [20, 1, 3]}, 0.05, spin=False)
    assert answer.inputs == {"X": (20, 1, 3), "H": (1, 1, 4)}
    assert len(answer.times_ms) >= 20


def test_what_cannot_run_is_left_out_with_its_reason_and_the_others_go_on(tmp_path):
    good, bad = tiny_detector(tmp_path / "good.onnx"), tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    ended = run(good, bad, "--providers", "cpu,cuda", *QUICK)
    assert ended.exit_code == 0
    assert "CUDAExecutionProvider is not in this ONNX Runtime" in ended.stderr
    assert "bad.onnx, CPUExecutionProvider, 1 thread: " in ended.stderr


def test_where_nothing_can_run_the_reason_is_told_and_the_exit_code_says_so(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    ended = run(tmp_path / "bad.onnx", *QUICK)
    assert ended.exit_code == 2
    assert "no cell can run" in ended.stderr


def test_a_process_that_dies_is_a_reason_too(tmp_path):
    class Dying:
        how = "here"

        def run(self, *_: object, **__: object) -> Sample:
            return Here().run(Cell("gone.onnx", CPU, 1), tmp_path / "gone.onnx", {}, 0.05, spin=False)

    with pytest.raises(ModelError, match=r"gone\.onnx"):
        rounds.run({Cell("gone.onnx", CPU, 1): tmp_path / "gone.onnx"}, Dying(), shapes={}, rounds=1, seconds=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no model was named"),
        (["nowhere.onnx"], "there is no such file"),
        (["{m}", "--threads", "0"], "--threads 0"),
        (["{m}", "--shape", "images"], "--shape images"),
        (["{m}", "--on", "-oProxyCommand=true"], "is no host"),
        (["--on", "mqtt:gate", "--broker", "host:port"], "--broker host:port"),
        (["--on", "mqtt:gate", "--ca", "nowhere.pem"], "there is no such file"),
        (["{m}", *QUICK, "--rounds", "1", "--beside", "nowhere.json"], "--beside nowhere.json"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, said, tmp_path):
    model = tiny_detector(tmp_path / "m.onnx")
    ended = run(*(argument.format(m=model) for argument in arguments))
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "x").mkdir()
    one, two = tiny_detector(tmp_path / "m.onnx"), tiny_detector(tmp_path / "x" / "m.onnx")
    with pytest.raises(InputError, match="have one name"):
        rounds.cells_of([one, two], [CPU], [1])


def test_the_input_is_the_same_at_every_run_and_of_the_models_own_size(tmp_path):
    answer = Here().run(Cell("m", CPU, 1), tiny_detector(tmp_path / "m.onnx"), {}, 0.05, spin=False)
    assert answer.inputs == {"images": (1, 3, TINY_SIZE, TINY_SIZE)}
