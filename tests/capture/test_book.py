"""Who is to hear what a capture process says, when cameras are closed and opened again under their names."""

from __future__ import annotations

from agent.capture.book import BEGINNING, Book, Reached
from agent.process.messages import Frame, Health, SourceSpec
from agent.types import CameraName

GATE = CameraName("gate")
SOURCE = SourceSpec("file", "/a.mp4")
OPENING = Health(GATE, "opening")


def frame(number: int) -> Frame:
    return Frame(GATE, 1, 0, number, number, 0, 0, skipped=2)


def test_a_camera_goes_on_where_it_was_closed():
    book: Book[str] = Book()
    book.add(GATE, SOURCE, "one")
    assert book.remove(GATE, told=False) == BEGINNING
    book.add(GATE, SOURCE, "one")
    book.note(OPENING)
    assert book.note(frame(4)) == "one"
    reached = book.remove(GATE, told=True)
    assert reached == Reached(5, 5, 2)
    assert book.remove(GATE, told=True) is None
    opened = book.add(GATE, SOURCE, "two", reached)
    assert (opened.start_index, opened.start_sequence, opened.start_skipped) == (5, 5, 2)
    assert book.to_open() == [opened]


def test_nothing_of_the_former_opening_is_heard_once_it_was_closed_however_late_it_comes():
    book: Book[str] = Book()
    book.add(GATE, SOURCE, "one")
    book.note(OPENING)
    reached = book.remove(GATE, told=True)
    assert reached is not None
    book.add(GATE, SOURCE, "two", reached)
    assert [book.note(one) for one in (frame(0), OPENING, frame(1))] == [None] * 3, "the former one reconnected"
    assert book.remove(GATE, told=True) == reached, "what nobody heard does not count"
    book.add(GATE, SOURCE, "three", reached)
    book.closed(GATE)
    assert book.note(OPENING) is None, "that was about the first closing of two"
    book.closed(GATE)
    assert book.note(OPENING) == "three"
    assert book.note(frame(0)) == "three"


def test_a_process_that_is_gone_answers_for_no_closing():
    book: Book[str] = Book()
    book.add(GATE, SOURCE, "one")
    book.remove(GATE, told=True)
    book.add(GATE, SOURCE, "two")
    assert book.lost() == [(GATE, "two")]
    assert book.note(OPENING) == "two"
