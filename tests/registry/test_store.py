from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import DigestMismatch, StorageError
from agent.registry.bring import bring
from agent.registry.store import Collected, Store
from agent.types import Digest
from tests.fakes.registry import Shop


@pytest.fixture
def digest(shop: Shop) -> Digest:
    """A release that is in the store."""
    shop.publish()
    return Digest(bring(shop.access(), "tiny:1.0.0", lambda _: None).digest)


def blob(shop: Shop, digest: Digest, index: int = 0) -> Path:
    release = shop.store.release(digest)
    assert release is not None
    return release.path(release.manifest.files[index])


def test_an_empty_store_has_nothing_and_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.releases() == ()
    assert store.release(Digest("0" * 64)) is None
    assert store.collect(set()) == Collected(0, 0, 0)
    assert not (tmp_path / "store").exists()


def test_a_release_is_present_only_when_all_its_blobs_are(shop: Shop, digest: Digest) -> None:
    release = shop.store.release(digest)
    assert release is not None
    assert (release.id.model, release.id.version, release.id.digest) == ("tiny", "1.0.0", digest)
    assert shop.store.releases() == (release,)
    release.path(release.manifest.files[1]).unlink()
    assert shop.store.release(digest) is None
    assert shop.store.releases() == ()


def test_a_truncated_blob_makes_the_release_absent(shop: Shop, digest: Digest) -> None:
    path = blob(shop, digest)
    path.write_bytes(path.read_bytes()[:-1])
    assert shop.store.release(digest) is None
    with pytest.raises(StorageError, match="not whole"):
        shop.store.verify(digest)


def test_a_flipped_bit_on_disk_is_noticed_by_verify_and_mended_by_a_fetch(shop: Shop, digest: Digest) -> None:
    path = blob(shop, digest)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert shop.store.release(digest) is not None
    with pytest.raises(DigestMismatch, match=r"model\.onnx of tiny:1\.0\.0 is damaged on disk"):
        shop.store.verify(digest)
    bring(shop.access(), "tiny:1.0.0", lambda _: None)
    assert shop.store.verify(digest).id.digest == digest


def test_a_damaged_manifest_makes_the_release_absent(shop: Shop, digest: Digest) -> None:
    path = shop.state / "store" / "releases" / f"{digest}.json"
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tinx"))
    assert shop.store.release(digest) is None


def test_the_manifests_bytes_are_kept_as_they_were_signed(shop: Shop, digest: Digest) -> None:
    signed = next((shop.registry / "targets").rglob(f"{digest}.manifest.json")).read_bytes()
    assert (shop.state / "store" / "releases" / f"{digest}.json").read_bytes() == signed


def test_collecting_keeps_what_it_is_told_and_files_that_are_shared(shop: Shop, digest: Digest) -> None:
    shop.publish("1.1.0")  # the same model file under another manifest
    other = Digest(bring(shop.access(), "tiny:1.1.0", lambda _: None).digest)
    gone = shop.store.collect({digest})
    assert (gone.releases, gone.files) == (1, 0)
    assert shop.store.release(digest) is not None
    assert shop.store.release(other) is None
    gone = shop.store.collect(set())
    assert (gone.releases, gone.files) == (1, 2)
    assert gone.freed_bytes > 2000
    assert list((shop.state / "store" / "blobs" / "sha256").iterdir()) == []


def test_nothing_is_collected_while_a_fetch_holds_the_store(shop: Shop, digest: Digest) -> None:
    with shop.store.exclusive(wait=True):
        assert Store(shop.state / "store").collect(set()) == Collected(0, 0, 0)
    assert shop.store.release(digest) is not None
