"""``camera/snapshot``: what is published, what is answered, and how often."""

from __future__ import annotations

import pytest

from agent.errors import CameraError, CommandError
from agent.link.forms import CameraSnapshot
from agent.loop.album import Album
from agent.loop.pictures import Picture, Portrait
from agent.process.messages import OverlayZone
from agent.snapshots import Snapshots
from agent.types import CameraName, Detection, Digest, Event, FrameRef, ModelName, ReleaseId, Track

FRONT, YARD = CameraName("front"), CameraName("yard")
FRAME = FrameRef(FRONT, 1, 0, 7, 7, 0, 1_764_000_000_123, 640, 480)
RELEASE = ReleaseId(ModelName("m"), "1.0.0", Digest("d"))


class Desk:
    """A pipeline that gives its outcome at once."""

    def __init__(self, outcome) -> None:
        self.outcome = outcome
        self.wishes: list = []

    def picture(self, wish) -> None:
        self.wishes.append(wish)
        wish.take(self.outcome)


def made(outcome, *cameras: CameraName, **more):
    desk, sent, clock = Desk(outcome), [], [0]
    names = cameras or (FRONT,)
    return Snapshots(dict.fromkeys(names, desk), sent.append, now_ns=lambda: clock[0], **more), desk, sent, clock


def settled(deferred):
    found: list = []
    deferred.then(found.append)
    return found[0]


def test_the_picture_is_published_as_it_is_and_the_answer_says_where_and_when():
    snapshots, desk, sent, _ = made(Picture(FRAME, 320, 240, 2, b"jpeg"))
    answer = settled(snapshots.take(CameraSnapshot(max_width=320)))
    (outgoing,) = sent
    assert (outgoing.topic, outgoing.payload, outgoing.qos, outgoing.retain) == ("snapshots/front", b"jpeg", 0, False)
    assert (answer.topic, answer.size, answer.bytes, answer.boxes) == ("snapshots/front", (320, 240), 4, 2)
    assert answer.at.endswith(".123Z")
    assert (desk.wishes[0].max_width, desk.wishes[0].max_bytes) == (320, 512 * 1024)


def test_no_more_than_one_a_second_and_camera():
    snapshots, _, sent, clock = made(Picture(FRAME, 1, 1, 0, b"jpeg"), FRONT, YARD)
    snapshots.take(CameraSnapshot(camera="front"))
    snapshots.take(CameraSnapshot(camera="yard"))
    with pytest.raises(CameraError, match="1 picture a second"):
        snapshots.take(CameraSnapshot(camera="front"))
    clock[0] += 1_000_000_000
    snapshots.take(CameraSnapshot(camera="front"))
    assert len(sent) == 3


def test_an_unknown_camera_and_none_of_several_are_refused_with_the_names_there_are():
    snapshots, _, _, _ = made(None, FRONT, YARD)
    for args in (CameraSnapshot(camera="back"), CameraSnapshot()):
        with pytest.raises(CommandError, match="front, yard"):
            snapshots.take(args)


def test_a_camera_that_gives_no_picture_answers_with_its_reason():
    snapshots, _, sent, _ = made(CameraError("camera front gives no pictures: it is stalled"))
    assert "stalled" in settled(snapshots.take(CameraSnapshot())).message
    assert sent == []


def test_cameras_that_come_later_have_pictures_and_those_that_went_have_none():
    snapshots, desk, _, _ = made(Picture(FRAME, 1, 1, 0, b"jpeg"))
    zone = OverlayZone(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), "pond")
    snapshots.reconfigure({YARD: desk}, {YARD: (zone,)})
    snapshots.take(CameraSnapshot(camera="yard"))
    assert desk.wishes[-1].zones == (zone,)
    with pytest.raises(CommandError, match="'front' is no camera of this device; it has yard"):
        snapshots.take(CameraSnapshot(camera="front"))


def kept_album() -> Album:
    album = Album(4)
    seen = Detection(0, "person", 0.9, (1, 2, 3, 4), 17)
    album.keep(Portrait(FRONT, 17, seen, (0, 0, 9, 9)), Picture(FRAME, 320, 240, 0, b"best"))
    return album


def end_of(track: int, kind: str = "track") -> Event:
    followed = Track(track, "person", 0.9, 0.9, (1, 2, 3, 4), 0, 0, 0, 0)
    return Event("1-1", "end", 0, FRONT, RELEASE, followed, kind=kind)


def test_the_best_picture_of_a_track_is_published_on_request_whenever_it_was_taken():
    snapshots, desk, sent, _ = made(Picture(FRAME, 1, 1, 0, b"new"), album=kept_album())
    answer = snapshots.take(CameraSnapshot(track=17))
    assert [(one.topic, one.payload) for one in sent] == [("snapshots/front", b"best")]
    assert (answer.track, answer.label, answer.score, answer.size) == (17, "person", 0.9, (320, 240))
    assert desk.wishes == []
    with pytest.raises(CameraError, match="no picture of track 18"):
        snapshots.take(CameraSnapshot(track=18))


def test_if_asked_for_it_is_published_when_the_track_ends():
    snapshots, _, sent, _ = made(Picture(FRAME, 1, 1, 0, b"new"), album=kept_album(), at_end=True)
    snapshots.event(end_of(17, "zone"))
    snapshots.event(end_of(18))
    assert sent == []
    snapshots.event(end_of(17))
    assert [one.payload for one in sent] == [b"best"]
    quiet, _, sent, _ = made(Picture(FRAME, 1, 1, 0, b"new"), album=kept_album())
    quiet.event(end_of(17))
    assert sent == []
