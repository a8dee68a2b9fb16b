"""The loop's promises, one by one, between fakes."""

from __future__ import annotations

import math

import pytest

from agent.loop.rings import slots_for
from agent.process.messages import Error, Frame, Health
from agent.types import CameraName
from tests.loop.fakes import Bench, FakeWorker, rows

FRONT = CameraName("front")


def serving(**arguments) -> tuple[Bench, FakeWorker]:
    bench = Bench(**arguments)
    worker = FakeWorker("worker-1")
    bench.swap(worker)
    return bench, worker


@pytest.mark.parametrize(("in_flight", "concurrency", "asked"), [(2, 1, 2), (2, 4, 5), (4, 2, 4), (1, 4, 1)])
def test_a_worker_that_computes_several_frames_at_once_has_one_more_than_these(in_flight, concurrency, asked):
    bench = Bench(lossless=["front"], in_flight=in_flight)
    worker = FakeWorker("worker-1", concurrency=concurrency)
    bench.swap(worker)
    bench.write(count=100)
    assert len(worker.asked) == asked
    for _ in range(30):
        bench.answer(worker)
        bench.write(count=100)
    assert bench.sequences == list(range(30))
    assert (bench.statistics.skipped, bench.statistics.lost) == (0, 0)
    bench.swap(after := FakeWorker("worker-2"))
    bench.answer(worker, asked)
    bench.write(count=100)
    assert len(after.asked) == in_flight


# --- cameras ---------------------------------------------------------------------------------------------------------


def test_a_live_camera_keeps_only_its_newest_frame_and_counts_the_others_as_skipped():
    bench, worker = serving(in_flight=2)
    bench.write(count=6)
    assert [frame.sequence for _, frame in worker.asked] == [0, 1]
    bench.answer(worker, 2)
    assert [frame.sequence for _, frame in worker.asked] == [5]
    assert (bench.statistics.skipped, bench.statistics.lost, bench.statistics.captured) == (3, 0, 6)


def test_a_live_camera_always_has_a_slot_to_write():
    bench, _ = serving(in_flight=4)
    assert bench.write(count=100) == 100


def test_a_lossless_camera_waits_instead_of_losing_a_frame():
    bench, worker = serving(lossless=["front"], in_flight=2)
    written = bench.write(count=100)
    assert 2 < written < slots_for(2)
    for _ in range(50):
        bench.answer(worker)
        written += bench.write(count=100)
    assert bench.sequences == list(range(50))
    assert bench.statistics.skipped == 0
    assert written < 50 + slots_for(2)


def test_what_capture_dropped_itself_is_counted_through_restarts():
    bench, _ = serving()
    bench.write(skipped=3)
    bench.write(skipped=5)
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    bench.loop.need_ring(bench.now_ns, FRONT, 64, 48)
    bench.write(skipped=2)
    assert bench.statistics.skipped == 7


def test_frames_without_a_worker_are_skipped_when_live_and_wait_when_lossless():
    bench = Bench(("live", "film"), lossless=["film"])
    bench.write("live", 5)
    film = bench.write("film", 5)
    worker = FakeWorker("worker-1")
    bench.swap(worker)
    for _ in range(film + 1):
        bench.answer(worker)
    assert sorted((r.frame.camera, r.frame.sequence) for r in bench.results) == [
        *(("film", number) for number in range(film)),
        ("live", 4),
    ]
    assert bench.statistics.skipped == 4


def test_cameras_share_the_worker_fairly():
    bench, worker = serving(cameras=("a", "b"), lossless=["a", "b"])
    for _ in range(40):
        bench.write("a", 3)
        bench.write("b", 1)
        bench.answer(worker)
    served = [result.frame.camera for result in bench.results]
    assert abs(served.count("a") - served.count("b")) <= 3


def test_a_frame_in_a_slot_that_was_not_granted_is_ignored():
    bench, worker = serving()
    frame = bench.capture.frame("front")
    bench.loop.frame(bench.now_ns, frame)
    for slot in (frame.slot, 9, 99, -1):
        bench.loop.frame(bench.now_ns, Frame(FRONT, frame.generation, slot, 9, 9, 0, 0, 0))
    bench.loop.frame(bench.now_ns, Frame(FRONT, 77, 0, 9, 9, 0, 0, 0))
    assert bench.statistics.captured == 1
    assert len(worker.asked) == 1


def test_a_camera_that_comes_back_with_another_size_gets_another_ring_and_the_old_one_goes_with_its_last_frame():
    bench, worker = serving(in_flight=2)
    bench.write(count=2)
    bench.loop.need_ring(bench.now_ns, FRONT, 32, 24)
    assert worker.rings == {("front", 1), ("front", 2)}
    bench.write()
    bench.answer(worker)
    assert ("front", 1) in worker.rings
    bench.answer(worker)
    assert worker.rings == {("front", 2)}
    bench.answer(worker)
    assert [(r.frame.width, r.frame.generation) for r in bench.results] == [(64, 1), (64, 1), (32, 2)]


def test_frames_that_were_ready_survive_the_death_of_capture():
    bench, worker = serving(lossless=["front"], in_flight=1)
    written = bench.write(count=3)
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed by SIGSEGV")
    assert bench.statistics.cameras[FRONT].health == "lost"
    grants = len(bench.capture.granted["front"])
    bench.answer(worker, written)
    assert bench.sequences == list(range(written))
    assert len(bench.capture.granted["front"]) == grants  # nothing is granted before it asks for a ring
    bench.loop.need_ring(bench.now_ns, FRONT, 64, 48)
    bench.write()
    bench.answer(worker)
    assert len(bench.results) == written + 1
    assert worker.rings == {("front", 2)}


def test_frames_of_an_impossible_size_leave_the_camera_failed_and_the_loop_going():
    bench, worker = serving(cameras=("front", "back"))
    bench.loop.need_ring(bench.now_ns, CameraName("back"), 100_000, 1)
    assert bench.statistics.cameras[CameraName("back")].health == "failed"
    bench.write()
    bench.answer(worker)
    assert bench.sequences == [0]


def test_health_goes_to_whoever_listens():
    bench, _ = serving()
    message = Health(FRONT, "ended")
    bench.loop.health(bench.now_ns, message)
    assert bench.health == [message]
    assert bench.statistics.cameras[FRONT].health == "ended"


# --- swaps -----------------------------------------------------------------------------------------------------------


def test_a_swap_loses_no_frame_and_keeps_the_order():
    bench, old = serving(lossless=["front"], in_flight=3)
    bench.write(count=20)
    new = FakeWorker("worker-2")
    bench.swap(new)
    assert (len(old.asked), len(new.asked)) == (3, 3)
    bench.answer(new, 2)  # faster than the old one's last
    assert bench.sequences == []
    bench.answer(old, 3)
    assert bench.sequences == [0, 1, 2, 3, 4]
    assert [one.release.digest for one in bench.results] == ["worker-1"] * 3 + ["worker-2"] * 2
    assert not old.asked
    assert bench.statistics.previous == old.release


def test_the_gap_is_told_after_the_new_workers_first_answer():
    bench, old = serving(lossless=["front"], in_flight=1)
    for _ in range(20):
        bench.write(count=9)
        bench.pass_ms(10)
        bench.answer(old)
    new = FakeWorker("worker-2")
    bench.swap(new)
    bench.pass_ms(10)
    bench.answer(old)
    bench.pass_ms(35)
    assert len(bench.events.swaps) == 1
    bench.answer(new)
    first, swap = bench.events.swaps
    assert (first.old, first.gap_ms, first.cause) == (None, None, "swap")
    assert (swap.old, swap.new, swap.lost, swap.skipped) == (old.release, new.release, 0, 0)
    assert swap.gap_ms == pytest.approx(25.0)


def test_live_frames_skipped_in_the_swap_are_in_its_receipt():
    bench, old = serving(in_flight=1)
    bench.write(count=4)  # 2 skipped, before
    bench.swap(new := FakeWorker("worker-2"))
    bench.write(count=3)
    bench.answer(old)
    bench.answer(new)
    assert bench.events.swaps[-1].skipped == 2


def test_the_worker_before_previous_is_retired_once_it_answered_what_it_had():
    bench, first = serving(lossless=["front"], in_flight=1)
    bench.write(count=9)
    second, third = FakeWorker("worker-2"), FakeWorker("worker-3")
    bench.swap(second)
    bench.swap(third)
    assert bench.events.retired_workers == []
    bench.answer(first)
    assert bench.events.retired_workers == [first]
    assert first.listener is None
    bench.answer(second)
    bench.answer(third)
    assert bench.sequences == [0, 1, 2]


def test_going_back_serves_from_the_warm_worker_at_once():
    bench, old = serving(lossless=["front"], in_flight=2)
    bench.write(count=2)
    bench.swap(new := FakeWorker("worker-2"))
    bench.write(count=9)
    bench.loop.swap_back(bench.now_ns, "p95 over budget")
    assert bench.statistics.current == old.release
    bench.write(count=9)
    bench.answer(old, 2)
    bench.answer(new, 2)
    bench.answer(old, 2)
    assert bench.sequences == list(range(6))
    assert bench.events.retired_workers == [new]
    assert bench.events.swaps[-1].cause == "swap_back"


def test_going_back_without_a_previous_worker_changes_nothing():
    bench, worker = serving()
    bench.loop.swap_back(bench.now_ns, "no reason")
    assert bench.statistics.current == worker.release


def test_dropping_previous_hands_it_back():
    bench, old = serving()
    bench.swap(FakeWorker("worker-2"))
    bench.loop.drop_previous(bench.now_ns)
    bench.loop.drop_previous(bench.now_ns)
    assert bench.events.retired_workers == [old]


def test_a_watcher_gets_samples_until_enough_frames_were_answered():
    bench, worker = serving(lossless=["front"])
    bench.loop.watch(bench.now_ns, 25)
    for _ in range(40):
        bench.write(count=9)
        bench.answer(worker)
    assert [sample.frames for sample in bench.events.samples] == [10, 20, 25]
    assert bench.events.samples[-1].detections_per_frame == 1.0


# --- workers that fail -----------------------------------------------------------------------------------------------


def test_previous_takes_over_the_frames_of_a_current_that_died():
    bench, old = serving(lossless=["front"], in_flight=2)
    new = FakeWorker("worker-2")
    bench.swap(new)
    bench.write(count=9)
    bench.answer(new)
    taken = [frame.sequence for _, frame in new.asked]
    bench.reap(new, "killed by SIGSEGV")
    assert [frame.sequence for _, frame in old.asked] == taken
    assert bench.events.lost == [(new.release, "killed by SIGSEGV", True)]
    assert bench.events.retired_workers == [new]
    bench.answer(old, 2)
    assert bench.sequences == [0, 1, 2]
    assert (bench.statistics.resent, bench.statistics.lost) == (2, 0)


def test_without_previous_the_frames_wait_for_the_next_worker():
    bench, worker = serving(lossless=["front"], in_flight=2)
    bench.write(count=9)
    bench.answer(worker)
    bench.reap(worker)
    assert bench.events.lost == [(worker.release, "killed by SIGKILL", False)]
    assert bench.statistics.current is None
    bench.swap(fresh := FakeWorker("worker-2"))
    for _ in range(4):
        bench.answer(fresh)
    assert bench.sequences == [0, 1, 2, 3, 4]
    assert bench.statistics.lost == 0


def test_a_frame_on_which_two_workers_died_is_lost_and_the_loop_goes_on():
    bench, worker = serving(lossless=["front"], in_flight=1)
    bench.write(count=9)
    bench.reap(worker)
    bench.swap(second := FakeWorker("worker-2"))
    bench.reap(second)
    bench.swap(third := FakeWorker("worker-3"))
    bench.answer(third)
    assert bench.sequences == [1]
    assert (bench.statistics.lost, bench.statistics.answered) == (1, 1)


def test_a_hung_worker_is_killed_after_its_patience_and_previous_serves_before_it_is_reaped():
    bench, old = serving(lossless=["front"], in_flight=2)
    bench.swap(new := FakeWorker("worker-2"))
    bench.write(count=9)
    due_ns = bench.loop.next_due_ns()
    assert due_ns == bench.now_ns + 2_000_000_000
    bench.pass_ms(1999)
    bench.loop.check_deadlines(bench.now_ns)
    assert new.killed is None
    bench.pass_ms(1)
    bench.loop.check_deadlines(bench.now_ns)
    assert new.killed == "no answer for 2.0 s"
    assert bench.events.lost == [(new.release, "no answer for 2.0 s", True)]
    bench.answer(old, 2)
    assert bench.sequences == [0, 1]
    late = new.output()
    bench.loop.output(bench.now_ns, new, late)  # it was on its way
    assert bench.sequences == [0, 1]
    bench.reap(new, "no answer for 2.0 s")
    assert bench.events.retired_workers == [new]
    assert len(bench.events.lost) == 1


def test_a_slow_model_has_ten_times_its_p95():
    bench = Bench()
    worker = FakeWorker("worker-1")
    bench.swap(worker, p95_ms=900.0)
    bench.write()
    assert bench.loop.next_due_ns() == bench.now_ns + 9_000_000_000


def test_an_old_worker_that_hangs_after_a_swap_holds_the_results_back_only_until_its_deadline():
    bench, old = serving(lossless=["front"], in_flight=2)
    bench.write(count=9)
    bench.swap(new := FakeWorker("worker-2"))
    for _ in range(50):
        bench.write(count=9)
        if new.asked:
            bench.answer(new)
    assert bench.results == []
    assert bench.statistics.in_flight <= 8  # bounded
    bench.pass_ms(2001)
    bench.loop.check_deadlines(bench.now_ns)
    assert old.killed
    assert bench.events.lost == []  # the one that serves is well
    while new.asked:
        bench.answer(new)
    assert bench.sequences == list(range(len(bench.results)))
    assert len(bench.results) > 8


def test_a_bad_output_is_told_counted_as_failed_and_delivers_nothing():
    bench, worker = serving(lossless=["front"], in_flight=2)
    bench.write(count=9)
    bench.answer(worker)
    for _ in range(3):
        bench.loop.failed(bench.now_ns, worker, worker.error())
    bench.answer(worker)
    assert bench.sequences == [0, 4]
    assert bench.events.bad == ["not finite"]  # once, not a hundred times a second
    bench.pass_ms(1001)
    bench.write(count=9)
    bench.loop.failed(bench.now_ns, worker, worker.error())
    assert len(bench.events.bad) == 2
    assert (bench.statistics.failed, bench.statistics.lost, bench.statistics.answered) == (4, 0, 2)


def test_an_answer_that_no_model_can_have_given_is_a_bad_output():
    bench, worker = serving()
    bench.write()
    bench.answer(worker, detections=rows((1, 2, 3, 4, math.nan, 0)))
    assert bench.statistics.failed == 1
    assert bench.events.bad


def test_answers_to_nothing_are_ignored():
    bench, worker = serving()
    bench.write()
    output = worker.output()
    bench.loop.output(bench.now_ns, worker, output)
    bench.loop.output(bench.now_ns, worker, output)
    bench.loop.output(bench.now_ns, FakeWorker("stranger"), output)
    bench.loop.failed(bench.now_ns, worker, Error("bad_output", "x", request=99))
    bench.loop.failed(bench.now_ns, worker, Error("bad_output", "x"))
    bench.loop.died(bench.now_ns, FakeWorker("stranger"), "gone")
    assert bench.sequences == [0]


def test_an_unused_previous_that_dies_is_handed_back_without_alarm():
    bench, old = serving()
    bench.swap(FakeWorker("worker-2"))
    bench.reap(old)
    assert bench.events.lost == []
    assert bench.events.retired_workers == [old]
    assert bench.statistics.previous is None
