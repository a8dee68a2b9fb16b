"""The best pictures of tracks: which frame, under which lease, who comes first, and how many are kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import CameraError
from agent.loop.album import EVERY_S, MAX_BYTES, Album
from agent.loop.pictures import Picture, Portrait, Wish
from agent.loop.seeing import Seeing, SeeingSettings
from agent.process.messages import Health, Rendered
from agent.types import CameraName, Detection, FrameRef
from agent.vision.track import TrackSettings
from tests.depth import examples
from tests.loop.fakes import Bench, FakeWorker, rows
from tests.loop.test_pictures import leased, lose

FRONT = CameraName("front")
STEP_NS = round(EVERY_S * 1e9)


class Gallery:
    """A bench whose tracks' best pictures are kept; capture answers when the test says so."""

    def __init__(self, limit: int = 8, **arguments) -> None:
        self.album = Album(limit)
        seeing = Seeing(SeeingSettings(tracking=TrackSettings(min_hits=2, max_age_s=10.0)))
        self.bench = Bench(portraits=self.album, seeing=seeing, **arguments)
        self.worker = FakeWorker("worker-1")
        self.bench.swap(self.worker)
        self.bench.loop.health(self.bench.now_ns, Health(FRONT, "streaming"))
        self.taken: list = []

    def look(self, score: float = 0.9, box=(10.0, 10.0, 40.0, 40.0)) -> None:
        """One frame and its answer."""
        self.bench.now_ns += STEP_NS
        self.bench.write()
        self.bench.answer(self.worker, detections=rows((*box, score, 0)))

    def ask(self, **more) -> None:
        self.bench.loop.picture(self.bench.now_ns, Wish(FRONT, self.taken.append, **more))

    def drawn(self, problem: str = "", jpeg: bytes = b"jpg") -> None:
        request = self.bench.capture.renders[-1]
        size = (0, 0, 0) if problem else (64, 48, len(jpeg))
        self.bench.loop.rendered(
            self.bench.now_ns, Rendered(request.request, FRONT, *size, problem), b"" if problem else jpeg
        )

    @property
    def renders(self) -> list:
        return self.bench.capture.renders


def test_the_frame_in_which_a_track_was_seen_is_cut_out_around_it_and_kept():
    gallery = Gallery()
    gallery.look()
    gallery.look()  # the second sighting makes it a track
    (request,) = gallery.renders
    assert request.crop == (1.0, 1.0, 49.0, 48.0)
    assert request.overlay.boxes == ()
    assert leased(gallery.bench) == 1
    gallery.drawn()
    assert leased(gallery.bench) == 0
    kept = gallery.album.best(FRONT, 1)
    assert (kept.picture.jpeg, kept.picture.frame.sequence, kept.portrait.seen.label) == (b"jpg", 1, "person")


def test_a_clearly_better_moment_takes_the_place_of_the_kept_one_and_a_worse_does_not():
    gallery = Gallery()
    for score in (0.5, 0.5):
        gallery.look(score)
    gallery.drawn(jpeg=b"first")
    gallery.look(0.4)
    assert len(gallery.renders) == 1
    gallery.look(0.95)
    gallery.drawn(jpeg=b"second")
    assert gallery.album.best(FRONT, 1).picture.jpeg == b"second"


def test_who_asks_for_a_picture_comes_before_a_frame_that_is_only_held():
    gallery = Gallery()
    gallery.look()
    gallery.bench.now_ns += STEP_NS
    gallery.bench.write()  # on its way to the worker, held
    assert leased(gallery.bench) == 1
    gallery.ask(boxes=False)
    assert leased(gallery.bench) == 0
    gallery.bench.write()
    assert [request.crop for request in gallery.renders] == [None]
    gallery.drawn()
    assert isinstance(gallery.taken[0], Picture)


def test_who_asks_while_one_is_drawn_waits_for_it_and_is_not_refused():
    gallery = Gallery()
    gallery.look()
    gallery.look()
    gallery.ask(boxes=False)
    gallery.ask(boxes=False)
    assert "already" in gallery.taken[0].message, "the second one is"
    gallery.drawn()
    gallery.bench.write()
    gallery.drawn(jpeg=b"asked for")
    assert gallery.taken[1].jpeg == b"asked for"


def test_a_picture_that_could_not_be_made_is_tried_again():
    gallery = Gallery()
    gallery.look()
    gallery.look()
    gallery.drawn("broken")
    with pytest.raises(CameraError, match="no picture of track 1"):
        gallery.album.best(FRONT, 1)
    gallery.look()
    gallery.drawn()
    assert gallery.album.best(FRONT, 1).picture.jpeg == b"jpg"


def test_with_none_kept_no_frame_is_held_and_the_answer_names_the_key():
    gallery = Gallery(limit=0)
    gallery.look()
    gallery.look()
    assert gallery.renders == []
    with pytest.raises(CameraError, match=r"report\.best_pictures"):
        gallery.album.best(FRONT, 1)


def picture(size: int = 3) -> Picture:
    return Picture(FrameRef(FRONT, 1, 0, 7, 7, 0, 0, 64, 48), 64, 48, 0, b"x" * size)


def portrait(track: int) -> Portrait:
    return Portrait(FRONT, track, Detection(0, "person", 0.9, (0, 0, 9, 9), track), (0, 0, 9, 9))


def test_the_oldest_pictures_go_first_by_number_and_by_bytes():
    album = Album(3)
    for track in range(5):
        album.keep(portrait(track), picture())
    assert [album.best(FRONT, track).portrait.track for track in (2, 3, 4)] == [2, 3, 4]
    with pytest.raises(CameraError, match="3 newest"):
        album.best(FRONT, 1)
    album.keep(portrait(9), picture(MAX_BYTES))
    with pytest.raises(CameraError):
        album.best(FRONT, 4)
    album.resize(0)
    with pytest.raises(CameraError):
        album.best(FRONT, 9)


MOVES = st.sampled_from(
    ["ask", "ask_plain", "write", "answer", "error", "rendered", "problem", "size", "lost", "stall"]
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(MOVES, max_size=50), st.booleans())
def test_with_best_pictures_too_every_wish_is_answered_once_and_no_lease_outlives_it(moves, lossless):
    gallery = Gallery(lossless=["front"] if lossless else [])
    bench, worker = gallery.bench, gallery.worker
    do = {
        "ask": gallery.ask,
        "ask_plain": lambda: gallery.ask(boxes=False),
        "write": bench.write,
        "answer": lambda: worker.asked and bench.answer(worker),
        "error": lambda: worker.asked and bench.loop.failed(bench.now_ns, worker, worker.error()),
        "rendered": lambda: gallery.renders and gallery.drawn(),
        "problem": lambda: gallery.renders and gallery.drawn("broken"),
        "size": lambda: bench.loop.need_ring(bench.now_ns, FRONT, 32, 24),
        "lost": lambda: lose(bench),
        "stall": lambda: [bench.loop.health(bench.now_ns, Health(FRONT, state)) for state in ("stalled", "streaming")],
    }
    asked = 0
    for move in moves:
        bench.now_ns += STEP_NS
        asked += move.startswith("ask")
        do[move]()
        assert leased(bench) <= 1, "a ring has one slot to spare for pictures"
        assert len(gallery.taken) <= asked
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    assert len(gallery.taken) == asked
    while worker.asked:
        bench.answer(worker)
    bench.loop.capture_lost(bench.now_ns, FRONT, "killed")
    assert leased(bench) == 0
