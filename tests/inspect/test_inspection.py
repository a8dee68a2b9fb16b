"""The inspection: its checks on small files, and the process on real ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from agent.errors import ChildDied, ChildHung, ManifestError, ModelError
from agent.inspect import checks, walk
from agent.inspect.client import InspectClient, InspectionCancelled
from agent.inspect.runtime import ask_runtime
from agent.process.child import Spawner
from agent.process.messages import Inspect, Inspected
from agent.registry.manifest import load_manifest
from tests.conftest import ROOT
from tests.fakes.deploying import make_release
from tests.fakes.models import slow_model, tiny_detector
from tests.zoo import builders
from tests.zoo.builders import info, node

GB = 1_000_000_000
CPU = ("CPUExecutionProvider",)
RUNTIME = ask_runtime()


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    made = Spawner(lambda child, line: None)
    yield made
    made.close()


def look(spawner: Spawner, path: Path, *, cancel: threading.Event | None = None, timeout_s: float = 30.0) -> Inspected:
    return InspectClient(spawner, timeout_s=timeout_s).inspect(
        path, name="model.onnx", providers=CPU, memory_bytes=GB, cancel=cancel or threading.Event()
    )


def check(data: bytes, tmp_path: Path, *, memory_bytes: int = GB, providers: tuple[str, ...] = CPU) -> Inspected:
    path = tmp_path / "model"
    path.write_bytes(data)
    return checks.inspect_file(Inspect(str(path), "model.onnx", providers, memory_bytes), lambda: RUNTIME)


def test_a_good_model_is_let_through_with_what_is_worth_knowing(spawner: Spawner, tmp_path: Path) -> None:
    found = look(spawner, tiny_detector(tmp_path / "good.onnx"))
    assert (found.opset, found.ir_version, found.notes) == (17, 8, ())
    assert found.nodes == 7
    slow = look(spawner, slow_model(tmp_path / "slow.onnx"))
    assert slow.notes == ("has subgraphs (Loop): its time may depend on the picture",)


@pytest.mark.parametrize("name", ["yolox_nano.onnx", "nanodet_m_320.onnx"])
def test_real_models_are_let_through(name: str, shared: Path, spawner: Spawner) -> None:
    assert look(spawner, shared / "models" / name).nodes > 100


def test_what_this_runtime_takes_is_asked_of_itself() -> None:
    assert RUNTIME.newest_opset is not None
    assert RUNTIME.newest_ir is not None
    assert RUNTIME.takes(17, 8)
    assert not RUNTIME.takes(RUNTIME.newest_opset + 50, 8)


def test_a_refusal_says_what_the_file_has_and_what_this_runtime_takes(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        check(builders.good(opset=99), tmp_path)
    words = refused.value.message
    assert "opset 99" in words
    assert f"ONNX Runtime {RUNTIME.version}" in words
    assert f"at most {RUNTIME.newest_opset}" in words


def test_a_file_larger_than_the_memory_is_not_even_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="at most 100 fit this host"):
        check(builders.good(), tmp_path, memory_bytes=100)


def test_an_empty_file_is_refused_and_no_manifest_can_name_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is empty"):
        check(b"", tmp_path)
    entry = {"path": "model.onnx", "sha256": "0" * 64, "size": 0}
    variants = [{"providers": list(CPU), "precision": "fp32", "file": entry}]
    with pytest.raises(ManifestError, match=r"variants\.0\.file\.size"):
        load_manifest(make_release("1.0.0", variants=variants)[0])


def test_external_data_in_a_subgraph_is_found_and_never_followed(tmp_path: Path) -> None:
    secret = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    secret.external_data.add(key="location", value="../../etc/passwd")
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_out"]), node("Add", ["x", "secret"], ["x_out"])],
        "step",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("x", [])],
        [info("go_out", [], TensorProto.BOOL), info("x_out", [])],
        [secret],
    )
    loop = node("Loop", ["", "", "zero"], ["poison"], body=body)
    with pytest.raises(ModelError, match="'secret' points outside its folder"):
        check(builders.seeing_and([loop], {}), tmp_path)


def test_a_custom_domain_that_the_file_defines_itself_is_fine(tmp_path: Path) -> None:
    made = onnx.load_from_string(
        builders.seeing_and([node("Nothing", ["zero"], ["poison"], domain="local")], {}, domains=("local",))
    )
    made.functions.append(
        helper.make_function(
            "local", "Nothing", ["x"], ["y"], [node("Identity", ["x"], ["y"])], [helper.make_opsetid("", 17)]
        )
    )
    assert check(made.SerializeToString(), tmp_path).nodes > 7


def test_nodes_are_counted_in_every_graph() -> None:
    made = onnx.load_from_string(builders.endless(only_on_light=False))
    outside = len(made.graph.node)
    assert sum(1 for _ in walk.nodes(made)) == outside + 2


def test_nothing_of_the_device_imports_onnx_but_the_inspection() -> None:
    importers = {
        path.parent.name
        for path in (ROOT / "agent").rglob("*.py")
        if re.search(r"^\s*(import onnx|from onnx)\b", path.read_text(), re.MULTILINE)
    }
    assert importers == {"inspect"}


def test_an_inspection_that_takes_too_long_is_killed(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(ChildHung, match=r"took longer than 0\.01 s"):
        look(spawner, tiny_detector(tmp_path / "good.onnx"), timeout_s=0.01)


def test_an_inspection_that_dies_speaks_against_the_file(tmp_path: Path, spawner: Spawner) -> None:
    class Shot(Spawner):
        def start(self, spec):
            child = spawner.start(spec)
            child.kill()
            return child

    killer = Shot(lambda child, line: None)
    try:
        with pytest.raises(ChildDied, match=r"model\.onnx: its inspection ended before its verdict"):
            look(killer, tiny_detector(tmp_path / "good.onnx"))
    finally:
        killer.close()


def test_an_inspection_can_be_cancelled(spawner: Spawner, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(InspectionCancelled):
        look(spawner, tiny_detector(tmp_path / "good.onnx"), cancel=cancel)


def test_what_it_may_allocate_is_limited(spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of two million tensors without a byte takes hundreds of times its size once it is parsed."""
    made = onnx.load_from_string(builders.good())
    graph = made.graph.SerializeToString() + b"\x2a\x00" * 6_000_000  # field 5 of GraphProto: an empty initializer
    head = onnx.ModelProto(ir_version=8, opset_import=made.opset_import).SerializeToString()
    path = tmp_path / "bomb"
    path.write_bytes(head + b"\x3a" + _varint(len(graph)) + graph)  # field 7 of ModelProto: the graph
    with pytest.raises((ModelError, ChildDied)) as refused:
        look(spawner, path)
    assert "model.onnx" in refused.value.message


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
