"""The local socket and the lock: one agent a state folder, answers for whoever may ask, patience with nobody else."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import LookoutError, StorageError
from agent.supervise import local
from agent.supervise.local import MAX_REQUEST_BYTES, LocalServer, NoAgent, ask, follow
from agent.supervise.lock import AlreadyRunning, StateLock
from tests.depth import examples
from tests.patience import patient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


def refuse() -> None:
    raise LookoutError("not now")


def crash() -> None:
    raise ZeroDivisionError


@pytest.fixture
def server(path: Path) -> Iterator[LocalServer]:
    operations: dict[str, Callable[[], object]] = {
        "status": lambda: {"fine": True},
        "refuse": refuse,
        "crash": crash,
        "odd": lambda: {"a": {1j}},
    }
    server = LocalServer(path, operations)
    server.start()
    yield server
    server.stop()


def raw(path: Path, data: bytes) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        with peer.makefile("rb") as answer:
            return json.loads(answer.read())


def test_an_operation_is_answered(server: LocalServer, path: Path) -> None:
    assert ask(path, "status") == {"fine": True}


def test_the_socket_is_for_user_and_group_only(server: LocalServer, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o660


def test_what_goes_wrong_inside_is_answered_in_words(server: LocalServer, path: Path) -> None:
    with pytest.raises(LookoutError, match="not now"):
        ask(path, "refuse")
    with pytest.raises(LookoutError, match="ZeroDivisionError"):
        ask(path, "crash")
    with pytest.raises(LookoutError, match="known: status"):
        ask(path, "nonsense")
    assert ask(path, "odd") is not None
    assert ask(path, "status") == {"fine": True}


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"[]\n", b"{", b'{"op": 3}\n', b"\xff\n", b'"status"\n', b"[" * 4000 + b"\n"]
)
def test_a_request_that_is_none_is_answered_with_what_would_be_right(
    server: LocalServer, path: Path, data: bytes
) -> None:
    assert raw(path, data)["ok"] is False


def test_a_request_is_bounded(server: LocalServer, path: Path) -> None:
    assert "at most" in str(raw(path, b"x" * (MAX_REQUEST_BYTES + 10) + b"\n"))


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.binary(max_size=60))
def test_any_request_is_answered(server: LocalServer, path: Path, data: bytes) -> None:
    assert "ok" in raw(path, data + b"\n")


def test_a_silent_peer_delays_others_by_its_deadline_only(
    server: LocalServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PEER_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(path))
        begin = time.monotonic()
        assert ask(path, "status") == {"fine": True}
        assert time.monotonic() - begin < patient(2)


def test_a_peer_that_goes_away_harms_nobody(server: LocalServer, path: Path) -> None:
    for _ in range(100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(path))
    assert ask(path, "status") == {"fine": True}


def test_many_can_ask_at_once(server: LocalServer, path: Path) -> None:
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(path, "status"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"fine": True}] * 8


def test_a_stopped_server_takes_its_socket_and_thread_away(path: Path) -> None:
    server = LocalServer(path, {})
    server.start()
    server.stop()
    assert not path.exists()
    assert not any(thread.name == "lookout-local" for thread in threading.enumerate())
    LocalServer(path, {}).stop()


def test_a_second_agent_does_not_take_the_socket_of_a_living_one(server: LocalServer, path: Path) -> None:
    second = LocalServer(path, {})
    with pytest.raises(AlreadyRunning, match=r"paths\.runtime"):
        second.start()
    second.stop()
    assert ask(path, "status") == {"fine": True}


AGENT = """
import sys, time
from pathlib import Path
from agent.supervise.local import LocalServer
from agent.supervise.lock import StateLock
folder = Path(sys.argv[1])
lock = StateLock(folder / "lock")
LocalServer(folder / "agent.sock", {"status": lambda: 1}).start()
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another agent's process that holds lock and socket of ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_agent_on_one_state_is_refused_and_told_who_is_there(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(AlreadyRunning, match=str(other.pid)):
        StateLock(tmp_path / "lock")


def test_what_a_killed_agent_left_behind_is_taken_over(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "agent.sock").exists()
    with pytest.raises(NoAgent, match="has ended"):
        ask(tmp_path / "agent.sock", "status")
    with StateLock(tmp_path / "lock"):
        server = LocalServer(tmp_path / "agent.sock", {"status": lambda: 2})
        server.start()
        assert ask(tmp_path / "agent.sock", "status") == 2
        server.stop()


def test_the_lock_goes_with_its_owner_and_not_to_a_child(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock")
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        lock.release()
        StateLock(tmp_path / "lock").release()
    finally:
        child.kill()
        child.wait()


def test_a_lock_that_cannot_be_taken_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        StateLock(tmp_path / "absent" / "lock")
    (tmp_path / "lock").symlink_to("/etc/passwd")
    with pytest.raises(StorageError):
        StateLock(tmp_path / "lock")


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    server = LocalServer(path, {})
    with pytest.raises(StorageError, match="is no socket"):
        server.start()
    server.stop()
    assert path.read_text() == "precious"


def test_a_socket_that_cannot_be_made_is_told_with_the_key_to_change(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "agent.sock", tmp_path / ("x" * 120)):
        server = LocalServer(path, {})
        with pytest.raises(StorageError, match=r"paths\.runtime"):
            server.start()
        server.stop()
    assert list(tmp_path.iterdir()) == []


def test_no_agent_is_told_with_what_to_do(path: Path) -> None:
    with pytest.raises(NoAgent, match="lookout run"):
        ask(path, "status")


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[]\n", b'{"ok": false, "error": 3}\n', b'{"ok": 1}\n'])
def test_an_answer_that_is_none_is_an_error_in_words(path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(100)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(LookoutError):
            ask(path, "status")
        thread.join()


def test_a_silent_agent_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NoAgent, match="silent"):
            ask(path, "status", timeout_s=0.2)


class Counting:
    """A stream that says 1, 2, 3 and ends."""

    result = "begin"

    def __init__(self) -> None:
        self.abandoned = threading.Event()

    def go(self, peer: socket.socket) -> None:
        threading.Thread(target=self._count, args=(peer,)).start()

    def _count(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):  # who asked may have left
            for number in (1, 2, 3):
                peer.sendall(b"%d\n" % number)

    def abandon(self) -> None:
        self.abandoned.set()


def test_an_operation_is_given_its_arguments_and_may_have_more_to_say(path: Path) -> None:
    streams: list[Counting] = []

    def count(asked: Mapping[str, object]) -> Counting:
        streams.append(Counting())
        return streams[-1]

    server = LocalServer(path, {"status": lambda: 1}, {"twice": lambda asked: asked["n"] * 2, "count": count})
    server.start()
    try:
        assert ask(path, "twice", n=21) == 42
        assert list(follow(path, "count")) == ["begin", 1, 2, 3]
        assert ask(path, "count") == "begin", "who wants no more may leave"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(path))
            peer.sendall(b'{"op": "count"}\n')
        assert ask(path, "status") == 1, "a stream costs the others nothing"
    finally:
        server.stop()


def test_a_stream_whose_peer_does_not_take_the_answer_is_given_up(path: Path) -> None:
    stream = Counting()
    stream.result = "x" * 10_000_000  # more than any socket buffer holds
    server = LocalServer(path, {}, {"count": lambda _: stream})
    server.start()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(path))
            peer.sendall(b'{"op": "count"}\n')
            assert stream.abandoned.wait(10)
    finally:
        server.stop()
