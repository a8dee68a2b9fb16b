"""Real models on this processor see what they see on x86: the same person in the same place, in float and in INT8.

Float kernels and, far more, INT8 ones differ between processors in the last digits: places and scores are compared with
room, never bits.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.infer.detector import Detector
from agent.infer.preprocess import Preprocessor
from agent.infer.session import Session
from agent.types import ModelSpec
from tests.fakes import models
from tools.model.clean import clean
from tools.model.quantize.static import quantize

PERSON = 0
SEEN_ON_X86 = {
    "yolox_nano": (models.yolox_spec(), (381.4, 9.0, 543.3, 375.3), 0.896),
    "nanodet_m_320": (models.nanodet_spec(), (380.9, 6.0, 542.7, 373.5), 0.710),
}
NEAR_PX, NEAR_SCORE = 1.5, 0.02
NEAR_INT8_PX, NEAR_INT8_SCORE = 20, 0.25

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def frame(shared: Path) -> np.ndarray:
    """A frame with one person in it."""
    video = cv2.VideoCapture(str(shared / "data/video/one-by-one-person-detection.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 300)
    ok, picture = video.read()
    video.release()
    assert ok
    return picture


def people(file: Path, spec: ModelSpec, frame: np.ndarray) -> np.ndarray:
    session = Session.load(file, providers=["cpu"], threads=1, spin=False)
    rows = Detector(spec, session, score_floor=0.4)(frame).detections
    assert rows is not None
    return rows[rows[:, 5] == PERSON]


@pytest.mark.parametrize("name", SEEN_ON_X86)
def test_a_float_model_sees_what_it_sees_on_x86(name: str, shared: Path, frame: np.ndarray) -> None:
    spec, box, score = SEEN_ON_X86[name]
    (found,) = people(shared / "models" / f"{name}.onnx", spec, frame)
    np.testing.assert_allclose(found[:4], box, atol=NEAR_PX)
    assert abs(found[4] - score) < NEAR_SCORE


def test_an_int8_model_sees_the_same_person(shared: Path, frame: np.ndarray, tmp_path: Path) -> None:
    spec, box, score = SEEN_ON_X86["nanodet_m_320"]
    cleaned, small = tmp_path / "clean.onnx", tmp_path / "int8.onnx"
    clean(shared / "models/nanodet_m_320.onnx", cleaned, input_shape=spec.input.shape)
    preprocess = Preprocessor(spec.input)
    buffer = preprocess.buffer()
    preprocess(frame, buffer)
    quantize(cleaned, small, [buffer.tensor])
    (found,) = people(small, spec, frame)
    np.testing.assert_allclose(found[:4], box, atol=NEAR_INT8_PX)
    assert abs(found[4] - score) < NEAR_INT8_SCORE
