"""The scene of the still case is what it says, sights are judged by frame and place. Figures are for `make bench`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.types import Detection, FrameRef, Result, Timings
from tests.fakes.models import release_id
from tools.bench.scene import NOISES, Scene, Tempo, Visit, overlap
from tools.bench.still import first_sights, measure_motion, visitor, write_visits

GREY = np.full((48, 64, 3), 100, np.uint8)
WHITE = np.full((16, 16, 3), 250, np.uint8)


def result(index: int, *boxes: tuple[float, float, float, float]) -> Result:
    frame = FrameRef("still", 1, 0, index, index, 0, 0, 64, 48)
    found = tuple(Detection(0, "person", 0.9, box) for box in boxes)
    return Result(frame, release_id("x"), found, None, Timings(0, 0, 0, 0), 1.0)


def test_a_visit_comes_stays_leaves_and_rests_in_noise_that_is_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        scene = Scene(tmp_path / name, GREY, sigma=2.0)
        scene.rest(10)
        visit = scene.visit(WHITE, top=8, reach=32, tempo=Tempo(come=4, stay=3, leave=2, rest=5))
        assert (visit.begin, visit.end, scene.frames) == (10, 19, 24)
    frames = [sorted((tmp_path / name).glob("0*.bmp")) for name in ("one", "two")]
    assert [len(found) for found in frames] == [24, 24]
    for one, two in zip(*frames, strict=True):
        assert one.read_bytes() == two.read_bytes()
    pictures = [cv2.imread(str(path)).astype(float) for path in frames[0]]
    assert (pictures[3] - 100).std() == pytest.approx(2.0, abs=0.1)
    for index, (x1, y1, x2, y2) in visit.boxes.items():
        assert pictures[index][y1:y2, x1:x2].mean() > 240
    assert set(range(13, 17)) <= visit.boxes.keys() <= set(range(10, 19))
    assert NOISES > 10


def test_a_sight_is_one_in_the_right_frame_at_the_right_place():
    visits = [Visit(5, 9, {6: (0, 0, 10, 10), 7: (5, 0, 15, 10)}), Visit(20, 30, {25: (0, 0, 10, 10)})]
    results = [
        result(7, (5, 0, 15, 10)),
        result(6, (20, 0, 30, 10)),
        result(25, (9, 9, 19, 19)),
        result(8, (0, 0, 10, 10)),
    ]
    assert first_sights(visits, results) == {0: 7}
    assert first_sights(visits, [result(7, (5, 0, 15, 10)), result(6, (0, 0, 10, 9))]) == {0: 6}


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 0, 30, 10)) == 0.0


@pytest.mark.shared
def test_the_visitors_are_cut_from_the_photographs(shared):
    person = visitor(shared, "000000000419", 0, 1.0)
    assert person.shape[0] > person.shape[1] > 30


def test_motion_is_measured_on_a_scenes_frames(tmp_path):
    Scene(tmp_path, GREY, sigma=2.0).rest(5)
    assert 0 < measure_motion(tmp_path) < 100


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="give --shared"):
        write_visits(tmp_path, tmp_path / "frames")
