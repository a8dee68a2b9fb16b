"""The way to a broker: names that hang, sockets that are silent, and a wait that can be ended."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from agent.link import dial as dialling
from agent.link.dial import MAX_LOOKUPS, Resolver, dial
from agent.link.faults import BrokerFault, Interrupted
from agent.link.signals import Flag
from tests.patience import patient


@pytest.fixture
def halt() -> Iterator[Flag]:
    flag = Flag()
    yield flag
    flag.close()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The system's resolver, whose name server answers only once this event is set."""
    answers = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: object, flags: int = 0, **more: object) -> object:
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, *rest, flags=flags, **more)  # type: ignore[arg-type]
        answers.wait(30)
        return real("127.0.0.1", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answers
    answers.set()


def test_a_name_server_that_hangs_is_given_up_and_asked_for_its_answer_again(
    hanging: threading.Event, halt: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "RESOLVE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        resolver, port = Resolver(), server.getsockname()[1]
        for _ in range(3):
            with pytest.raises(BrokerFault, match=r"cannot be resolved \(no answer within 0.2 s\)"):
                dial("broker.example.org", port, None, halt.reading, resolver)
        assert sum(thread.name == "lookout-resolver" for thread in threading.enumerate()) == 1
        hanging.set()
        dial("broker.example.org", port, None, halt.reading, resolver).close()


def test_only_so_many_names_hang_at_a_time(
    hanging: threading.Event, halt: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "RESOLVE_S", 0.01)
    resolver = Resolver()
    for number in range(MAX_LOOKUPS + 2):
        with pytest.raises(BrokerFault) as caught:
            dial(f"broker-{number}.example.org", 1883, None, halt.reading, resolver)
    assert "already hang" in caught.value.message
    assert sum(thread.name == "lookout-resolver" for thread in threading.enumerate()) == MAX_LOOKUPS
    hanging.set()


def test_a_wait_for_a_name_ends_when_it_is_worth_nothing_any_more(hanging: threading.Event, halt: Flag) -> None:
    threading.Timer(0.1, halt.raise_).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        dial("broker.example.org", 1883, None, halt.reading, Resolver())
    assert time.monotonic() - began < patient(3)


def test_an_address_needs_no_resolver(hanging: threading.Event, halt: Flag) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dial("127.0.0.1", server.getsockname()[1], None, halt.reading, Resolver()).close()
    assert not hanging.is_set()


def test_the_next_address_of_a_name_is_tried(halt: Flag, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(Resolver, "addresses", lambda *_: [dead, good])
        dial("broker", port, None, halt.reading, Resolver()).close()


def test_a_flag_is_raised_by_anyone_and_lowered_by_one() -> None:
    flag = Flag()
    for _ in range(100_000):  # more than a socket holds
        flag.raise_()
    began = time.monotonic()
    flag.wait(5)
    flag.lower()
    flag.wait(0.05)
    assert 0.04 < time.monotonic() - began < patient(3)
    flag.close()
    flag.raise_()
