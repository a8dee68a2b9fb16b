"""The fetch process, really started: its answers, its errors as the same classes, its end."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent import errors
from agent.deploy.clockfloor import TrustedClock
from agent.deploy.journal import Journal
from agent.deploy.ledger import TrustLedger
from agent.errors import ChildDied, DigestMismatch, LookoutError, NotProvisioned, RegistryUnreachable, TrustError
from agent.process.child import Spawner
from agent.process.messages import Error, Progress
from agent.registry.client import FetchCancelled, FetchClient, error_of
from tests.fakes.registry import Shop
from tests.registry.hostile import HostileHandler, hostile, took_less_than
from tools.registry.serve import RegistryServer


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner(lambda _name, _line: None)
    yield made
    made.close()
    assert not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def client(shop: Shop, spawner: Spawner, url: str | None = None, **access: object) -> FetchClient:
    return FetchClient(spawner, shop.access(url, **access), shop.store)


def fetch(made: FetchClient, reference: str = "tiny:1.0.0", cancel: threading.Event | None = None) -> object:
    return made.fetch(reference, on_progress=lambda _: None, cancel=cancel or threading.Event())


def test_a_release_comes_through_the_process(shop: Shop, spawner: Spawner, served: str) -> None:
    published = shop.publish(channel="stable")
    seen: list[Progress] = []
    release, versions = client(shop, spawner, served).fetch(
        "tiny@stable", on_progress=seen.append, cancel=threading.Event()
    )
    assert release.id.digest == published.digest
    assert versions["targets"] == 2
    assert {progress.stage for progress in seen} == {"resolving", "fetching"}
    assert seen[-1].done_bytes == published.size_bytes


def test_errors_cross_the_process_as_the_same_class(shop: Shop, spawner: Spawner) -> None:
    blob = shop.blob(shop.publish())
    blob.write_bytes(blob.read_bytes()[:-1])
    made = client(shop, spawner)
    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        fetch(made)
    with pytest.raises(errors.ReferenceError, match="no model 'ghost'"):
        fetch(made, "ghost:1.0.0")
    (shop.state / "registry" / "root.json").unlink()
    with pytest.raises(NotProvisioned):
        fetch(made)


def test_a_reference_that_is_none_starts_no_process(shop: Shop, spawner: Spawner) -> None:
    spawner.close()
    with pytest.raises(errors.ReferenceError):
        fetch(client(shop, spawner), "nonsense")


def dripping_headers(handler: HostileHandler) -> bool:
    """An answer whose headers never end: no timeout of a socket notices."""
    handler.drip(b"H", 0.05)
    return True


def test_endless_headers_end_by_the_deadline(shop: Shop, spawner: Spawner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.registry.client.GRACE_S", 0.2)
    in_time = took_less_than(6)
    with hostile(shop.registry, dripping_headers) as url, pytest.raises(RegistryUnreachable, match="within 1 s"):
        fetch(client(shop, spawner, url, total_timeout_s=1.0))
    in_time()


def test_a_cancelled_fetch_ends_at_once_and_leaves_the_store_as_it_was(shop: Shop, spawner: Spawner) -> None:
    asked, cancel = threading.Event(), threading.Event()

    def hold(handler: HostileHandler) -> bool:
        asked.set()
        handler.drip(b"", 0.05)
        return True

    def cancel_once_asked() -> None:
        asked.wait(20)
        cancel.set()

    canceller = threading.Thread(target=cancel_once_asked)
    canceller.start()
    with hostile(shop.registry, hold) as url, pytest.raises(FetchCancelled):
        fetch(client(shop, spawner, url), cancel=cancel)
    canceller.join()
    assert shop.store.releases() == ()


def test_a_killed_fetch_process_is_told_and_the_next_fetch_works(shop: Shop, spawner: Spawner) -> None:
    shop.publish()
    killed = threading.Event()

    def kill_reader(handler: HostileHandler) -> bool:
        if not handler.path.startswith("/blobs") or killed.is_set():
            return False
        for child in psutil.Process().children():
            child.kill()
        killed.set()
        return False

    with hostile(shop.registry, kill_reader) as url:
        made = client(shop, spawner, url)
        with pytest.raises(ChildDied, match="SIGKILL"):
            fetch(made)
        assert shop.store.releases() == ()
        fetch(made)
    assert len(shop.store.releases()) == 1


def test_the_agents_side_of_a_fetch_imports_no_tuf_and_no_requests(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, agent.registry.client, agent.registry.store, agent.registry.index\n"
        "bad = {'tuf', 'requests', 'securesystemslib', 'cv2', 'onnxruntime', 'onnx', 'urllib3'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("klass", [errors.ManifestError, errors.MetadataExpired, errors.StorageError, LookoutError])
def test_every_code_gives_its_own_class_back(klass: type[LookoutError]) -> None:
    error = error_of(Error(klass.code, "why", "a.b"))
    assert (type(error), error.message, error.field) == (klass, "why", "a.b")


def test_an_unknown_code_is_an_error_of_the_root_class() -> None:
    assert type(error_of(Error("from-the-future", "why"))) is LookoutError


def test_time_of_a_fetch(shop: Shop, spawner: Spawner, served: str) -> None:
    """A generous bound: about half a second here, most of it imports."""
    shop.publish()
    began = time.monotonic()
    fetch(client(shop, spawner, served))
    assert time.monotonic() - began < 15


# --- what the journal remembers --------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


def remembering(shop: Shop, spawner: Spawner, journal: Journal, url: str) -> FetchClient:
    ledger = TrustLedger(journal, TrustedClock(journal, trust=True))
    return FetchClient(spawner, shop.access(url), shop.store, ledger)


def test_the_journal_outlives_tufs_files_and_an_old_registry_is_refused(
    shop: Shop, spawner: Spawner, served: str, journal: Journal, tmp_path: Path
) -> None:
    shop.publish()
    old = tmp_path / "old"
    shutil.copytree(shop.registry, old)
    shop.publish("1.1.0")
    fetch(remembering(shop, spawner, journal, served), "tiny:1.1.0")
    assert journal.versions()["timestamp"] == 3
    assert journal.clock_floor_ms() > 0
    shutil.rmtree(shop.state / "registry" / "tuf")
    with RegistryServer(old) as server:
        made = remembering(shop, spawner, journal, server.url)
        with pytest.raises(TrustError, match="journal holds"):
            fetch(made)
        assert made.distrust is not None
    fetch(remembering(shop, spawner, journal, served), "tiny:1.1.0")


def test_versions_are_journalled_even_when_the_release_itself_fails(
    shop: Shop, spawner: Spawner, served: str, journal: Journal
) -> None:
    shop.blob(shop.publish()).write_bytes(b"damaged")
    made = remembering(shop, spawner, journal, served)
    with pytest.raises(DigestMismatch):
        fetch(made)
    assert journal.versions()["targets"] == 2
    assert made.distrust is None  # one file's fault says nothing against the registry


def test_a_survey_brings_answers_and_no_release(shop: Shop, spawner: Spawner, served: str, journal: Journal) -> None:
    published = shop.publish(channel="stable")
    made = remembering(shop, spawner, journal, served)
    found = made.survey(["tiny@stable"], ["tiny:1.0.0"], timeout_s=20, cancel=threading.Event())
    assert found.resolved["tiny@stable"].digest == published.digest
    assert found.yanked == {}
    assert shop.store.releases() == ()
    assert journal.versions()["timestamp"] == 2
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(FetchCancelled):
        made.survey(["tiny@stable"], [], timeout_s=20, cancel=cancelled)
