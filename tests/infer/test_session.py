"""Loading real ONNX files, and every way in which they can be broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from agent.errors import ModelError
from agent.infer import session as session_module
from agent.infer.session import Session, available_providers
from tests.fakes import models


def load(path: Path, **changes) -> Session:
    return Session.load(path, **{"providers": ["cpu"], "threads": 1, "spin": False, **changes})


def changed(tmp_path: Path, change) -> Path:
    model = onnx.load(models.tiny_detector(tmp_path / "whole.onnx"))
    change(model)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_loaded_session_is_warm_and_says_what_it_is(tmp_path):
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"))
    assert session.providers == ("CPUExecutionProvider",)
    assert session.warnings == ()
    assert session.load_ms > 0
    assert session.first_run_ms > 0
    assert [(info.name, info.dtype, info.shape) for info in session.inputs] == [
        ("images", "tensor(float)", (1, 3, 64, 64))
    ]
    assert [(info.name, info.shape) for info in session.outputs] == [("output", (1, 84, 8))]


def test_outputs_of_two_runs_are_arrays_of_their_own(tmp_path):
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"))
    dark = session.run(np.zeros((1, 3, 64, 64), np.float32))[0]
    bright = session.run(np.full((1, 3, 64, 64), 255, np.float32))[0]
    assert not np.shares_memory(dark, bright)
    assert dark[0, 0, 4] == 0
    assert bright[0, 0, 4] == pytest.approx(1)


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path):
    def list_all(model):
        model.ir_version = 6
        for tensor in model.graph.initializer:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )

    assert [info.name for info in load(changed(tmp_path, list_all)).inputs] == ["images"]


def test_a_missing_provider_is_a_warning_and_the_cpu_serves(tmp_path):
    if "CUDAExecutionProvider" in available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"), providers=["cuda", "cpu"])
    assert session.providers == ("CPUExecutionProvider",)
    assert session.warnings[0].startswith("CUDAExecutionProvider is not in this ONNX Runtime")


def test_an_accelerator_that_fails_is_left_out_with_its_reason_in_words(tmp_path, monkeypatch):
    real = onnxruntime.InferenceSession

    def session_without_gpu(path, options, *, providers, **rest):
        if "CUDAExecutionProvider" in providers:
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient")
        return real(path, options, providers=providers, **rest)

    # No accelerator runs here: ONNX Runtime's constructor is the seam at which one would fail.
    monkeypatch.setattr(session_module.onnxruntime, "InferenceSession", session_without_gpu)
    monkeypatch.setattr(
        session_module, "available_providers", lambda: ("CUDAExecutionProvider", "CPUExecutionProvider")
    )
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"), providers=["cuda"])
    assert session.providers == ("CPUExecutionProvider",)
    assert session.warnings == (
        "CUDAExecutionProvider failed and is left out, CPUExecutionProvider comes next: "
        "CUDA failure 35: CUDA driver version is insufficient",
    )


def test_an_accelerator_that_silently_does_not_start_is_a_warning(tmp_path, monkeypatch):
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        session_module.onnxruntime,
        "InferenceSession",
        lambda path, options, **rest: real(path, options, providers=["CPUExecutionProvider"]),
    )
    monkeypatch.setattr(session_module, "available_providers", lambda: ("CUDAExecutionProvider",))
    (warning,) = load(models.tiny_detector(tmp_path / "tiny.onnx"), providers=["cuda"]).warnings
    assert warning.startswith("CUDAExecutionProvider did not start")
    assert warning.endswith("running on CPUExecutionProvider")


def broken_external(tmp_path: Path) -> Path:
    model = onnx.load(models.tiny_detector(tmp_path / "whole.onnx"))
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    (tmp_path / "weights.bin").unlink()
    return path


def set_opset(model):
    model.opset_import[0].version = 99


def set_ir(model):
    model.ir_version = 99


def set_op(model):
    model.graph.node[0].op_type = "Teleport"


def set_domain(model):
    model.graph.node[0].domain = "com.example"


def cut_edge(model):
    model.graph.node[0].input[0] = "nowhere"


def grow_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def add_input(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, [1]))


def written(data: bytes):
    def write(tmp_path: Path) -> Path:
        path = tmp_path / "file.onnx"
        path.write_bytes(data)
        return path

    return write


def truncated(tmp_path: Path) -> Path:
    data = models.tiny_detector(tmp_path / "whole.onnx").read_bytes()
    return written(data[: len(data) // 2])(tmp_path)


BROKEN = {
    "absent": (lambda folder: folder / "absent.onnx", "cannot be read: No such file"),
    "folder": (lambda folder: folder, "cannot be read: Is a directory"),
    "empty": (written(b""), "the model file is empty"),
    "text": (written(b"<html>404</html>"), "not a whole ONNX file"),
    "truncated": (truncated, "not a whole ONNX file"),
    "opset": (lambda folder: changed(folder, set_opset), "its opset is newer than this ONNX Runtime"),
    "ir": (lambda folder: changed(folder, set_ir), "its IR version is newer"),
    "operator": (lambda folder: changed(folder, set_op), "an operator that this ONNX Runtime does not have.*Teleport"),
    "domain": (lambda folder: changed(folder, set_domain), "com.example"),
    "edge": (lambda folder: changed(folder, cut_edge), "nowhere"),
    "shape": (lambda folder: changed(folder, grow_input), "the model cannot run"),
    "two inputs": (lambda folder: changed(folder, add_input), "this one's inputs are: images, second"),
    "external data": (broken_external, "its weights lie in another file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_error_that_names_file_and_cause(tmp_path, kind):
    make, words = BROKEN[kind]
    path = make(tmp_path)
    with pytest.raises(ModelError, match=words) as caught:
        load(path)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    assert "ONNXRuntimeError" not in caught.value.message


def test_a_tensor_of_another_shape_is_an_error_in_words(tmp_path):
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"))
    with pytest.raises(ModelError, match=r"tiny\.onnx: the model cannot run: .*invalid dimensions"):
        session.run(np.zeros((1, 3, 32, 32), np.float32))


def test_nothing_is_written_under_the_home_folder(tmp_path):
    model = models.tiny_detector(tmp_path / "tiny.onnx")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from agent.infer.session import Session; "
        "Session.load(Path(sys.argv[1]), providers=['cpu'], threads=2, spin=True)"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", code, str(model)], env=environment, check=True, timeout=60)
    assert list(home.rglob("*")) == []
