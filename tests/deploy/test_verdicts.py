"""The pure verdicts: probation, boot, deaths, golden images, adoption."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.deploy import adopt
from agent.deploy.bootguard import Boot, Do, plan
from agent.deploy.deaths import Deaths
from agent.deploy.golden import Sighting, Tolerance, compare, iou
from agent.deploy.machine import State
from agent.deploy.probation import Baseline, Bounds, Commit, Rollback, Sample, Wait, bounds_for, judge
from agent.deploy.records import DeploySettings, Latency
from agent.deploy.row import Row
from agent.deploy.trial import latency_of
from agent.registry.manifest import load_manifest, release_digest
from agent.registry.store import StoredRelease
from agent.types import ModelName, PipelineName, ReleaseId
from tests.fakes.deploying import make_release

SETTINGS = DeploySettings()
OLD = Baseline(Latency(p50=10.0, p95=20.0, frames=100), detections_per_frame=2.0)


def bounds(**changes: object) -> Bounds:
    arguments: dict[str, object] = {
        "budget_p95_ms": None, "budget_memory_mb": None, "same_model": True, "baseline": OLD, **changes,
    }  # fmt: skip
    return bounds_for(SETTINGS, **arguments)  # type: ignore[arg-type]


# --- probation -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_sixty_frames_and_ten_seconds() -> None:
    assert isinstance(judge(Sample(59, 20.0, 2.0), bounds(), 11.0), Wait)
    assert isinstance(judge(Sample(60, 20.0, 2.0), bounds(), 9.9), Wait)
    assert isinstance(judge(Sample(60, 20.0, 2.0), bounds(), 10.0), Commit)


def test_releases_of_one_model_are_compared_and_of_two_are_not() -> None:
    assert bounds().p95_ms == 60.0
    assert (bounds().rate_low, bounds().rate_high) == (0.4, 10.0)
    other = bounds(same_model=False)
    assert (other.p95_ms, other.rate_low, other.rate_high) == (None, None, None)


def test_frames_at_once_are_not_held_against_a_candidate() -> None:
    """Each of them comes later, and more of them come."""
    assert bounds(concurrency=2).p95_ms == 100.0
    assert "(40.0 ms where 2 frames are computed at once, not 1)" in bounds(concurrency=2).p95_why
    two = Baseline(Latency(10.0, 20.0, 100), 2.0, concurrency=2)
    assert bounds(baseline=two, concurrency=2).p95_ms == bounds(baseline=two).p95_ms == 60.0


def test_a_budget_wins_over_the_comparison() -> None:
    assert bounds(budget_p95_ms=25.0).p95_ms == 25.0
    assert "manifest's budget" in judge(Sample(60, 26.0, 2.0), bounds(budget_p95_ms=25.0), 1.0).reason  # type: ignore[union-attr]


def test_a_baseline_of_too_few_frames_says_nothing_of_the_rate() -> None:
    few = Baseline(Latency(10.0, 20.0, 99), 2.0)
    assert (bounds(baseline=few).rate_low, bounds(baseline=few).rate_high) == (None, None)


def test_an_empty_scene_that_fills_up_a_little_is_no_explosion() -> None:
    empty = Baseline(Latency(10.0, 20.0, 500), 0.0)
    assert isinstance(judge(Sample(60, 20.0, 2.0), bounds(baseline=empty), 10.0), Commit)
    assert isinstance(judge(Sample(60, 20.0, 3.0), bounds(baseline=empty), 10.0), Rollback)


def test_the_tighter_of_two_memory_bounds_counts_and_needs_no_frames() -> None:
    settings = msgspec.structs.replace(SETTINGS, memory_mb=300.0)
    both = bounds_for(settings, budget_p95_ms=None, budget_memory_mb=200.0, same_model=False, baseline=None)
    assert isinstance(judge(Sample(memory_mb=201.0), both, 0.0), Rollback)


@given(
    st.builds(
        Sample, st.integers(0, 200), st.floats(0, 100), st.floats(0, 50), st.none() | st.floats(0, 900), st.none()
    ),
    st.floats(0, 30),
)
def test_a_verdict_never_turns_from_rollback_to_commit_by_waiting(sample: Sample, elapsed_s: float) -> None:
    if isinstance(judge(sample, bounds(), elapsed_s), Rollback):
        assert isinstance(judge(sample, bounds(), elapsed_s + 100), Rollback)
    if sample.frames < 60:
        assert not isinstance(judge(sample, bounds(), elapsed_s), Commit)


def test_percentiles_are_never_better_than_what_was_seen() -> None:
    assert latency_of([5.0] * 9 + [50.0]) == Latency(5.0, 50.0, 10)


# --- boot ------------------------------------------------------------------------------------------------------------

SAME, OTHER, CLEAN = Boot(True, False, 2), Boot(False, False, 2), Boot(True, True, 2)


@pytest.mark.parametrize(
    ("row", "boot", "do"),
    [
        (Row(PipelineName("p"), State.COMMITTED), SAME, Do.SERVE),
        (Row(PipelineName("p"), State.FAILED), OTHER, Do.SERVE),
        (Row(PipelineName("p"), State.PROBATION), CLEAN, Do.RETRY),
        (Row(PipelineName("p"), State.PROBATION), SAME, Do.RETRY),
        (Row(PipelineName("p"), State.PROBATION, agent_deaths=1), SAME, Do.ROLL_BACK),
        (Row(PipelineName("p"), State.PROBATION, agent_deaths=1), CLEAN, Do.RETRY),
        (Row(PipelineName("p"), State.PROBATION, agent_deaths=1), OTHER, Do.RETRY),
        (Row(PipelineName("p"), State.PROBATION, reboot_deaths=1), OTHER, Do.RETRY),
        (Row(PipelineName("p"), State.PROBATION, reboot_deaths=2), OTHER, Do.ROLL_BACK_UNJUDGED),
        (Row(PipelineName("p"), State.PROBATION, reboot_deaths=2), SAME, Do.RETRY),
        (Row(PipelineName("p"), State.TRIAL), SAME, Do.AGAIN),
        (Row(PipelineName("p"), State.TRIAL, interruptions=2), OTHER, Do.GIVE_UP),
        (Row(PipelineName("p"), State.FETCHING, interruptions=2), CLEAN, Do.AGAIN),
        (Row(PipelineName("p"), State.DEFERRED), OTHER, Do.WAIT),
    ],
)
def test_what_boot_does(row: Row, boot: Boot, do: Do) -> None:
    assert plan(row, boot).do is do


@given(st.sampled_from(State), st.lists(st.sampled_from([SAME, OTHER]), min_size=5, max_size=5))
def test_a_reboot_loop_ends(state: State, boots: list[Boot]) -> None:
    row = Row(PipelineName("p"), state)
    ends = [state is State.WAITING_FOR_CLOCK]  # waiting takes no host down
    for boot in boots:
        planned = plan(row, boot)
        row = planned.row
        ends.append(planned.do in (Do.SERVE, Do.WAIT, Do.GIVE_UP, Do.ROLL_BACK, Do.ROLL_BACK_UNJUDGED))
    assert any(ends)


# --- deaths ----------------------------------------------------------------------------------------------------------


def test_three_deaths_are_too_many_only_within_ten_minutes() -> None:
    deaths = Deaths()
    for at_s in (0, 599, 601):
        deaths.add(at_s * NS_PER_S)
    assert not deaths.too_many
    deaths.add(1000 * NS_PER_S)
    assert deaths.too_many


def test_restarts_are_at_once_twice_and_then_ever_slower_up_to_a_minute() -> None:
    deaths, delays = Deaths(), []
    for at_s in range(12):
        deaths.add(at_s * NS_PER_S)
        delays.append(deaths.delay_s())
    assert delays[:5] == [0, 0, 1, 2, 4]
    assert delays[-1] == 60


# --- golden ----------------------------------------------------------------------------------------------------------

A, B = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 40.0, 40.0)
TOLERANCE = Tolerance()


def look(expected: list[Sighting], seen: list[Sighting], tolerance: Tolerance = TOLERANCE):  # type: ignore[no-untyped-def]
    return compare("golden/2.jpg", expected, seen, tolerance, reporting_score=0.35)


def test_the_reason_names_image_expectation_nearest_and_share() -> None:
    verdict = look(
        [Sighting("face", 0.91, A), Sighting("face", 0.6, B)], [Sighting("face", 0.9, (8.0, 0.0, 18.0, 10.0))]
    )
    assert verdict.reason == (
        "golden/2.jpg: expected face 0.91 at [0, 0, 10, 10], best match IoU 0.11 "
        "(face 0.90 at [8, 0, 18, 10]; 0.80 needed); 0 of 2 matched, 90 % needed"
    )


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([], "nothing was seen"),
        ([Sighting("cat", 0.9, A)], "no face was seen, nearest is cat 0.90 at [0, 0, 10, 10]"),
        ([Sighting("face", 0.7, A)], "best match IoU 1.00 has score 0.70 (within 0.10 needed)"),
    ],
)
def test_the_reason_says_what_came_nearest(seen: list[Sighting], reason: str) -> None:
    assert reason in look([Sighting("face", 0.91, A)], seen).reason


def test_one_detection_matches_one_expectation_only() -> None:
    twice = [Sighting("face", 0.9, A), Sighting("face", 0.9, A)]
    assert look(twice, [Sighting("face", 0.9, A)]).matched == 1
    assert look(twice, twice).ok


def test_more_than_was_expected_is_no_fault_unless_nothing_was() -> None:
    assert look([Sighting("face", 0.9, A)], [Sighting("face", 0.9, A), Sighting("cat", 0.99, B)]).ok
    assert look([], [Sighting("face", 0.4, A)]).ok
    assert "nothing was expected, face 0.50" in look([], [Sighting("face", 0.5, A)]).reason


def test_a_classification_is_matched_by_label_and_score() -> None:
    assert look([Sighting("face", 0.9)], [Sighting("face", 0.85), Sighting("cat", 0.1)]).ok
    assert not look([Sighting("face", 0.9)], [Sighting("face", 0.5)]).ok


sightings = st.lists(
    st.builds(
        lambda label, score, x, y, w, h: Sighting(label, score, (x, y, x + w, y + h)),
        st.sampled_from(["face", "cat"]),
        st.floats(0, 1),
        *[st.floats(0, 100)] * 2,
        *[st.floats(1, 100)] * 2,
    ),
    max_size=6,
)


@given(sightings)
def test_a_model_that_sees_exactly_what_was_expected_passes(seen: list[Sighting]) -> None:
    assert look(seen, seen).ok or not seen


@given(sightings, sightings)
def test_matching_never_matches_more_than_there_is_and_speaks_when_it_fails(
    expected: list[Sighting], seen: list[Sighting]
) -> None:
    verdict = look(expected, seen)
    assert 0 <= verdict.matched <= min(len(expected), len(seen))
    assert verdict.ok == (verdict.reason == "")
    assert verdict.reason == "" or verdict.reason.startswith("golden/2.jpg: ")


@given(sightings)
def test_iou_is_symmetric_and_bounded(seen: list[Sighting]) -> None:
    for one in seen:
        for other in seen:
            assert one.box is not None
            assert other.box is not None
            assert 0 <= iou(one.box, other.box) == iou(other.box, one.box) <= 1 + 1e-9


# --- adoption --------------------------------------------------------------------------------------------------------


def stored(model: str, version: str) -> StoredRelease:
    data, _ = make_release(version, model=model)
    return StoredRelease(ReleaseId(ModelName(model), version, release_digest(data)), load_manifest(data), None)  # type: ignore[arg-type]


HELD = [stored("faces", "1.9.0"), stored("faces", "1.10.0"), stored("cats", "3.0.0")]


@pytest.mark.parametrize(
    ("model", "only", "version"),
    [
        ("faces@stable", False, "1.10.0"),
        ("faces:1.9.0", False, "1.9.0"),
        ("faces:2.0.0", False, None),
        ("faces@~1.9", False, "1.9.0"),
        ("dogs@stable", True, None),
        (None, False, None),
        (None, True, None),
        ("not a reference", True, None),
    ],
)
def test_the_store_is_asked_for_what_the_configuration_names(model: str | None, only: bool, version: str) -> None:
    found = adopt.pick(HELD, model, only_pipeline=only)
    assert (found and found.id.version) == version


def test_one_pipeline_and_one_stored_model_leave_no_doubt() -> None:
    found = adopt.pick(HELD[:2], None, only_pipeline=True)
    assert found is not None
    assert found.id.version == "1.10.0"


@pytest.mark.parametrize("boot", [CLEAN, SAME, OTHER])
def test_a_candidate_that_has_the_memory_for_itself_is_not_tried_again_beside_current(boot: Boot) -> None:
    row = Row(PipelineName("p"), State.PROBATION, unload_first=True)
    assert plan(row, boot).do is Do.ROLL_BACK_UNJUDGED
    assert plan(Row(PipelineName("p"), State.TRIAL, unload_first=True), boot).do is Do.AGAIN
