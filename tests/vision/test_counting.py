"""People who walk in one at a time: counted by eye, counted by tracks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.vision.overlap import overlaps
from agent.vision.track import Tracker, TrackSettings
from tests.fakes import models
from tests.vision.footage import FRAME_NS, PERSON, Footage, one_by_one


@pytest.fixture(scope="module")
def footage() -> Footage:
    return one_by_one()


@dataclass
class Count:
    """``seen``: frames in which each track of a person had a row; ``switches``: tracks that a person had too many."""

    seen: dict[int, list[int]]
    switches: int
    strangers: int


def count(footage: Footage, *, every: int = 1, score: float = 0.0, drop: float = 0.0) -> Count:
    """Track the frames ``every`` so many, without rows below ``score`` and a share ``drop`` of all frames' rows."""
    tracker, chance = Tracker(TrackSettings()), np.random.default_rng(0)
    seen: dict[int, list[int]] = {}
    for index in range(0, len(footage.rows), every):
        rows = footage.rows[index]
        rows = rows[:0] if chance.random() < drop else rows[rows[:, 4] >= score]
        alive = tracker.update(rows, index * FRAME_NS).alive
        for place in np.flatnonzero((alive.rows >= 0) & (alive.class_ids == PERSON)).tolist():
            seen.setdefault(int(alive.ids[place]), []).append(index)
    per_visit = [
        sum(first <= frames[0] and frames[-1] <= last for frames in seen.values()) for first, last in footage.visits()
    ]
    return Count(seen, sum(max(0, tracks - 1) for tracks in per_visit), len(seen) - sum(per_visit))


def test_the_tracks_that_enter_are_the_people_who_enter(footage: Footage) -> None:
    counted = count(footage)
    assert len(counted.seen) == footage.truth["entering"] == len(footage.truth["people"])
    assert counted.switches == 0
    assert counted.strangers == 0, "a track joins two people, or is of nobody"


def test_a_track_lasts_nearly_as_long_as_the_visit(footage: Footage) -> None:
    for (first, last), frames in zip(footage.visits(), count(footage).seen.values(), strict=True):
        assert len(frames) >= 0.85 * (last - first - 10), (first, last)


@pytest.mark.parametrize(
    "changed",
    [{"every": 2}, {"every": 3}, {"every": 5}, {"drop": 0.3}, {"score": 0.3}, {"every": 2, "drop": 0.3}],
    ids=str,
)
def test_the_count_holds_at_lower_rates_and_with_frames_lost(footage: Footage, changed: dict[str, float]) -> None:
    counted = count(footage, **changed)  # type: ignore[arg-type]
    assert (len(counted.seen), counted.switches, counted.strangers) == (6, 0, 0)


def test_a_standing_person_keeps_the_track_while_the_motion_gate_is_closed(footage: Footage) -> None:
    tracker, ids = Tracker(TrackSettings()), set()
    for index in range(55, 180):
        forced = index < 100 or index % 40 == 0
        rows = footage.rows[index][footage.rows[index][:, 5] == PERSON]
        at_ns = index * FRAME_NS
        tracked = tracker.update(rows, at_ns) if forced else tracker.gated(at_ns)
        ids |= set(tracked.alive.ids.tolist())
        if index > 70:
            assert len(tracked.alive) == 1
    assert len(ids) == 1
    assert tracked.alive.stationary.all()


SURE = 0.25
"""What scores more here is seen on every processor: another one decodes and computes a little otherwise."""


def test_the_kept_rows_are_what_the_model_answers(footage: Footage, shared: Path) -> None:
    session = Session.load(shared / "models/yolox_nano.onnx", providers=["CPUExecutionProvider"], threads=1, spin=False)
    detector = Detector(models.yolox_spec(), session, score_floor=0.1)
    video = cv2.VideoCapture(str(shared / "data/video/one-by-one-person-detection.mp4"))
    for index in range(111):
        ok, frame = video.read()
        assert ok
        if index >= 60 and index % 10 == 0:
            found, kept = detector(frame).detections, footage.rows[index]
            assert found is not None
            for some, others in ((found, kept), (kept, found)):
                for row in some[some[:, 4] >= SURE]:
                    same = others[others[:, 5] == row[5]]
                    assert overlaps(row[None, :4], same[:, :4]).max(initial=0) > 0.97, (index, row)
