"""Decoders of third parties: found only where the table has none, checked as they are loaded, blamed by name."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.errors import ModelError, OutputError
from agent.infer import families
from agent.infer.decoders.table import DECODERS
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.types import DecoderSpec
from tests.fakes import models

PAGE = Path(__file__).parents[2] / "docs/decoders.md"
GOOD = """
def expect(*, input_size, params, num_classes): return ((1, 2),)
def decode(outputs, *, input_size, params, num_classes, score_floor): return {answer}
task = "detect"
"""


def wheel(folder: Path, name: str, version: str, module: str, source: str, points: str) -> Path:
    """A wheel of one module, as a build backend would make it."""
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{families.GROUP}]\n{points}\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files) + f"{info}/RECORD,,\n")
    return path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a module with entry points beside the product, for this test only."""
    target = tmp_path / "site"
    monkeypatch.syspath_prepend(str(target))
    before = set(sys.modules)

    def installed(name: str, source: str, points: str, *, pip: bool = False) -> None:
        made = wheel(tmp_path, name, "1.0.0", name.replace("-", "_"), source, points)
        if pip:
            command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target"]
            subprocess.run([*command, target, made], check=True)
        else:  # a wheel of pure Python is installed by unpacking it; pip takes seconds
            zipfile.ZipFile(made).extractall(target)

    yield installed
    for name in set(sys.modules) - before:
        del sys.modules[name]


def blob_model(path: Path) -> Path:
    """Each cell of 8 by 8 pixels answers the means of its channels, as shares of 255."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Mul", ["means", "share"], ["scores"]),
    ]
    start = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    end = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, 8, 8])
    share = numpy_helper.from_array(np.array(1 / 255, np.float32), "share")
    graph = helper.make_graph(nodes, "blobs", [start], [end], [share])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_the_package_of_the_page_reads_a_model_that_the_agent_alone_cannot(tmp_path, install):
    blocks = re.findall(r"`(\S+)`\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    files = dict(blocks)
    points = re.search(r'\[project\.entry-points\."lookout\.decoders"\]\n(.*?)\n\n', files["pyproject.toml"], re.DOTALL)
    session = Session.load(blob_model(tmp_path / "blobs.onnx"), providers=["cpu"], threads=1, spin=False)
    spec = models.tiny_spec(decoder=DecoderSpec("blobs", {"stride": 8}))
    with pytest.raises(ModelError, match="'blobs': this agent has boxes_scores"):
        Detector(spec, session, score_floor=0.5)
    install("lookout-blobs", files["lookout_blobs.py"], points[1].replace('"', ""), pip=True)
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[16:24, 40:48] = (0, 0, 255)
    answer = Detector(spec, session, score_floor=0.5)(frame)
    np.testing.assert_allclose(answer.detections, [[40, 16, 48, 24, 1, 2]], atol=1e-5)
    wrong = msgspec.structs.replace(spec, decoder=DecoderSpec("blobs", {"strides": 8}))
    with pytest.raises(ModelError, match=r"decoder\.strides: no such parameter"):
        Detector(wrong, session, score_floor=0.5)


def test_the_page_names_every_family():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == set(DECODERS)


def test_no_package_takes_a_family_over(install):
    install("evil", "raise SystemExit", "yolox = evil:DECODER")
    assert families.find_decoder("yolox") is DECODERS["yolox"]
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere", r"package odd 1\.0\.0 \(odd\) brings it and cannot be loaded \(ModuleNotFoundError"),
        ("raise ValueError('so')", r"cannot be loaded \(ValueError: so\)"),
        ("", r"brings it without expect\(\*, input_size, params, num_classes\)"),
        (GOOD.replace("score_floor)", "floor)"), r"decode of package odd .* cannot be called as decode\(outputs, \*"),
        (GOOD.replace('"detect"', '"guess"'), r"task of package odd .* is 'guess'; it may be detect, classify"),
        (GOOD + "overlaps = 'all'", r"overlaps of package odd .* is 'all'; it may be per_class"),
    ],
)
def test_a_broken_package_is_refused_by_name(install, source, words):
    install("odd", source, "odd = odd")
    with pytest.raises(ModelError, match=words) as caught:
        families.find_decoder("odd")
    assert caught.value.field == "decoder.kind"


def test_two_packages_that_bring_one_kind_are_both_named(install):
    install("one", GOOD, "twin = one")
    install("two", GOOD, "twin = two")
    with pytest.raises(ModelError, match=r"package one 1\.0\.0 \(one\) and package two 1\.0\.0 \(two\) both bring it"):
        families.find_decoder("twin")


def test_what_is_installed_is_told_where_a_kind_is_unknown(install):
    install("odd", GOOD, "odd = odd")
    with pytest.raises(ModelError, match="packages here bring odd"):
        families.find_decoder("even")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("1 / 0", r"decode of package odd .* failed: ZeroDivisionError"),
        ("None", "failed: TypeError"),
        ("([[1, 2, 3]], [1], [0])", r"answered boxes \[1, 3\]"),
        ("([[1, 2, 3, 4]], [1], [0, 1])", r"class_ids \[2\]"),
        ("([[1, 2, 3, 4]], [float('nan')], [0])", "finite scores"),
    ],
)
def test_an_answer_that_is_none_is_an_error_that_names_the_package(install, answer, words):
    install("odd", GOOD.format(answer=answer), "odd = odd")
    decoder = families.find_decoder("odd")
    assert decoder.expect(input_size=(8, 8), params={}, num_classes=1) == ((1, 2),)
    with pytest.raises(OutputError, match=words):
        decoder([np.zeros((1, 2), np.float32)], input_size=(8, 8), params={}, num_classes=1, score_floor=0.1)
