"""Hostile servers over real sockets: nothing they do holds the fetcher up or makes it take more than it wants."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError, RegistryUnreachable, StorageError
from agent.process.messages import RegistryAccess
from agent.registry.address import parse_address
from agent.registry.credentials import credentials_of
from agent.registry.pace import Throttle
from agent.registry.transfer import Interrupted, Missing, TooLong, Transfer
from tests.registry.hostile import HostileHandler, Misbehave, hostile, took_less_than
from tests.registry.private import Authority, tls_served

BLOB = "blobs/x"
DATA = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    (tmp_path / BLOB).write_bytes(DATA)
    return tmp_path


@contextmanager
def transfer(
    total_s: float = 10.0, rate: float = 0.0, window_s: float = 0.3, retry_first_s: float = 0.05
) -> Iterator[Transfer]:
    made = Transfer(total_timeout_s=total_s, min_rate_bytes_s=rate, window_s=window_s, retry_first_s=retry_first_s)
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


# --- private registries ----------------------------------------------------------------------------------------------


def test_a_token_goes_with_every_request_and_into_no_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t-token\n")
    seen: list[str | None] = []

    def guard(handler: HostileHandler) -> bool:
        seen.append(handler.headers["Authorization"])
        if handler.path.endswith("closed"):
            handler.send_error(401)
            return True
        return False

    with hostile(folder, guard) as url:
        made = private(url, token_file=str(tmp_path / "token"))
        with made.get(f"{url}/{BLOB}", max_bytes=len(DATA)) as body:
            assert b"".join(body.pieces) == DATA
        with (
            pytest.raises(RegistryUnreachable, match=r"registry\.token_file") as caught,
            made.get(f"{url}/blobs/closed", max_bytes=10),
        ):
            pass
    assert seen == ["Bearer s3cr3t-token"] * 2
    assert "s3cr3t" not in caught.value.message
    assert "s3cr3t" not in repr(credentials_of(access(url, token_file=str(tmp_path / "token")), parse_address(url)))


def test_a_token_is_not_carried_to_where_a_redirect_points(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t")
    seen: list[str | None] = []

    def note(handler: HostileHandler) -> bool:
        seen.append(handler.headers["Authorization"])
        return False

    with hostile(folder, note) as other:

        def redirect(handler: HostileHandler) -> bool:
            handler.head(302, Location=f"{other}/{BLOB}", Content_Length="0")
            return True

        with hostile(folder, redirect) as url:
            made = private(url, token_file=str(tmp_path / "token"))
            with pytest.raises(RegistryUnreachable, match="redirects"), made.get(f"{url}/{BLOB}", max_bytes=10):
                pass
    assert seen == []


def test_a_token_is_not_sent_over_plain_http_to_another_host(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t")
    with pytest.raises(InputError, match="https"):
        private("http://models.example.org", token_file=str(tmp_path / "token"))


@pytest.mark.parametrize("content", [b"", b"two words", b"line\nline", b"\xff\xfe", b"x" * 20_000])
def test_a_file_that_holds_no_token_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InputError, match="holds no token"):
        private("https://models.example.org", token_file=str(tmp_path / "token"))


@pytest.mark.parametrize("key", ["token_file", "ca_file", "cert_file"])
def test_a_missing_file_is_named_with_its_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match=rf"nowhere.*registry\.{key}"):
        private("https://models.example.org", **{key: str(tmp_path / "nowhere")})


def test_a_client_certificate_opens_a_registry_of_an_own_authority(folder: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ca, (certificate, key) = str(authority.certificate), authority.issue("client")
    with tls_served(folder, authority) as url:
        made = private(url, ca_file=ca, cert_file=str(certificate), key_file=str(key))
        with made.get(f"{url}/{BLOB}", max_bytes=len(DATA)) as body:
            assert b"".join(body.pieces) == DATA
        strangers: list[dict[str, str]] = [{}, {"ca_file": ca}]
        for keys in strangers:  # an unknown authority; no certificate of ours
            with pytest.raises(RegistryUnreachable), private(url, **keys).get(f"{url}/{BLOB}", max_bytes=10) as body:
                b"".join(body.pieces)


def test_a_proxy_is_used_and_its_password_is_never_said(folder: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def proxy(handler: HostileHandler) -> bool:
        asked.append((handler.path, handler.headers["Proxy-Authorization"]))
        handler.path = "/" + handler.path.split("/", 3)[3]
        return False

    with hostile(folder, proxy) as url:
        through = url.replace("http://", "http://me:s3cr3t@")
        made = private("http://models.invalid", proxy=through)
        with made.get(f"http://models.invalid/{BLOB}", max_bytes=len(DATA)) as body:
            assert b"".join(body.pieces) == DATA
    assert asked[0][0] == f"http://models.invalid/{BLOB}"
    assert asked[0][1] is not None
    with pytest.raises(RegistryUnreachable, match=r"registry\.proxy") as caught:
        private("http://models.invalid", proxy=through).get(f"http://models.invalid/{BLOB}", max_bytes=9).__enter__()
    assert "s3cr3t" not in caught.value.message


# --- patience and restraint ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_usually_passes_is_asked_again(folder: Path, status: int) -> None:
    asked: list[str] = []

    def busy(handler: HostileHandler) -> bool:
        asked.append(handler.path)
        if len(asked) < 3:
            handler.send_error(status)
            return True
        return False

    with hostile(folder, busy) as url:
        assert receive(f"{url}/{BLOB}", retry_first_s=0.01) == DATA
    assert len(asked) == 3


def test_a_connection_that_breaks_before_the_answer_is_made_again(folder: Path) -> None:
    asked: list[str] = []

    def hang_up(handler: HostileHandler) -> bool:
        asked.append(handler.path)
        handler.close_connection = True
        return len(asked) == 1

    with hostile(folder, hang_up) as url:
        assert receive(f"{url}/{BLOB}", retry_first_s=0.01) == DATA


@pytest.mark.parametrize("status", [400, 401, 404, 501])
def test_what_stays_is_not_asked_again(folder: Path, status: int) -> None:
    asked: list[str] = []

    def refuse(handler: HostileHandler) -> bool:
        asked.append(handler.path)
        handler.send_error(status)
        return True

    with hostile(folder, refuse) as url, pytest.raises(RegistryUnreachable):
        receive(f"{url}/{BLOB}")
    assert len(asked) == 1


def test_asking_again_ends_by_the_deadline(folder: Path) -> None:
    in_time = took_less_than(3)
    with hostile(folder, lambda handler: handler.send_error(503) or True) as url, pytest.raises(RegistryUnreachable):
        receive(f"{url}/{BLOB}", retry_first_s=60, total_s=0.5)
    in_time()


def test_a_rate_limit_holds_and_a_minimum_above_it_gives_way(folder: Path) -> None:
    began = time.monotonic()
    with hostile(folder, honest) as url:
        made = Transfer(total_timeout_s=20, min_rate_bytes_s=10**9, rate_limit_bytes_s=200_000, window_s=0.3)
        with made.get(f"{url}/{BLOB}", max_bytes=len(DATA)) as body:
            assert b"".join(body.pieces) == DATA
    took_s = time.monotonic() - began
    assert 0.8 < took_s < 4  # 256 kB at 200 kB/s, less the burst


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 2)), max_size=50), st.integers(1, 10**6))
def test_a_throttled_transfer_never_exceeds_its_rate(steps: list[tuple[int, float]], limit: int) -> None:
    now_ns, total = 0, 0
    throttle = Throttle(limit, now_ns)
    for count, elapsed_s in steps:
        now_ns += int(elapsed_s * 1e9)
        total += count
        now_ns += int(throttle.pause_s(count, now_ns) * 1e9)
        assert total <= limit * (now_ns / 1e9 + 0.25) + 1 + len(steps)


def private(url: str, **keys: str) -> Transfer:
    address = parse_address(url)
    return Transfer(
        total_timeout_s=10,
        min_rate_bytes_s=0,
        retry_first_s=0.01,
        credentials=credentials_of(access(url, **keys), address),
    )


def access(url: str, **keys: str) -> RegistryAccess:
    return RegistryAccess(url, "", "", **keys)  # type: ignore[arg-type]
