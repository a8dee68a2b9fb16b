from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.deploy.golden import Sighting, Tolerance, compare
from agent.errors import ManifestError, OutputError
from agent.registry.manifest import load_manifest
from tools.demo import releases
from tools.demo.releases import GoldenPicture
from tools.demo.workshop import HEIGHT, LABELS, WIDTH, detections, detector

FACE = (8.0, 16.0, 24.0, 40.0)
FRAMES = [np.full((144, 176, 3), index, np.uint8) for index in range(120)]


def little_centerface(path: Path) -> Path:
    """A model with CenterFace's outputs that sees one face, at the same place whatever it is shown."""
    rows, columns = HEIGHT // 4, WIDTH // 4
    heat = np.zeros((1, 1, rows, columns), np.float32)
    heat[0, 0, 20, 30] = 0.9
    sizes = np.full((1, 2, rows, columns), np.log(10.0), np.float32)
    constants = {"heat": heat, "sizes": sizes, "offsets": np.zeros_like(sizes), "zero": np.zeros(1, np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], keepdims=1, axes=[1, 2, 3]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["heat", "nothing"], ["537"]),
        helper.make_node("Add", ["sizes", "nothing"], ["538"]),
        helper.make_node("Add", ["offsets", "nothing"], ["539"]),
    ]
    outputs = {"537": 1, "538": 2, "539": 2}
    graph = helper.make_graph(
        nodes,
        "little",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, rows, columns]) for n, c in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def sightings(picture: GoldenPicture) -> list[Sighting]:
    return [Sighting(LABELS[0], score, box) for score, box in picture.faces]


def test_golden_pictures_are_lossless_and_hold_what_the_model_sees(tmp_path: Path) -> None:
    model = detector(little_centerface(tmp_path / "m.onnx"))
    pictures = releases.golden_pictures(model, FRAMES)
    assert len(pictures) == len(releases.GOLDEN_FRAMES)
    for picture, index in zip(pictures, releases.GOLDEN_FRAMES, strict=True):
        decoded = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(decoded, FRAMES[index])
        assert len(picture.faces) == 1


def test_golden_pictures_never_calibrated() -> None:
    assert all(index % 4 for index in releases.GOLDEN_FRAMES)


def test_lying_boxes_fail_the_devices_own_comparison() -> None:
    honest = GoldenPicture("a.png", b"", ((0.9, FACE),))
    (liar,) = releases.lying([honest])
    assert compare("a", sightings(honest), sightings(honest), Tolerance(), reporting_score=0.35).ok
    assert not compare("a", sightings(liar), sightings(honest), Tolerance(), reporting_score=0.35).ok


def test_a_remark_changes_the_bytes_and_no_answer(tmp_path: Path) -> None:
    source = little_centerface(tmp_path / "m.onnx")
    other = releases.remark(source, tmp_path / "n.onnx", "note")
    assert other.read_bytes() != source.read_bytes()
    np.testing.assert_array_equal(detections(detector(other), FRAMES[0]), detections(detector(source), FRAMES[0]))


def test_a_blinded_model_loads_and_answers_nothing_finite(tmp_path: Path) -> None:
    blind = detector(releases.blinded(little_centerface(tmp_path / "m.onnx"), tmp_path / "blind.onnx"))
    with pytest.raises(OutputError, match="not finite"):
        blind(FRAMES[0])


def test_one_bit_is_flipped_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(1001))
    path.chmod(0o444)
    offset = releases.flip_a_byte(path)
    data = path.read_bytes()
    assert len(data) == 1001
    assert [index for index, byte in enumerate(data) if byte] == [offset]


def test_a_draft_is_a_folder_whose_manifest_names_its_files_rightly(tmp_path: Path) -> None:
    model = little_centerface(tmp_path / "x.int8.onnx")
    picture = GoldenPicture("a.png", b"png", ((0.9, FACE),))
    made = releases.draft(tmp_path / "out", "1.1.0", "a test", model, [picture])
    manifest = load_manifest((made.folder / "manifest.json").read_bytes())
    assert manifest.variants[0].precision == "int8"
    assert manifest.spec(0, "0" * 64).decoder.kind == "centerface"
    for entry in manifest.files:
        data = (made.folder / entry.path).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry.sha256, entry.size)
    assert made.model_sha256 == manifest.variants[0].file.sha256


def test_a_bad_manifest_is_refused_before_it_is_written(tmp_path: Path) -> None:
    model = little_centerface(tmp_path / "m.onnx")
    with pytest.raises(ManifestError):
        releases.draft(tmp_path / "out", "not-a-version", "a test", model, [])
