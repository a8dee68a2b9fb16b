"""A candidate in the shadow sees what current sees, one frame at a time, and costs no more than it may."""

from __future__ import annotations

import pytest

from agent.loop.shadow import FIRST_REQUEST, slowed
from agent.process.messages import Error, Output
from tests.loop.fakes import ONE_PERSON, TIMINGS, Bench, FakeWorker, rows

CAT = rows((10, 20, 30, 40, 0.8, 2))


def shadowed(*, share: float = 1.0, **arguments) -> tuple[Bench, FakeWorker, FakeWorker]:
    bench = Bench(**arguments)
    current, candidate = FakeWorker("worker-1"), FakeWorker("worker-2")
    bench.swap(current)
    bench.loop.shadow(bench.now_ns, candidate, 10.0, share)
    return bench, current, candidate


def answer_shadow(bench: Bench, candidate: FakeWorker, detections: bytes = CAT) -> None:
    request, frame = candidate.asked.popleft()
    assert request >= FIRST_REQUEST
    bench.loop.output(
        bench.now_ns, candidate, Output(request, "shadow", frame.width, frame.height, TIMINGS, detections=detections)
    )


def leased_slots(bench: Bench) -> int:
    (generation,) = bench.loop._intake.generations()
    return generation.leases.counts().leased


def test_both_answer_one_frame_and_only_current_is_reported():
    bench, current, candidate = shadowed()
    bench.write()
    assert len(candidate.asked) == 1
    bench.answer(current)
    answer_shadow(bench, candidate)
    (pair,) = bench.events.pairs
    assert (pair.release, pair.current.detections, pair.candidate.detections) == (current.release, ONE_PERSON, CAT)
    assert [result.release for result in bench.results] == [current.release]
    assert bench.statistics.answered == 1
    assert leased_slots(bench) == 0


def test_the_order_of_the_two_answers_does_not_matter():
    bench, current, candidate = shadowed()
    bench.write()
    answer_shadow(bench, candidate)
    assert bench.events.pairs == []
    bench.answer(current)
    assert len(bench.events.pairs) == 1


def test_a_candidate_gets_one_frame_at_a_time():
    bench, current, candidate = shadowed()
    for _ in range(10):
        bench.write()
        bench.answer(current)
    assert len(candidate.asked) == 1
    assert bench.statistics.answered == 10


def test_a_candidate_is_busy_no_more_than_its_share_of_the_time():
    bench, current, candidate = shadowed(share=0.2)
    shown = 0
    for _ in range(1000):
        bench.write()
        bench.pass_ms(10)
        if candidate.asked:
            shown += 1
            answer_shadow(bench, candidate)  # busy for 10 ms
        bench.answer(current)
    assert 190 <= shown <= 205


def test_current_that_falls_behind_ends_the_shadow():
    bench, current, candidate = shadowed(share=0.2, lossless=["front"])
    bench.loop.end_shadow(bench.now_ns)
    for _ in range(100):
        bench.write()
        bench.pass_ms(10)
        bench.answer(current)
    other = FakeWorker("worker-3")
    bench.loop.shadow(bench.now_ns, other, 10.0, 0.2)
    for _ in range(400):
        bench.write()
        bench.pass_ms(15)
        bench.answer(current)
        if other.asked:
            answer_shadow(bench, other)
    (reason,) = bench.events.shadow_stops
    assert "fell from 100.0 to 66.7 frames a second" in reason
    assert other.killed is None
    assert other not in bench.events.retired_workers, "it may still serve"
    assert candidate in bench.events.retired_workers


@pytest.mark.parametrize(
    ("before", "now", "behind", "is_slow"),
    [(20, 17, True, False), (20, 15, True, True), (20, 5, False, False), (0, 0, True, False)],
)
def test_a_camera_that_gives_fewer_frames_is_not_the_shadows_fault(before, now, behind, is_slow):
    assert slowed(before, now, 0.2, behind=behind) is is_slow


def test_a_swap_takes_the_candidate_out_of_the_shadow_with_its_frame_under_way():
    bench, current, candidate = shadowed()
    bench.write()
    bench.swap(candidate)
    bench.write()
    (shadow, served) = candidate.asked
    assert shadow[0] >= FIRST_REQUEST > served[0]
    answer_shadow(bench, candidate)
    bench.answer(candidate)
    bench.answer(current)
    assert bench.sequences == [0, 1]
    assert [result.release for result in bench.results] == [current.release, candidate.release]
    assert bench.events.pairs == []
    assert leased_slots(bench) == 0


def test_a_worker_that_leaves_answers_its_shadows_frame_first():
    bench, current, candidate = shadowed()
    bench.write()
    bench.swap(candidate)
    bench.loop.swap_back(bench.now_ns, "test")
    assert candidate not in bench.events.retired_workers
    answer_shadow(bench, candidate)
    assert candidate in bench.events.retired_workers
    bench.answer(current)
    assert leased_slots(bench) == 0


def test_a_worker_that_left_and_hangs_is_handed_back_when_it_was_reaped_and_not_by_its_shadows_late_answer():
    bench, current, candidate = shadowed()
    bench.write()
    bench.swap(candidate)
    bench.write()
    bench.loop.take_out(bench.now_ns, "test")
    bench.pass_ms(5000)
    bench.loop.check_deadlines(bench.now_ns)
    assert candidate.killed
    answer_shadow(bench, candidate)
    assert candidate not in bench.events.retired_workers
    bench.reap(candidate)
    bench.reap(current)
    assert sorted(one.name for one in bench.events.retired_workers) == ["worker-1", "worker-2"]
    successor = FakeWorker("worker-3")
    bench.swap(successor)
    bench.answer(successor, len(successor.asked))
    assert leased_slots(bench) == 0


def test_a_shadow_that_ends_hands_the_worker_back_once_it_has_answered():
    bench, current, candidate = shadowed()
    bench.write()
    bench.loop.end_shadow(bench.now_ns)
    assert candidate not in bench.events.retired_workers
    answer_shadow(bench, candidate)
    assert bench.events.retired_workers == [candidate]
    assert candidate.listener is None
    bench.answer(current)
    assert leased_slots(bench) == 0


def test_a_candidate_that_dies_in_the_shadow_returns_its_frame_and_current_notices_nothing():
    bench, current, candidate = shadowed()
    bench.write()
    bench.reap(candidate, "killed by SIGSEGV")
    assert bench.events.shadow_failures == ["killed by SIGSEGV"]
    assert bench.events.retired_workers == [candidate]
    assert bench.events.lost == []
    bench.answer(current)
    assert leased_slots(bench) == 0
    assert bench.sequences == [0]


def test_an_impossible_answer_in_the_shadow_is_told_once():
    bench, current, candidate = shadowed()
    bench.write()
    request, _ = candidate.asked.popleft()
    bench.loop.failed(bench.now_ns, candidate, Error("bad_output", "output 0 is not finite", request=request))
    assert bench.events.shadow_failures == ["output 0 is not finite"]
    assert bench.events.retired_workers == [candidate]
    bench.answer(current)
    bench.write()
    assert leased_slots(bench) == 1
    assert bench.statistics.failed == 0


def test_a_candidate_that_hangs_in_the_shadow_is_killed_after_its_patience():
    bench, current, candidate = shadowed()
    bench.write()
    bench.answer(current)
    bench.pass_ms(19_000)
    bench.loop.check_deadlines(bench.now_ns)
    assert candidate.killed is None
    bench.pass_ms(2_000)
    assert bench.loop.next_due_ns() <= bench.now_ns
    bench.loop.check_deadlines(bench.now_ns)
    assert "in its shadow" in candidate.killed
    bench.reap(candidate, candidate.killed)
    assert leased_slots(bench) == 0


def test_a_frame_that_current_lost_is_no_pair():
    bench, current, candidate = shadowed()
    bench.write()
    bench.loop.failed(bench.now_ns, current, current.error())
    answer_shadow(bench, candidate)
    assert bench.events.pairs == []
    bench.write()
    bench.answer(current)
    answer_shadow(bench, candidate)
    assert len(bench.events.pairs) == 1


def test_a_frame_that_another_worker_answers_for_a_dead_one_is_a_pair_of_that_one():
    bench, current, candidate = shadowed()
    bench.write()
    bench.reap(current)
    answer_shadow(bench, candidate)
    restored = FakeWorker("worker-3")
    bench.swap(restored)
    bench.answer(restored)
    (pair,) = bench.events.pairs
    assert pair.release == restored.release
    assert bench.statistics.lost == 0


def test_a_new_ring_reaches_the_shadow_too():
    bench, _, candidate = shadowed()
    bench.loop.need_ring(bench.now_ns, "front", 32, 24)
    assert ("front", 2) in candidate.rings
    bench.write()
    assert candidate.asked[0][1].generation == 2


def test_taking_current_out_loses_no_frame_and_the_gap_counts_what_was_skipped_meanwhile():
    bench, current, _ = shadowed(in_flight=2)
    bench.loop.end_shadow(bench.now_ns)
    bench.write(count=2)
    bench.loop.take_out(bench.now_ns, "no memory for both")
    assert current not in bench.events.retired_workers
    bench.answer(current, 2)
    assert current in bench.events.retired_workers
    bench.write(count=3)
    bench.pass_ms(2000)
    other = FakeWorker("worker-4")
    bench.swap(other)
    bench.answer(other)
    seen = bench.events.swaps[-1]
    assert (seen.cause, seen.lost, seen.skipped) == ("swap", 0, 2)
    assert seen.gap_ms == pytest.approx(2000, abs=1)
    assert seen.old == current.release


def test_another_candidate_may_follow_while_the_last_one_still_hangs_on_its_frame():
    bench, current, candidate = shadowed()
    bench.write()
    bench.loop.end_shadow(bench.now_ns)
    follower = FakeWorker("worker-3")
    bench.loop.shadow(bench.now_ns, follower, 10.0, 1.0)
    bench.answer(current)
    bench.write()
    assert len(follower.asked) == 1
    bench.answer(current)
    bench.pass_ms(2100)
    bench.loop.check_deadlines(bench.now_ns)
    assert candidate.killed is not None
    assert follower.killed is None
    bench.reap(candidate, candidate.killed)
    assert bench.events.retired_workers == [candidate]
    answer_shadow(bench, follower)
    assert leased_slots(bench) == 0
