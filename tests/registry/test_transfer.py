"""Hostile servers over real sockets: nothing they do holds the fetcher up or makes it take more than it wants."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import RegistryUnreachable
from agent.registry.transfer import Interrupted, Missing, TooLong, Transfer
from tests.registry.hostile import HostileHandler, Misbehave, hostile, took_less_than

BLOB = "blobs/x"
DATA = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    (tmp_path / BLOB).write_bytes(DATA)
    return tmp_path


@contextmanager
def transfer(total_s: float = 10.0, rate: float = 0.0, window_s: float = 0.3) -> Iterator[Transfer]:
    made = Transfer(total_timeout_s=total_s, min_rate_bytes_s=rate, window_s=window_s)
    yield made
    made.close()


def receive(url: str, *, max_bytes: int = len(DATA), offset: int = 0, **limits: float) -> bytes:
    with transfer(**limits) as made, made.get(url, max_bytes=max_bytes, offset=offset) as body:
        assert body.offset == offset
        return b"".join(body.pieces)


def receive_from(folder: Path, misbehave: Misbehave, **limits: float) -> bytes:
    with hostile(folder, misbehave) as url:
        return receive(f"{url}/{BLOB}", **limits)  # type: ignore[arg-type]


def honest(_: HostileHandler) -> bool:
    return False


def test_http_and_a_folder_give_the_same_bytes_from_any_offset(folder: Path) -> None:
    with hostile(folder, honest) as url:
        for base in (url, folder.as_uri()):
            assert receive(f"{base}/{BLOB}") == DATA
            assert receive(f"{base}/{BLOB}", offset=1000) == DATA[1000:]


def test_a_server_without_ranges_is_told_apart(folder: Path) -> None:
    def whole(handler: HostileHandler) -> bool:
        del handler.headers["Range"]
        return False

    with (
        hostile(folder, whole) as url,
        transfer() as made,
        made.get(f"{url}/{BLOB}", max_bytes=10**6, offset=5) as body,
    ):
        assert body.offset == 0
        assert b"".join(body.pieces) == DATA


def test_a_range_past_the_end_is_an_empty_rest(folder: Path) -> None:
    with hostile(folder, honest) as url:
        assert receive(f"{url}/{BLOB}", offset=len(DATA)) == b""


def test_a_missing_file_is_missing_over_both_roads(folder: Path) -> None:
    with hostile(folder, honest) as url:
        for base in (url, folder.as_uri()):
            with pytest.raises(Missing, match="does not exist"):
                receive(f"{base}/blobs/none")


def test_nobody_listening_is_said_with_the_address() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(RegistryUnreachable, match=r"cannot be reached \(Connection refused\)"):
            receive(f"http://127.0.0.1:{held.getsockname()[1]}/x")


def test_a_name_without_an_address_is_said() -> None:
    with pytest.raises(RegistryUnreachable, match=r"nowhere\.invalid.*cannot be reached"):
        receive("http://nowhere.invalid/x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(folder: Path, status: int) -> None:
    def redirect(handler: HostileHandler) -> bool:
        handler.head(status, Location="http://user:pw@evil.example/x", Content_Length="0")
        return True

    with pytest.raises(RegistryUnreachable, match=r"redirects to .*evil\.example") as caught:
        receive_from(folder, redirect)
    assert "pw" not in caught.value.message


def test_a_refusing_server_is_quoted(folder: Path) -> None:
    def refuse(handler: HostileHandler) -> bool:
        handler.send_error(503)
        return True

    with pytest.raises(RegistryUnreachable, match="HTTP 503"):
        receive_from(folder, refuse)


def test_more_than_wanted_is_refused_before_it_is_read(folder: Path) -> None:
    with hostile(folder, honest) as url, pytest.raises(TooLong):
        receive(f"{url}/{BLOB}", max_bytes=len(DATA) - 1)


def test_endless_data_ends_at_the_cap(folder: Path) -> None:
    def endless(handler: HostileHandler) -> bool:
        handler.head()
        handler.drip(b"x" * 65536, 0)
        return True

    in_time = took_less_than(3)
    with pytest.raises(TooLong):
        receive_from(folder, endless)
    in_time()


def test_a_drip_ends_by_the_minimum_rate(folder: Path) -> None:
    def drip(handler: HostileHandler) -> bool:
        handler.head(Content_Length="200000")
        handler.drip(b"x", 0.05)
        return True

    in_time = took_less_than(3)
    with pytest.raises(RegistryUnreachable, match="slower than 1024 bytes/s"):
        receive_from(folder, drip, rate=1024)
    in_time()


def test_a_drip_that_is_fast_enough_ends_by_the_deadline(folder: Path) -> None:
    def drip(handler: HostileHandler) -> bool:
        handler.head(Content_Length="200000")
        handler.drip(b"x", 0.05)
        return True

    in_time = took_less_than(3)
    with pytest.raises(RegistryUnreachable, match=r"within 0\.5 s"):
        receive_from(folder, drip, total_s=0.5)
    in_time()


def test_silence_ends(folder: Path) -> None:
    def silent(handler: HostileHandler) -> bool:
        handler.head(Content_Length="1000")
        handler.drip(b"", 0.05)
        return True

    in_time = took_less_than(3)
    with pytest.raises(RegistryUnreachable, match="fell silent"):
        receive_from(folder, silent)
    in_time()


def test_a_server_that_never_answers_ends(folder: Path) -> None:
    def mute(handler: HostileHandler) -> bool:
        handler.drip(b"", 0.05)
        return True

    in_time = took_less_than(3)
    with pytest.raises(RegistryUnreachable, match="does not answer in time"):
        receive_from(folder, mute)
    in_time()


def test_a_broken_connection_is_not_taken_for_the_end(folder: Path) -> None:
    def broken(handler: HostileHandler) -> bool:
        handler.head(Content_Length=str(len(DATA)))
        handler.wfile.write(DATA[:1000])
        handler.close_connection = True
        return True

    with pytest.raises(Interrupted):
        receive_from(folder, broken)


def test_a_compressed_body_is_refused(folder: Path) -> None:
    def bomb(handler: HostileHandler) -> bool:
        data = gzip.compress(bytes(10_000_000))
        handler.head(Content_Encoding="gzip", Content_Length=str(len(data)))
        handler.wfile.write(data)
        return True

    with pytest.raises(RegistryUnreachable, match="compressed"):
        receive_from(folder, bomb)
