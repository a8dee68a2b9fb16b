"""From a frame to an answer, on tiny real models whose answers are known, and on the real ones."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest

from agent.errors import ModelError, OutputError
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.types import DecoderSpec
from tests.fakes import models

PURE = {"blue": (255, 0, 0), "green": (0, 255, 0), "red": (0, 0, 255)}


def load(path: Path) -> Session:
    return Session.load(path, providers=["cpu"], threads=1, spin=False)


def detector(path: Path, floor: float = 0.1, **changes) -> Detector:
    return Detector(models.tiny_spec(**changes), load(path), score_floor=floor)


def scene(*cells: tuple[int, int, str], scale: int = 1, height: int = 64) -> np.ndarray:
    """A black frame of 64 times ``scale`` by ``height`` with 8 by 8 cells (column, row) in pure colours."""
    frame = np.zeros((height, 64, 3), np.uint8)
    for column, row, colour in cells:
        frame[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = PURE[colour]
    return np.kron(frame, np.ones((scale, scale, 1), np.uint8))


def test_each_pure_cell_is_one_detection_of_its_colour_in_pixels_of_the_frame(tmp_path):
    answer = detector(models.tiny_detector(tmp_path / "tiny.onnx"))(scene((2, 1, "red"), (5, 3, "blue"), scale=4))
    assert answer.classes is None
    assert answer.detections.dtype == np.float32
    rows = sorted(answer.detections.tolist())
    np.testing.assert_allclose(rows, [[64, 32, 96, 64, 1, 2], [160, 96, 192, 128, 1, 0]], atol=1e-3)


def test_boxes_of_a_centred_letterbox_come_back_to_the_frame(tmp_path):
    spec = models.tiny_spec()
    spec = msgspec.structs.replace(spec, input=msgspec.structs.replace(spec.input, anchor="center", pad=0))
    frame = scene((3, 1, "green"), height=32)  # 16 rows of padding above, which are two cells
    answer = Detector(spec, load(models.tiny_detector(tmp_path / "tiny.onnx")), score_floor=0.5)(frame)
    np.testing.assert_allclose(answer.detections, [[24, 8, 32, 16, 1, 1]], atol=1e-3)


def test_a_black_frame_answers_nothing(tmp_path):
    answer = detector(models.tiny_detector(tmp_path / "tiny.onnx"))(scene())
    assert answer.detections.shape == (0, 6)


def test_overlaps_go_the_best_come_first_and_no_more_than_allowed(tmp_path):
    path = models.tiny_detector(
        tmp_path / "tiny.onnx",
        constant=[
            (10, 10, 30, 30, 0.5, 0),
            (11, 10, 31, 30, 0.9, 0),
            (10, 10, 30, 30, 0.8, 1),
            (40, 40, 50, 50, 0.7, 2),
            (0, 40, 10, 50, 0.05, 2),
        ],
    )
    frame = scene()
    assert detector(path)(frame).detections[:, 4:].tolist() == [
        [pytest.approx(0.9), 0],
        [pytest.approx(0.8), 1],
        [pytest.approx(0.7), 2],
    ]
    assert detector(path, max_detections=2)(frame).detections[:, 5].tolist() == [0, 1]
    assert len(detector(path, nms_iou=0.95)(frame).detections) == 4
    assert len(detector(path, floor=0.01)(frame).detections) == 4


def test_boxes_are_clipped_to_the_frame_and_those_outside_it_are_dropped(tmp_path):
    path = models.tiny_detector(tmp_path / "tiny.onnx", constant=[(-20, -20, 200, 20, 0.9, 0), (0, 40, 30, 60, 0.8, 1)])
    answer = detector(path)(scene(height=32))  # the lower half of the input is padding
    np.testing.assert_allclose(answer.detections, [[0, 0, 64, 20, 0.9, 0]], atol=1e-3)


def test_a_model_that_answers_nan_is_an_error_that_names_the_output(tmp_path):
    with pytest.raises(OutputError, match="output output: 672 of 672 numbers are not finite"):
        detector(models.nan_model(tmp_path / "nan.onnx"))(scene())


def test_one_nan_far_below_the_floor_is_an_error_too(tmp_path):
    served = detector(models.tiny_detector(tmp_path / "tiny.onnx"))
    buffer = served.buffer()
    served.preprocess(scene((1, 1, "red")), buffer)
    for value in (np.nan, np.inf, -np.inf):
        outputs = [output.copy() for output in served.run(buffer)]
        outputs[0][0, 83, 7] = value
        with pytest.raises(OutputError, match="1 of 672 numbers"):
            served.postprocess(outputs, buffer)


def test_a_box_at_infinity_or_a_score_above_one_is_an_error(tmp_path):
    served = detector(models.tiny_detector(tmp_path / "tiny.onnx"))
    buffer = served.buffer()
    served.preprocess(scene((1, 1, "red")), buffer)
    outputs = [output.copy() for output in served.run(buffer)]
    outputs[0][0, 9, 2] = 200.0
    with pytest.raises(OutputError, match="infinitely large"):
        served.postprocess(outputs, buffer)
    outputs[0][0, 9, 2] = 0.0
    outputs[0][0, 9, 4] = 7.0
    with pytest.raises(OutputError, match="a score is 7"):
        served.postprocess(outputs, buffer)
    outputs[0][0, 9, 4] = 1.004  # a quantization step too high
    assert served.postprocess(outputs, buffer).detections[0, 4] == 1.0


def test_a_classifier_answers_classes_best_first(tmp_path):
    session = load(models.tiny_classifier(tmp_path / "tiny.onnx"))
    frame = np.full((10, 20, 3), (51, 255, 102), np.uint8)
    answer = Detector(models.tiny_classifier_spec(), session, score_floor=0.1)(frame)
    assert answer.detections is None
    np.testing.assert_allclose(answer.classes, [[1.0, 1], [0.4, 2]], atol=1e-6)


def test_a_model_with_free_dimensions_is_warmed_up_with_the_manifests_size(tmp_path):
    model = onnx.load(models.tiny_detector(tmp_path / "tiny.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    (tmp_path / "free.onnx").write_bytes(model.SerializeToString())
    session = load(tmp_path / "free.onnx")
    assert session.first_run_ms is None
    Detector(models.tiny_spec(), session, score_floor=0.1)
    assert session.first_run_ms > 0


WRONG = {
    "input name": ({"input": {"name": "data"}}, "input.name 'data': the file's inputs are images"),
    "input type": ({"input": {"dtype": "uint8"}}, r"input.dtype uint8: the file's input is images tensor\(float\)"),
    "input size": ({"input": {"shape": (1, 3, 32, 64)}}, r"input.shape \[1, 3, 32, 64\]: .*\[1, 3, 64, 64\]"),
    "labels": ({"num_classes": 80}, r"with 80 labels .* needs one of shape \[1, 84, 85\].*output .*\[1, 84, 8\]"),
    "strides": ({"decoder": DecoderSpec("yolox", {"strides": [8]})}, r"shape \[1, 64, 8\]"),
    "family": ({"decoder": DecoderSpec("nanodet", {})}, "decoder nanodet"),
    "unknown": ({"decoder": DecoderSpec("yolov99", {})}, "this agent has boxes_scores, centerface, classify, detr"),
    "task": ({"decoder": DecoderSpec("classify", {})}, "it reads models that classify"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_manifest_that_contradicts_its_file_is_refused_naming_both(tmp_path, kind):
    changes, words = WRONG[kind]
    spec = models.tiny_spec()
    if isinstance(changes.get("input"), dict):
        changes = {"input": msgspec.structs.replace(spec.input, **changes["input"])}
    session = load(models.tiny_detector(tmp_path / "tiny.onnx"))
    with pytest.raises(ModelError, match=words):
        Detector(msgspec.structs.replace(spec, **changes), session, score_floor=0.1)


def test_three_stages_in_three_threads_on_different_buffers_do_not_disturb_one_another(tmp_path):
    served = detector(models.tiny_detector(tmp_path / "tiny.onnx"))
    frames = [scene((i % 8, (i // 8) % 8, "red"), scale=1 + i % 3) for i in range(90)]
    expected = [served(frame).detections.tolist() for frame in frames]
    buffers = [served.buffer() for _ in range(3)]
    free = [threading.Semaphore(1) for _ in buffers]
    prepared, ran = [threading.Event() for _ in frames], [threading.Event() for _ in frames]
    outputs, answers = [None] * len(frames), [None] * len(frames)

    def preprocess():
        for index, frame in enumerate(frames):
            free[index % 3].acquire(timeout=10)
            served.preprocess(frame, buffers[index % 3])
            prepared[index].set()

    def run():
        for index in range(len(frames)):
            prepared[index].wait(10)
            outputs[index] = served.run(buffers[index % 3])
            ran[index].set()

    def postprocess():
        for index in range(len(frames)):
            ran[index].wait(10)
            answers[index] = served.postprocess(outputs[index], buffers[index % 3]).detections.tolist()
            free[index % 3].release()

    threads = [threading.Thread(target=stage) for stage in (preprocess, run, postprocess)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == expected


@pytest.mark.shared
def test_the_real_models_see_the_same_people_in_a_video(shared):
    video = cv2.VideoCapture(str(shared / "data/video/one-by-one-person-detection.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 300)
    ok, frame = video.read()
    video.release()
    assert ok
    boxes = []
    for name, spec in (("yolox_nano", models.yolox_spec()), ("nanodet_m_320", models.nanodet_spec())):
        answer = Detector(spec, load(shared / f"models/{name}.onnx"), score_floor=0.4)(frame)
        people = answer.detections[answer.detections[:, 5] == 0]
        assert len(people) == 1
        boxes.append(people[0, :4])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=25)
