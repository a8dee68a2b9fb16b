"""Pictures and live views: shared by who looks, made for nobody else, and never a queue."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from agent.errors import CameraError
from agent.web import live, studio

from .conftest import Site, until

LIVE = "/api/cameras/yard/live.mjpg"
PICTURE = "/api/cameras/yard/picture.jpg"
PART = re.compile(rb"Content-Type: image/jpeg\r\nContent-Length: (\d+)\r\n\r\n")


class Viewer:
    """Looks at a live view on a thread of its own, and keeps the numbers of the pictures that came."""

    def __init__(self, site: Site, path: str = LIVE) -> None:
        self.numbers: list[int] = []
        self.response = requests.get(site.url(path), stream=True, timeout=10)
        self.status = self.response.status_code
        self.ended = False
        self._thread = threading.Thread(target=self._look, daemon=True)
        if self.status == 200:
            self._thread.start()

    def _look(self) -> None:
        with contextlib.suppress(requests.RequestException, OSError, AttributeError):
            for jpeg in pictures(self.response.iter_content(None)):
                self.numbers.append(number_of(jpeg))
        self.ended = True

    def leave(self) -> None:
        raw = self.response.raw
        with contextlib.suppress(OSError, AttributeError):
            raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self.response.close()


def pictures(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Take a multipart stream apart, as strictly as any browser."""
    found = b""
    for chunk in chunks:
        found += chunk
        while (head := PART.search(found)) is not None and len(found) >= head.end() + int(head[1]) + 2:
            end = head.end() + int(head[1])
            assert found[: head.start()] in (b"--lookout-picture\r\n", b"\r\n--lookout-picture\r\n")
            yield found[head.end() : end]
            found = found[end:]


def number_of(jpeg: bytes) -> int:
    return int(jpeg[2:12])


def test_a_picture_is_made_as_it_is_asked_for(site):
    site.start()
    answer = site.get(f"{PICTURE}?boxes=0&zones=0&width=640&n=123")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"
    (wish,) = site.cameras.yard.wishes
    assert (wish.camera, wish.boxes, wish.zones, wish.max_width) == ("yard", False, (), 640)


@pytest.mark.parametrize(
    "query", ["width=10", "width=99999", "width=x", "boxes=2", "fps=0", "fps=16", "fps=nan", "fps=1e3", "zones=yes"]
)
def test_what_no_picture_can_be_is_refused_by_its_key(site, query):
    site.start()
    answer = site.get(f"{LIVE}?{query}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, query.partition("=")[0])
    assert site.cameras.yard.wishes == []


def test_why_there_is_no_picture_is_said_in_words(site, monkeypatch):
    monkeypatch.setattr(live, "FIRST_S", 0.3)
    site.cameras.yard.refuses = CameraError("camera yard gives no pictures: it is failed (the cable)")
    site.start()
    for path in (PICTURE, LIVE):
        answer = site.get(path)
        assert (answer.status_code, "the cable" in answer.json()["error"]["message"]) == (503, True)


def test_a_camera_that_says_nothing_holds_nobody_up_for_ever_and_no_second_wish_is_made(site, monkeypatch):
    monkeypatch.setattr("agent.web.api.PICTURE_S", 0.2)
    monkeypatch.setattr(studio, "LOST_S", 1.0)
    site.cameras.yard.silent = True
    site.start()
    for _ in range(2):
        answer = site.get(PICTURE)
        assert (answer.status_code, "no picture within" in answer.json()["error"]["message"]) == (503, True)
    assert len(site.cameras.yard.wishes) == 1
    site.cameras.yard.silent = False
    assert until(lambda: site.get(PICTURE).status_code == 200), "the lost one was given up"


def test_of_one_camera_one_picture_is_made_at_a_time_whoever_asks(site):
    site.cameras.yard.delay_s = 0.02
    site.start()
    viewers = [Viewer(site, f"{LIVE}?fps=15&width={width}") for width in (320, 640, 960)]
    still = [site.get(PICTURE).status_code for _ in range(3)]
    until(lambda: all(len(viewer.numbers) >= 2 for viewer in viewers))
    assert still == [200, 200, 200]
    assert site.cameras.yard.most_open == 1
    for viewer in viewers:
        viewer.leave()


def test_viewers_of_one_setting_share_the_pictures(site):
    site.start()
    viewers = [Viewer(site, f"{LIVE}?fps=10&n={number}") for number in range(3)]
    until(lambda: all(len(viewer.numbers) >= 5 for viewer in viewers))
    made = len(site.cameras.yard.wishes)
    assert made <= max(viewer.numbers[-1] for viewer in viewers) + 2
    shared = set(viewers[1].numbers) & set(viewers[2].numbers)
    assert len(shared) >= 3
    for viewer in viewers:
        assert viewer.numbers == sorted(set(viewer.numbers)), "in order, none twice"
        viewer.leave()


def test_pictures_come_no_faster_than_they_were_asked_for(site):
    site.start()
    viewer = Viewer(site, f"{LIVE}?fps=4")
    time.sleep(2.0)
    viewer.leave()
    assert 3 <= len(viewer.numbers) <= 10


def test_nothing_is_made_where_nobody_looks_any_more(site):
    site.start()
    viewer = Viewer(site, f"{LIVE}?fps=15")
    until(lambda: len(viewer.numbers) >= 2)
    viewer.leave()

    def still() -> bool:
        before = len(site.cameras.yard.wishes)
        time.sleep(0.4)
        return len(site.cameras.yard.wishes) == before

    assert until(still)
    assert site.cameras.gate.wishes == []


def test_a_slow_viewer_gets_fewer_pictures_and_never_old_ones(site):
    """Reads as slowly as a bad network does: what comes late must be new, not what had queued up."""
    site.cameras.yard.size = 200_000
    site.start()
    fast = Viewer(site, f"{LIVE}?fps=15")
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        peer.sendall(f"GET {LIVE}?fps=15 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

        def slowly() -> Iterator[bytes]:
            while True:
                time.sleep(0.05)
                yield peer.recv(32 * 1024)

        behind, seen = [], []
        for jpeg in pictures(unchunked(slowly())):
            seen.append(number_of(jpeg))
            behind.append(len(site.cameras.yard.wishes) - seen[-1])
            if len(seen) >= 5:
                break
    assert seen == sorted(set(seen))
    assert seen[-1] - seen[0] > 2 * len(seen), "most were left out"
    assert max(behind) <= 30, "of the two that are under way at most, none is older than the sending takes"
    assert len(fast.numbers) > 3 * len(seen), "and nobody else is held up by it"
    fast.leave()


def unchunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take HTTP's head and its chunks away."""
    found, in_body = b"", False
    for piece in pieces:
        found += piece
        if not in_body:
            if b"\r\n\r\n" not in found:
                continue
            found, in_body = found.partition(b"\r\n\r\n")[2], True
        while (line := re.match(rb"([0-9a-f]+)\r\n", found)) and len(found) >= line.end() + int(line[1], 16) + 2:
            end = line.end() + int(line[1], 16)
            yield found[line.end() : end]
            found = found[end + 2 :]


def test_a_viewer_that_takes_nothing_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(live, "STUCK_S", 0.5)
    site.cameras.yard.size = 4_000_000
    site.start()
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(f"GET {LIVE}?fps=15 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: site.cameras.yard.wishes)
        assert until(lambda: gone(peer))
    made = until(lambda: stands_still(site))
    assert made <= 4


def gone(peer: socket.socket) -> bool:
    """Whether the other side has ended; reads nothing of what waits."""
    state = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # ESTABLISHED


def stands_still(site: Site) -> int:
    before = len(site.cameras.yard.wishes)
    time.sleep(0.3)
    return before if len(site.cameras.yard.wishes) == before else 0


def test_more_viewers_than_there_may_be_are_told_so_and_let_in_when_one_leaves(site):
    site.start()
    viewers = [Viewer(site, f"{LIVE}?fps=1") for _ in range(live.MAX_VIEWERS)]
    assert [viewer.status for viewer in viewers] == [200] * live.MAX_VIEWERS
    refused = site.get(LIVE)
    assert (refused.status_code, "live views are open" in refused.json()["error"]["message"]) == (503, True)
    viewers[0].leave()
    again: list[Viewer] = []

    def let_in() -> bool:
        again.append(Viewer(site, f"{LIVE}?fps=1"))
        return again[-1].status == 200

    assert until(let_in)
    for viewer in [*viewers[1:], *again]:
        viewer.leave()


def test_a_stream_whose_camera_dies_ends_so_that_the_page_asks_why(site, monkeypatch):
    monkeypatch.setattr(live, "DRY_S", 0.5)
    site.start()
    viewer = Viewer(site, f"{LIVE}?fps=15")
    until(lambda: len(viewer.numbers) >= 2)
    site.cameras.yard.refuses = CameraError("camera yard gives no pictures: it is lost")
    assert until(lambda: viewer.ended)


def test_a_stream_goes_on_after_a_picture_that_could_not_be_made(site):
    site.start()
    viewer = Viewer(site, f"{LIVE}?fps=15")
    until(lambda: len(viewer.numbers) >= 2)
    site.cameras.yard.refuses = CameraError("camera yard: pictures of it are being made already")
    time.sleep(0.3)
    site.cameras.yard.refuses = None
    seen = len(viewer.numbers)
    assert until(lambda: len(viewer.numbers) > seen + 2)
    viewer.leave()


def test_the_form_of_a_stream_is_what_browsers_show(site):
    site.start()
    with requests.get(site.url(LIVE), stream=True, timeout=5) as response:
        assert response.headers["content-type"] == "multipart/x-mixed-replace; boundary=lookout-picture"
        first = next(response.iter_content(None))
        assert first.startswith(b"--lookout-picture\r\n")
    head = requests.head(site.url(LIVE), timeout=5)
    assert head.status_code == 200
