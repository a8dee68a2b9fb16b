from __future__ import annotations

import http.client
import threading
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.errors import InputError
from tests.fakes.registry import Shop
from tools.registry.serve import RegistryServer
from tools.registry.status import status


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask with the path as it is: no client tidies it."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_ranges_are_served(shop: Shop, served: str) -> None:
    blob = shop.blob(shop.publish())
    data, path = blob.read_bytes(), f"/blobs/sha256/{blob.name}"
    assert ask(served, path)[::2] == (200, data)
    assert ask(served, path, Range="bytes=10-")[::2] == (206, data[10:])
    status_, headers, body = ask(served, path, Range="bytes=10-19")
    assert (status_, body, headers["Content-Range"]) == (206, data[10:20], f"bytes 10-19/{len(data)}")
    assert ask(served, path, Range=f"bytes={len(data)}-")[0] == 416
    assert ask(served, path, "HEAD")[1]["Content-Length"] == str(len(data))
    assert ask(served, path, "HEAD")[2] == b""


@pytest.mark.parametrize(
    "path",
    ["/", "/metadata", "/metadata/", "/.lock", "/nothing", "/../keys/root.pem", "/metadata/../../keys/root.pem",
     "/metadata/%2e%2e/%2e%2e/keys/root.pem", "/metadata/%00", "//etc/passwd", "/targets/link"],
)  # fmt: skip
def test_nothing_else_is_served(shop: Shop, served: str, path: str) -> None:
    (shop.registry / "targets" / "link").symlink_to(shop.keys.folder / "root.pem")
    assert ask(served, path)[0] == 404


def test_a_port_in_use_is_told(shop: Shop) -> None:
    with RegistryServer(shop.registry) as first, pytest.raises(InputError, match=r"port \d+ of 127\.0\.0\.1 is in use"):
        RegistryServer(shop.registry, port=first.port)


def test_a_folder_that_is_no_registry_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no registry"):
        RegistryServer(tmp_path)


def test_it_signs_anew_while_it_serves(shop: Shop) -> None:
    signed = threading.Event()
    with RegistryServer(shop.registry, keys=shop.keys, refresh_every=timedelta(milliseconds=50)):
        for _ in range(100):
            if {role.role: role.version for role in status(shop.registry).roles}["timestamp"] >= 3:
                signed.set()
                break
            threading.Event().wait(0.05)
    assert signed.is_set()


def test_it_ends_without_threads_left(shop: Shop) -> None:
    before = set(threading.enumerate())
    server = RegistryServer(shop.registry, keys=shop.keys)
    with server:
        assert ask(server.url, "/metadata/timestamp.json")[0] == 200
    server.close()
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("lookout-registry")]
