"""The log on the page: what is kept, what comes, and that a page that does not read holds nobody up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests
import structlog

from agent.web import lines as page_lines

from .conftest import Site, until

log = structlog.get_logger(part="deploy")
FOLLOW = "/api/logs/follow"


class Follower:
    def __init__(self, site: Site, query: str = "") -> None:
        self.events: list[str] = []
        self.lines: list[dict] = []
        self.dropped: list[int] = []
        self.response = requests.get(site.url(f"{FOLLOW}{query}"), stream=True, timeout=10)
        assert self.response.status_code == 200
        assert self.response.headers["content-type"].startswith("text/event-stream")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for name, data in events(self.response.iter_lines()):
            if name == "dropped":
                self.dropped.append(int(data))
            else:
                self.lines.append(json.loads(data))
                self.events.append(self.lines[-1]["event"])


def events(lines: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    name = ""
    try:
        for line in lines:
            field, _, value = line.decode().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, value
                name = ""
    except requests.RequestException:
        return


def test_kept_lines_are_asked_for_by_level_part_and_words(site):
    site.start()
    log.info("one", reason="first")
    log.warning("two", reason="second")
    structlog.get_logger(part="link").warning("three", reason="second")

    def found(query: str) -> list[str]:
        return [line["event"] for line in site.get(f"/api/logs?{query}").json()["lines"] if line["part"] != "web"]

    assert found("lines=200") == ["one", "two", "three"]
    assert found("level=warning") == ["two", "three"]
    assert found("level=&part=deploy&grep=") == ["one", "two"]
    assert found("grep=SECOND&part=link") == ["three"]
    assert found("lines=1") == ["three"]


@pytest.mark.parametrize(
    "query", ["level=loud", "lines=-1", "lines=1001", "lines=9e9", "part=cellar", "grep=" + 200 * "x"]
)
@pytest.mark.parametrize("path", ["/api/logs", FOLLOW])
def test_a_question_that_makes_no_sense_is_refused_by_its_key(site, path, query):
    site.start()
    answer = site.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, query.partition("=")[0])


def test_lines_come_as_they_are_logged_after_the_kept_ones_without_a_gap(site):
    site.start()
    log.info("before")
    follower = Follower(site, "?lines=1&part=deploy")
    for number in range(50):
        log.info("line", number=number)
    structlog.get_logger(part="link").info("not-asked-for")
    assert until(lambda: len(follower.events) >= 51)
    assert follower.events == ["before", *["line"] * 50]
    assert [line["number"] for line in follower.lines[1:]] == list(range(50))


def test_two_pages_follow_with_their_own_questions(site):
    site.start()
    loud, quiet = Follower(site, "?level=warning"), Follower(site)
    until(lambda: site.logs.statistics().followers == 2)
    log.info("hush")
    log.warning("loud")
    assert until(lambda: "loud" in quiet.events and "loud" in loud.events)
    assert "hush" in quiet.events
    assert loud.events == ["loud"]


def test_a_page_that_leaves_is_let_go(site):
    site.start()
    follower = Follower(site)
    until(lambda: site.logs.statistics().followers == 1)
    follower.response.raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
    assert until(lambda: site.logs.statistics().followers == 0)


def test_a_page_that_does_not_read_holds_no_log_up_and_is_told_what_it_missed(site, monkeypatch):
    monkeypatch.setattr(page_lines, "MAX_WAITING", 20)
    site.start()
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(f"GET {FOLLOW} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: site.logs.statistics().followers == 1)
        began = time.monotonic()
        for number in range(3000):
            log.info("flood", number=number, text="x" * 1000)
        assert time.monotonic() - began < 10
        peer.settimeout(2)
        told = b""
        while b"event: dropped" not in told:
            told += peer.recv(1 << 20)
    assert b"flood" in told


def test_a_page_that_never_reads_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(page_lines, "STUCK_S", 0.3)
    site.start()
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(f"GET {FOLLOW} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: site.logs.statistics().followers == 1)

        def flooded() -> bool:
            for _ in range(200):
                log.info("flood", text="x" * 5000)
            return site.logs.statistics().followers == 0

        assert until(flooded, 20)


def test_no_more_follow_than_may(site):
    site.start()
    followers = [Follower(site) for _ in range(page_lines.MAX_FOLLOWERS)]
    refused = site.get(FOLLOW)
    assert (refused.status_code, "follow the log already" in refused.json()["error"]["message"]) == (400, True)
    assert len(followers) == page_lines.MAX_FOLLOWERS


def test_both_sides_hear_of_each_other_where_nothing_is_logged(site, monkeypatch):
    monkeypatch.setattr(page_lines, "ALIVE_S", 0.1)
    site.start()
    with requests.get(site.url(FOLLOW), stream=True, timeout=5) as response:
        lines = response.iter_lines()
        assert any(line.startswith(b":") for _, line in zip(range(20), lines, strict=False))


def test_the_end_of_logging_ends_the_stream(site):
    site.start()
    follower = Follower(site)
    until(lambda: site.logs.statistics().followers == 1)
    site.logs.stop()
    follower._thread.join(5)
    assert not follower._thread.is_alive()
