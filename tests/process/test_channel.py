"""The channel keeps messages whole, never blocks for ever, and trusts nothing that arrives."""

from __future__ import annotations

import array
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ChildError, ModelError, ProgrammingError
from agent.process.channel import Channel, ChannelClosed, ChannelFull
from agent.process.messages import MAX_BYTES, Alive, Error, Grant, Hello, Stop
from tests.patience import patient


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def pair():
    ours, theirs = Channel.pair("probe")
    other = Channel.from_fd(theirs.detach())
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def raw():
    """Our end, and a socket on which anything may be sent."""
    ours, theirs = Channel.pair("probe")
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_whole_and_in_order(pair):
    ours, other = pair
    sent = [Hello("probe", 7), Grant("cam", 1, 2), Stop(), Error("camera", "x" * 60_000)]
    for message in sent:
        ours.send(message)
    assert [other.receive(1) for _ in sent] == [(message, None) for message in sent]


def test_a_descriptor_rides_along_and_is_not_inherited(pair):
    ours, other = pair
    read, write = os.pipe()
    ours.send(Alive(), fd=write)
    message, received = other.receive(1)
    assert message == Alive()
    assert not os.get_inheritable(received)
    os.write(received, b"through")
    assert os.read(read, 10) == b"through"
    for fd in (read, write, received):
        os.close(fd)


def test_descriptors_nobody_asked_for_are_closed(raw):
    ours, theirs = raw
    before = open_descriptors()
    three = array.array("i", [0, 1, 2])
    theirs.sendmsg([msgspec.msgpack.encode(Alive())], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, three)])
    _, kept = ours.receive(1)
    os.close(kept)
    theirs.sendmsg([b"\xc1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, three)])
    with pytest.raises(ChildError, match="probe"):
        ours.receive(1)
    assert open_descriptors() == before


def test_nothing_within_the_timeout_is_none(pair):
    assert pair[0].receive(0.01) is None
    assert pair[0].receive(0) is None


def test_the_end_of_the_other_side_is_closed_both_ways(pair):
    ours, other = pair
    other.send(Alive())
    other.close()
    assert ours.receive(1) == (Alive(), None)
    with pytest.raises(ChannelClosed):
        ours.receive(1)
    with pytest.raises(ChannelClosed):
        ours.send(Stop())


def test_close_wakes_a_blocked_receive(pair):
    ours, _ = pair
    caught: list[BaseException] = []

    def read() -> None:
        try:
            ours.receive(None)
        except ChannelClosed as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    ours.close()
    reader.join(2)
    assert not reader.is_alive()
    assert caught
    with pytest.raises(ChannelClosed):
        ours.receive(0)


def test_a_peer_that_does_not_read_makes_send_fail_in_bounded_time(pair):
    ours, _ = pair
    began = time.monotonic()
    with pytest.raises(ChannelFull, match="probe has not read"):
        deque((ours.send(Error("camera", "x" * 30_000)) for _ in range(10_000)), maxlen=0)
    assert 0.9 < time.monotonic() - began < patient(3)


def test_a_message_too_large_to_send_is_a_programmers_error(pair):
    with pytest.raises(ProgrammingError, match=f"more than {MAX_BYTES}"):
        pair[0].send(Error("camera", "x" * MAX_BYTES))


def test_a_packet_too_large_to_be_a_message_names_the_peer(raw):
    ours, theirs = raw
    theirs.send(b"\x00" * (MAX_BYTES + 1))
    with pytest.raises(ChildError, match="probe sent a message of more"):
        ours.receive(1)


@given(st.binary(min_size=1, max_size=200))
def test_anything_that_is_no_message_is_a_child_error(data):
    ours, theirs = Channel.pair("probe")
    with theirs:
        theirs.send(data)
        try:
            ours.receive(1)
        except ChildError as error:
            assert "probe" in error.message  # noqa: PT017 - random bytes may by chance be a message
    ours.close()


def test_many_threads_may_send(pair):
    ours, other = pair
    threads = [
        threading.Thread(target=lambda n=n: [ours.send(Grant("cam", n, i)) for i in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    got = [other.receive(5)[0] for _ in range(200)]
    for thread in threads:
        thread.join()
    for n in range(4):
        assert [grant.slot for grant in got if grant.generation == n] == list(range(50))


def test_only_a_packet_socket_is_a_channel():
    read, write = os.pipe()
    stream, far = socket.socketpair()
    try:
        for fd in (read, stream.fileno(), 9999):
            with pytest.raises(ChildError):
                Channel.from_fd(fd)
    finally:
        os.close(read)
        os.close(write)
        stream.close()
        far.close()


def test_an_error_with_endless_words_still_fits_one_packet():
    error = Error.of(ModelError("ü𝄞" * 100_000, field="model"), request=7)
    assert len(msgspec.msgpack.encode(error)) < MAX_BYTES
    assert (error.code, error.field, error.request) == ("bad_model", "model", 7)
