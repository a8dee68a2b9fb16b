from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import OutputError
from agent.loop.results import Reporting, read
from agent.loop.seeing import Seeing
from agent.process.messages import Output
from agent.types import CameraName, Digest, FrameRef, ModelName, ReleaseId
from tests.loop.fakes import LABELS, MS, TIMINGS, rows

FRAME = FrameRef(CameraName("front"), 1, 0, 7, 7, at_ns=5 * MS, at_utc_ms=0, width=64, height=48)
RELEASE = ReleaseId(ModelName("m"), "1.0.0", Digest("0"))


def answer(detections: bytes | None = None, classes: bytes | None = None) -> Output:
    return Output(1, "serve", 64, 48, TIMINGS, detections=detections, classes=classes)


def result_of(output: Output, *, score: float = 0.35, only=None):
    reporting = Reporting(LABELS, score, only)
    return Seeing().see(read(output, FRAME, RELEASE, reporting, now_ns=25 * MS), reporting)


def test_rows_become_detections_with_labels_from_the_threshold_on():
    result = result_of(answer(rows((1, 2, 3, 4, 0.5, 2), (0, 0, 9, 9, 0.25, 0))))
    assert [(one.label, one.score, one.box) for one in result.detections] == [("dog", 0.5, (1.0, 2.0, 3.0, 4.0))]
    assert result.classes is None
    assert result.latency_ms == 20.0


def test_only_the_wanted_labels_are_reported():
    result = result_of(answer(rows((1, 2, 3, 4, 0.5, 2), (1, 2, 3, 4, 0.5, 0))), only=frozenset({"person"}))
    assert [one.label for one in result.detections] == ["person"]


def test_classes_are_read_like_detections():
    result = result_of(answer(classes=struct.pack("=4f", 0.75, 1, 0.1, 0)))
    assert [(one.label, one.score) for one in result.classes] == [("car", 0.75)]
    assert result.detections is None


@pytest.mark.parametrize(
    "output",
    [
        answer(),
        answer(b"", b""),
        answer(b"123"),
        answer(rows((1, 2, 3, 4, 0.9, 3))),
        answer(rows((1, 2, 3, 4, 0.9, -1))),
        answer(rows((1, 2, 3, 4, 0.9, math.nan))),
        answer(rows((1, 2, 3, math.inf, 0.9, 1))),
        answer(rows((1, 2, 3, 4, math.nan, 1))),
        answer(classes=struct.pack("=2f", 0.9, 80)),
    ],
    ids=["neither", "both", "half a row", "unknown class", "negative class", "no class", "no box", "no score", "class"],
)
def test_an_answer_that_no_model_can_have_given_is_refused(output):
    with pytest.raises(OutputError):
        result_of(output)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_result_or_an_output_error(data):
    try:
        result = result_of(answer(data))
    except OutputError:
        return
    assert all(one.score >= 0.35 and one.label in LABELS for one in result.detections)
