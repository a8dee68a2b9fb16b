"""How far two releases agree: matching is one to one, F1 is over all frames, too few frames are no agreement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.deploy.agreement import Tally, match, verdict
from agent.deploy.golden import Sighting
from agent.deploy.records import LabelCounts

A, B = (0.0, 0.0, 10.0, 10.0), (100.0, 100.0, 120.0, 120.0)
NEAR_A = (0.0, 0.0, 10.0, 8.0)


def face(box=A, score=0.9, label="face") -> Sighting:
    return Sighting(label, score, box)


def tally(*frames, boxes=True) -> Tally:
    made = Tally(boxes=boxes)
    for current, candidate in frames:
        made.add(current, candidate, 10.0, 5.0)
    return made


def test_equal_answers_agree_wholly():
    report = tally(([face(), face(B)], [face(), face(B)])).report(wanted=1, seconds=1.0)
    assert (report.agreement, report.f1, report.mean_iou, report.score_shift) == (1.0, 1.0, 1.0, 0.0)
    assert report.top1 is None
    assert report.latency_ratio == 0.5


def test_f1_counts_both_kinds_of_difference():
    report = tally(([face(), face(B)], [face(NEAR_A, 0.8)])).report(wanted=1, seconds=1.0)
    assert report.f1 == pytest.approx(2 / 3)
    assert report.mean_iou == pytest.approx(0.8)
    assert report.score_shift == pytest.approx(-0.1)
    assert report.counts == {"face": LabelCounts(2, 1)}


def test_labels_do_not_match_one_another_and_faint_boxes_do_not_count():
    report = tally(([face()], [face(label="cat"), face(B, score=0.29)])).report(wanted=1, seconds=1.0)
    assert report.f1 == 0.0
    assert report.mean_iou is None
    assert report.counts == {"face": LabelCounts(1, 0), "cat": LabelCounts(0, 1)}


def test_one_box_matches_one_box_and_the_best_overlap_wins():
    assert match([face(A)], [face(NEAR_A), face(A)]) == [(0, 1, 1.0)]


def test_where_nobody_sees_anything_they_agree_and_without_frames_they_do_not():
    assert tally(([], [])).report(wanted=1, seconds=1.0).agreement == 1.0
    assert Tally(boxes=True).report(wanted=1, seconds=1.0).agreement is None


def test_classifiers_are_compared_by_their_first_class():
    cat, dog = Sighting("cat", 0.9), Sighting("dog", 0.6)
    report = tally(([cat, dog], [cat, dog]), ([cat, dog], [dog, cat]), boxes=False).report(wanted=2, seconds=1.0)
    assert (report.agreement, report.top1, report.f1) == (0.5, 0.5, None)
    assert report.counts == {"cat": LabelCounts(2, 1), "dog": LabelCounts(0, 1)}


def test_the_labels_reported_are_bounded():
    many = [face(label=f"label-{number}") for number in range(100)]
    assert len(tally((many, many)).report(wanted=1, seconds=1.0).counts) == 20


def test_without_a_bound_nothing_is_refused_and_with_one_the_reason_is_in_words():
    bad = tally(([face()], [face(B)])).report(wanted=1, seconds=1.0)
    assert verdict(bad, None) is None
    assert "matched F1 0.000, at least 0.5 needed" in (verdict(bad, 0.5) or "")
    assert verdict(tally(([face()], [face()])).report(wanted=1, seconds=1.0), 1.0) is None
    cut = tally(([face()], [face()])).report(wanted=9, seconds=1.0, stopped="300 s had passed")
    assert "only 1 of 9 frames could be compared: 300 s had passed" in (verdict(cut, 0.5) or "")
    assert verdict(cut, None) is None


boxes = st.tuples(*(st.integers(0, 40) for _ in range(4))).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
sightings = st.lists(st.builds(Sighting, st.sampled_from(["a", "b"]), st.floats(0, 1), boxes), max_size=8)


@given(sightings, sightings)
def test_agreement_is_symmetric_and_between_0_and_1(current, candidate):
    there = tally((current, candidate)).report(wanted=1, seconds=1.0)
    back = tally((candidate, current)).report(wanted=1, seconds=1.0)
    assert there.f1 == pytest.approx(back.f1)
    assert 0.0 <= there.f1 <= 1.0
    pairs = match(current, candidate)
    assert len({first for first, _, _ in pairs}) == len({second for _, second, _ in pairs}) == len(pairs)
