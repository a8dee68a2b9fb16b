"""Which frame becomes a picture, with which boxes; and that its slot is leased until capture has answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import LookoutError
from agent.loop.pictures import PATIENCE_S, READER, Picture, Wish
from agent.process.messages import Health, Rendered
from agent.types import CameraName
from tests.depth import examples
from tests.loop.fakes import Bench, FakeWorker

FRONT = CameraName("front")


class Desk:
    """Asks for pictures and keeps what came of it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.taken: list[Picture | LookoutError] = []
        bench.loop.health(bench.now_ns, Health(FRONT, "streaming"))

    def ask(self, **more) -> None:
        self.bench.loop.picture(self.bench.now_ns, Wish(FRONT, self.taken.append, **more))

    def answer(self, problem: str = "") -> None:
        request = self.bench.capture.renders[-1]
        size = (0, 0, 0) if problem else (64, 48, 3)
        self.bench.loop.rendered(
            self.bench.now_ns, Rendered(request.request, FRONT, *size, problem), b"" if problem else b"jpg"
        )


def bench_of(*, worker: bool = True, **arguments) -> tuple[Bench, FakeWorker, Desk]:
    bench = Bench(**arguments)
    serving = FakeWorker("worker-1")
    if worker:
        bench.swap(serving)
    return bench, serving, Desk(bench)


def leased(bench: Bench) -> int:
    """Slots that a picture is read from."""
    rings = bench.loop._intake.generations()
    return sum(one.leases.reads(slot, READER) for one in rings for slot in range(one.memory.slots))


def test_with_boxes_it_is_the_frame_that_was_answered_with_what_was_seen_in_it():
    bench, worker, desk = bench_of()
    desk.ask()
    bench.write(count=3)
    assert bench.capture.renders == []
    bench.answer(worker)
    (request,) = bench.capture.renders
    assert [(box.box, box.text[:7]) for box in request.overlay.boxes] == [((10, 20, 30, 40), "person ")]
    desk.answer()
    (picture,) = desk.taken
    assert isinstance(picture, Picture)
    assert (picture.frame.sequence, picture.boxes, picture.jpeg) == (0, 1, b"jpg")


def test_without_boxes_it_is_the_next_frame_whatever_the_worker_does():
    bench, _, desk = bench_of(in_flight=1)
    bench.write(count=2)  # the worker is busy with the first
    desk.ask(boxes=False)
    bench.write()
    assert [request.overlay.boxes for request in bench.capture.renders] == [()]
    bench.write(count=3)  # the frame of the picture is replaced meanwhile, and its slot must not be written
    request = bench.capture.renders[0]
    assert (request.generation, request.slot) not in list(bench.capture.granted["front"])
    desk.answer()
    assert isinstance(desk.taken[0], Picture)
    assert desk.taken[0].frame.sequence == 2


def test_where_no_model_serves_there_are_no_boxes_to_wait_for():
    bench, _, desk = bench_of(worker=False)
    desk.ask()
    bench.write()
    desk.answer()
    assert isinstance(desk.taken[0], Picture)


def test_a_worker_that_does_not_answer_delays_a_picture_by_no_more_than_its_patience():
    bench, _, desk = bench_of()
    desk.ask()
    bench.write()
    assert bench.capture.renders == []
    bench.now_ns += round((PATIENCE_S + 0.1) * 1e9)
    bench.write()
    assert len(bench.capture.renders) == 1


def test_a_frame_whose_answer_was_an_error_is_drawn_without_boxes():
    bench, worker, desk = bench_of()
    desk.ask()
    bench.write(count=2)
    bench.loop.failed(bench.now_ns, worker, worker.error())
    bench.answer(worker)
    (request,) = bench.capture.renders
    assert request.overlay.boxes == ()


@pytest.mark.parametrize("state", ["stalled", "failed", "ended"])
def test_a_camera_that_gives_no_frames_is_refused_or_given_up_in_words(state):
    bench, _, desk = bench_of()
    desk.ask()
    bench.loop.health(bench.now_ns, Health(FRONT, state, "the cable"))
    desk.ask()
    assert [state in error.message for error in desk.taken] == [True, True]
    assert "the cable" in desk.taken[1].message


def test_one_picture_at_a_time_a_camera_one_waits_for_its_turn_and_the_third_is_told_so():
    bench, _, desk = bench_of()
    desk.ask(boxes=False)
    desk.ask(boxes=False, max_width=320)
    desk.ask(boxes=False)
    assert "already" in desk.taken[0].message
    bench.write()
    assert [request.max_width for request in bench.capture.renders] == [1280]
    desk.answer()
    bench.write()
    assert [request.max_width for request in bench.capture.renders] == [1280, 320]
    desk.answer()
    assert [isinstance(one, Picture) for one in desk.taken] == [False, True, True]
    assert leased(bench) == 0


def test_who_waits_for_his_turn_is_told_when_the_camera_ends_meanwhile():
    bench, _, desk = bench_of()
    desk.ask(boxes=False)
    desk.ask(boxes=False)
    bench.loop.health(bench.now_ns, Health(FRONT, "failed", "the cable"))
    assert ["failed" in error.message for error in desk.taken] == [True, True]


def test_a_reaped_capture_process_ends_the_lease_and_the_wish_and_a_late_answer_does_no_harm():
    bench, _, desk = bench_of(worker=False)
    desk.ask(boxes=False)
    bench.write()
    assert leased(bench) == 1
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    assert leased(bench) == 0
    assert "killed" in desk.taken[0].message
    desk.answer()
    assert len(desk.taken) == 1


def test_a_picture_that_cannot_be_made_is_told_in_words():
    bench, _, desk = bench_of(worker=False)
    desk.ask(boxes=False)
    bench.write()
    desk.answer("no picture fits 500 bytes")
    assert "no picture fits" in desk.taken[0].message
    assert leased(bench) == 0


MOVES = st.sampled_from(
    ["ask", "ask_plain", "write", "answer", "error", "rendered", "problem", "size", "lost", "stall"]
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(MOVES, max_size=40), st.booleans())
def test_every_wish_is_answered_once_and_no_lease_outlives_it(moves, lossless):
    bench, worker, desk = bench_of(lossless=["front"] if lossless else [])
    do = {
        "ask": desk.ask,
        "ask_plain": lambda: desk.ask(boxes=False),
        "write": bench.write,
        "answer": lambda: worker.asked and bench.answer(worker),
        "error": lambda: worker.asked and bench.loop.failed(bench.now_ns, worker, worker.error()),
        "rendered": lambda: bench.capture.renders and desk.answer(),
        "problem": lambda: bench.capture.renders and desk.answer("broken"),
        "size": lambda: bench.loop.need_ring(bench.now_ns, FRONT, 32, 24),
        "lost": lambda: lose(bench),
        "stall": lambda: [bench.loop.health(bench.now_ns, Health(FRONT, state)) for state in ("stalled", "streaming")],
    }
    asked = 0
    for move in moves:
        bench.now_ns += 10_000_000
        asked += move.startswith("ask")
        do[move]()
        assert len(desk.taken) <= asked
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    assert len(desk.taken) == asked
    while worker.asked:
        bench.answer(worker)
    assert leased(bench) == 0
    counts = [one.leases.counts() for one in bench.loop._intake.generations()]
    assert sum(one.ready + one.leased for one in counts) == len(bench.loop._intake.cameras[FRONT].ready)


def lose(bench: Bench) -> None:
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    bench.loop.need_ring(bench.now_ns, FRONT, 64, 48)
    bench.loop.health(bench.now_ns, Health(FRONT, "streaming"))
