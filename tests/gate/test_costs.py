"""The gate: what each part of a frame's way may cost, in calls and in bytes held at once. No clock, on any machine.

The bounds are half as much again as what is needed today (numpy and OpenCV change a call here and there): whoever
decodes before thresholding, copies a frame, or goes through boxes one by one in Python breaks them many times over.
``lookout bench parts`` measures the time, ``lookout bench instructions`` the instructions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agent.infer.decoders.table import DECODERS
from agent.infer.nms import suppress
from agent.infer.preprocess import Preprocessor
from agent.link.messages import detections_message, encode
from agent.loop.results import RawAnswer, Reporting
from agent.loop.seeing import Seeing, SeeingSettings
from agent.types import CameraName
from agent.vision.places import ZoneSpec
from agent.vision.track import Tracker, TrackSettings
from tests.gate import scenes
from tests.gate.meter import Cost, cost_of, kept_by
from tests.loop.fakes import Bench, FakeWorker

KB = 1024
OBJECTS = 25

DECODE = {"yolox": (70, 48 * KB), "yolov5": (60, 52 * KB), "yolov8": (45, 48 * KB), "nanodet": (175, 320 * KB)}
"""Calls and bytes; the outputs of each hold more than a megabyte."""

ZONES = (
    ZoneSpec("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), loiter_s=1.0),
    ZoneSpec("gate", ((0.5, 0.0), (0.5, 1.0))),
)


def within(cost: Cost, calls: int, peak_bytes: int) -> None:
    assert cost.calls <= calls
    assert cost.peak_bytes <= peak_bytes


def decoding(family: str) -> Callable[[], object]:
    outputs, decoder = scenes.outputs_of(family), DECODERS[family]

    def decode():
        return decoder(
            outputs, input_size=scenes.SIZE, params=scenes.FAMILIES[family], num_classes=scenes.CLASSES, score_floor=0.1
        )

    assert len(decode().scores) == scenes.HITS
    return decode


@pytest.mark.parametrize("kind", scenes.INPUTS)
def test_a_frame_is_preprocessed_into_memory_that_is_there_already(kind: str) -> None:
    preprocess = Preprocessor(scenes.INPUTS[kind])
    buffer, frame = preprocess.buffer(), scenes.frame()
    within(cost_of(lambda: preprocess(frame, buffer)), calls=18, peak_bytes=6 * KB)


@pytest.mark.parametrize("family", scenes.FAMILIES)
def test_a_decoder_touches_only_what_scores(family: str) -> None:
    within(cost_of(decoding(family)), *DECODE[family])


def test_whoever_decodes_before_thresholding_is_found_out() -> None:
    rows = scenes.outputs_of("yolox")[0][0]

    def everything():
        scores = rows[:, 5:] * rows[:, 4:5]
        best = scores.max(axis=1)
        return np.exp(rows[:, 2:4]), best[best >= 0.1]

    assert cost_of(everything).peak_bytes > 10 * DECODE["yolox"][1]


def test_overlaps_are_not_gone_through_in_python() -> None:
    rows = scenes.crowd(100)
    classes = rows[:, 5].astype(np.int32)
    few, many = (
        cost_of(lambda n=n: suppress(rows[:n, :4], rows[:n, 4], classes[:n], iou=0.45, most=100)) for n in (10, 100)
    )
    within(many, calls=42, peak_bytes=18 * KB)
    assert many.calls == few.calls


def test_following_a_crowd() -> None:
    tracker, step = Tracker(TrackSettings()), iter(range(1000))
    frames = [scenes.crowd(OBJECTS, number).astype(float) for number in range(30)]

    def follow():
        number = next(step)
        return tracker.update(frames[number], number * 40_000_000)

    within(cost_of(follow, warm=10), calls=300, peak_bytes=64 * KB)


def test_seeing_a_crowd_in_zones() -> None:
    camera = CameraName("front")
    seeing, step = Seeing(SeeingSettings(zones={camera: ZONES})), iter(range(1000))
    reporting, timings = Reporting(("person",), 0.35), scenes.result(0).timings
    answers = [
        RawAnswer(scenes.frame_ref(number), scenes.RELEASE, scenes.crowd(OBJECTS, number), None, timings, 9.0)
        for number in range(40)
    ]

    def see():
        return seeing.see(answers[next(step)], reporting)

    within(cost_of(see, warm=20), calls=1000, peak_bytes=96 * KB)


def test_serialising_a_crowd() -> None:
    result = scenes.result(OBJECTS)
    within(cost_of(lambda: encode(detections_message(result))), calls=280, peak_bytes=16 * KB)


def a_frame(bench: Bench, worker: FakeWorker, cameras: tuple[str, ...]) -> None:
    """One frame of each camera, to the worker and back."""
    for camera in cameras:
        bench.pass_ms(40 / len(cameras))
        bench.write(camera)
        bench.answer(worker)
    bench.results.clear()


def test_a_frames_way_through_the_loop_costs_hardly_more_with_many_cameras() -> None:
    costs = {}
    for count in (1, 16):
        cameras = tuple(f"camera-{number}" for number in range(count))
        bench, worker = Bench(cameras), FakeWorker("w")
        bench.swap(worker)
        total = cost_of(lambda bench=bench, worker=worker, cameras=cameras: a_frame(bench, worker, cameras), warm=10)
        costs[count] = total.calls / count
    assert costs[1] <= LOOP_CALLS
    assert costs[16] <= 1.5 * costs[1]


LOOP_CALLS = 800
"""With one person in the frame, the fakes' own calls counted too."""


def test_frames_leave_nothing_behind() -> None:
    bench, worker = Bench(), FakeWorker("w")
    bench.swap(worker)
    assert kept_by(lambda: a_frame(bench, worker, ("front",)), runs=300) < 64
