"""From a signed registry into the store, over real HTTP and over a folder, against every way to be deceived."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from agent import errors
from agent.errors import (
    DigestMismatch,
    LookoutError,
    ManifestError,
    MetadataExpired,
    NotProvisioned,
    RegistryUnreachable,
    StorageError,
    TrustError,
)
from agent.process.messages import Fetched, Progress
from agent.registry import layout
from agent.registry.bring import bring
from agent.types import Digest
from tests.fakes.registry import Shop
from tests.registry.hostile import HostileHandler, hostile
from tools.registry.maintain import refresh, set_channel
from tools.registry.publish import Published
from tools.registry.repository import Lifetimes, Repository, exclusive, utc_now


@pytest.fixture(params=["http", "file"])
def url(request: pytest.FixtureRequest, shop: Shop) -> str:
    """Both roads to the same registry."""
    return str(request.getfixturevalue("served")) if request.param == "http" else shop.registry.as_uri()


def fetch(shop: Shop, reference: str = "tiny:1.0.0", url: str | None = None, **access: object) -> Fetched:
    return bring(shop.access(url, **access), reference, lambda _: None)


def refused(shop: Shop, kind: type[LookoutError], says: str, *, url: str | None = None, **access: object) -> None:
    """The fetch fails with this error, and nothing of it is in the store."""
    with pytest.raises(kind, match=says) as caught:
        fetch(shop, url=url, **access)
    assert type(caught.value) is kind or kind is RegistryUnreachable
    assert shop.store.releases() == ()


def damage(path: Path, change: str) -> None:
    data = bytearray(path.read_bytes())
    if change == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[:-1] if change == "truncated" else data + b"x" if change == "longer" else data)


# --- the good road -----------------------------------------------------------------------------------------------


def test_a_published_release_is_whole_in_the_store(shop: Shop, url: str) -> None:
    published = shop.publish(check=True, channel="stable")
    fetched = fetch(shop, "tiny@stable", url)
    assert (fetched.model, fetched.version, fetched.digest) == ("tiny", "1.0.0", published.digest)
    assert fetched.metadata_versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    release = shop.store.verify(published.digest)
    for entry in release.manifest.files:
        assert release.path(entry).read_bytes() == (shop.folder / "drafts/1.0.0" / entry.path).read_bytes()


def test_versions_channels_and_ranges_are_resolved_by_the_signed_index(shop: Shop, served: str) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        shop.publish(version)
    set_channel(shop.registry, shop.keys, "tiny", "stable", "1.1.0")
    assert fetch(shop, "tiny@stable", served).version == "1.1.0"
    assert fetch(shop, "tiny@^1.0.0", served).version == "1.1.0"
    assert fetch(shop, "tiny@*", served).version == "2.0.0"
    set_channel(shop.registry, shop.keys, "tiny", "stable", "1.0.0")  # a channel may go back
    assert fetch(shop, "tiny@stable", served).version == "1.0.0"


def test_a_second_fetch_transfers_no_file_again(shop: Shop) -> None:
    shop.publish()
    asked: list[str] = []

    def note(handler: HostileHandler) -> bool:
        asked.append(handler.path)
        return False

    with hostile(shop.registry, note) as url:
        fetch(shop, url=url)
        first = [path for path in asked if path.startswith("/blobs/")]
        asked.clear()
        fetch(shop, url=url)
    assert len(first) == 2
    assert not [path for path in asked if path.startswith("/blobs/")]


def test_progress_counts_up_to_the_whole(shop: Shop) -> None:
    published = shop.publish()
    seen: list[Progress] = []
    bring(shop.access(), "tiny:1.0.0", seen.append)
    assert seen[0].stage == "resolving"
    counts = [progress.done_bytes for progress in seen if progress.stage == "fetching"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], seen[-1].total_bytes) == (0, published.size_bytes, published.size_bytes)


@pytest.mark.parametrize("known", [True, False], ids=["ranges", "no ranges"])
def test_a_broken_transfer_goes_on_where_it_stopped(shop: Shop, known: bool) -> None:
    published = shop.publish()
    blob = shop.blob(published)
    data = blob.read_bytes()
    ranges: list[str | None] = []

    def break_once(handler: HostileHandler) -> bool:
        if not handler.path.endswith(blob.name):
            return False
        ranges.append(handler.headers["Range"])
        if len(ranges) > 1:
            if not known:
                del handler.headers["Range"]
            return False
        handler.head(Content_Length=str(len(data)))
        handler.wfile.write(data[:1000])
        handler.close_connection = True
        return True

    with hostile(shop.registry, break_once) as url:
        fetch(shop, url=url)
    assert ranges == [None, "bytes=1000-"]
    shop.store.verify(published.digest)


def test_what_an_earlier_fetch_left_is_hashed_before_it_is_trusted(shop: Shop, url: str) -> None:
    published = shop.publish()
    blob = shop.blob(published)
    shop.store.make_folders()
    partial = shop.store.partial / blob.name
    partial.write_bytes(b"\0" * 500)  # as a power cut leaves it
    (shop.store.partial / ("f" * 64)).write_bytes(b"of a release nobody wants any more")
    fetch(shop, url=url)
    shop.store.verify(published.digest)
    assert list(shop.store.partial.iterdir()) == []


# --- files that are not what was signed -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["flipped", "truncated", "longer"])
@pytest.mark.parametrize("name", ["model.onnx", "golden/1.png"])
def test_a_file_that_is_not_the_signed_one_is_refused_by_name(shop: Shop, url: str, change: str, name: str) -> None:
    damage(shop.blob(shop.publish(), name), change)
    refused(shop, DigestMismatch, name.replace(".", r"\."), url=url)


def test_a_damaged_release_does_not_touch_the_one_that_is_there(shop: Shop, url: str) -> None:
    good = fetch(shop, url=url) if shop.publish() else None
    from tests.fakes.models import nan_model

    damage(shop.blob(shop.publish("1.1.0", write=nan_model)), "flipped")
    with pytest.raises(DigestMismatch):
        fetch(shop, "tiny:1.1.0", url)
    assert good is not None
    assert [release.id.digest for release in shop.store.releases()] == [good.digest]


@pytest.mark.parametrize("name", ["manifest.json", "index.json"])
def test_a_changed_manifest_or_index_is_refused(shop: Shop, url: str, name: str) -> None:
    shop.publish()
    for path in (shop.registry / "targets").rglob(f"*.{name}"):
        damage(path, "flipped")
    refused(shop, DigestMismatch, name.replace(".", r"\."), url=url)


def test_a_missing_file_of_a_release_is_named(shop: Shop) -> None:
    shop.blob(shop.publish()).unlink()
    refused(shop, RegistryUnreachable, r"model\.onnx is missing")


def sign_anyway(shop: Shop, published: Published, manifest: bytes) -> None:
    """Sign a manifest that no tool of ours would: a publisher's key in wrong hands."""
    with exclusive(shop.registry):
        repository = Repository.load(shop.registry)
        repository.add_target(layout.manifest_target(published.model, published.version), manifest)
        repository.sign_targets(shop.keys, shop.lifetimes, utc_now())


@pytest.mark.parametrize("path", ["../../../outside", "/tmp/outside", "a/../../outside"])
def test_a_signed_manifest_cannot_name_a_file_outside(shop: Shop, path: str) -> None:
    published = shop.publish()
    fields = json.loads(next((shop.registry / "targets").rglob("*.manifest.json")).read_bytes())
    fields["variants"][0]["file"]["path"] = path
    sign_anyway(shop, published, json.dumps(fields).encode())
    refused(shop, ManifestError, "must be relative")


def test_a_signed_manifest_of_another_version_is_refused(shop: Shop) -> None:
    published = shop.publish()
    fields = json.loads(next((shop.registry / "targets").rglob("*.manifest.json")).read_bytes())
    sign_anyway(shop, published, json.dumps({**fields, "version": "0.0.1"}).encode())
    refused(shop, DigestMismatch, r"is the manifest of tiny:0\.0\.1")


# --- metadata that is not believed ----------------------------------------------------------------------------------


def test_an_unprovisioned_device_says_what_to_do(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.publish()
    refused(shop, NotProvisioned, "lookout provision --root")


def test_another_registrys_metadata_is_refused(shop: Shop, tmp_path: Path) -> None:
    foreign = Shop(tmp_path / "foreign")
    foreign.publish()
    refused(shop, TrustError, "not signed by the keys", url=foreign.registry.as_uri())


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_expired_metadata_is_refused_and_what_is_stored_stays(tmp_path: Path, role: str) -> None:
    shop = Shop(tmp_path, lifetimes=Lifetimes(**{role: timedelta(days=-1)}))
    shop.provision()
    shop.publish()
    refused(shop, MetadataExpired, f"{role}.*expired.*lookout registry refresh.*clock")


def test_metadata_that_expires_later_is_refused_and_refresh_mends_it(shop: Shop) -> None:
    published = shop.publish()
    fetch(shop)
    refresh(shop.registry, shop.keys, lifetimes=Lifetimes(timestamp=timedelta(seconds=-1)))
    with pytest.raises(MetadataExpired):
        fetch(shop)
    assert shop.store.verify(published.digest)
    refresh(shop.registry, shop.keys)
    assert fetch(shop).metadata_versions["timestamp"] == 4


def test_an_older_registry_than_was_seen_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.publish()
    old = tmp_path / "old"
    shutil.copytree(shop.registry, old)
    shop.publish("1.1.0")
    fetch(shop, "tiny:1.1.0")
    with pytest.raises(TrustError, match="older metadata than this device has seen"):
        fetch(shop, "tiny:1.0.0", old.as_uri())


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_tampered_metadata_is_refused(shop: Shop, url: str, name: str) -> None:
    shop.publish()
    path = shop.registry / "metadata" / name
    data = path.read_bytes()
    assert b'"version":2' in data
    path.write_bytes(data.replace(b'"version":2', b'"version":9'))
    refused(shop, TrustError, "metadata of", url=url)


def test_metadata_without_a_signature_is_refused(shop: Shop) -> None:
    shop.publish()
    path = shop.registry / "metadata" / "timestamp.json"
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps({**fields, "signatures": []}))
    refused(shop, TrustError, "not signed by the keys")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff" * 100, b" " * 20_000], ids=range(5))
def test_metadata_that_is_none_is_refused(shop: Shop, data: bytes) -> None:
    shop.publish()
    (shop.registry / "metadata" / "timestamp.json").write_bytes(data)
    refused(shop, TrustError, "metadata of")


def test_a_damaged_anchor_is_told(shop: Shop) -> None:
    shop.publish()
    (shop.state / "registry" / "root.json").write_text("{}")
    refused(shop, TrustError, "no valid root of trust")


def test_damaged_files_of_tuf_are_replaced(shop: Shop) -> None:
    shop.publish()
    fetch(shop)
    for path in (shop.state / "registry" / "tuf").glob("*.json"):
        path.write_bytes(b"damaged")
    assert fetch(shop).version == "1.0.0"


# --- a registry that is not there ---------------------------------------------------------------------------------


def test_a_registry_that_is_away_is_told_with_its_address(shop: Shop) -> None:
    refused(shop, RegistryUnreachable, "127.0.0.1:9/.*cannot be reached", url="http://127.0.0.1:9")
    refused(shop, RegistryUnreachable, "no whole registry at file:///nowhere", url="file:///nowhere")


def test_a_server_without_a_registry_is_told(shop: Shop, tmp_path: Path) -> None:
    with hostile(tmp_path, lambda _: False) as url:
        refused(shop, RegistryUnreachable, "no whole registry at http", url=url)


def test_a_redirecting_registry_is_not_followed(shop: Shop) -> None:
    shop.publish()

    def redirect(handler: HostileHandler) -> bool:
        handler.head(302, Location="http://evil.example/", Content_Length="0")
        return True

    with hostile(shop.registry, redirect) as url:
        refused(shop, RegistryUnreachable, "redirects", url=url)


def test_endless_metadata_is_cut_off(shop: Shop) -> None:
    shop.publish()

    def endless(handler: HostileHandler) -> bool:
        if not handler.path.endswith("timestamp.json"):
            return False
        handler.head()
        handler.drip(b"x" * 65536, 0)
        return True

    with hostile(shop.registry, endless) as url:
        refused(shop, TrustError, "exceeding the maximum allowed length", url=url)


def test_an_endless_file_is_cut_off(shop: Shop) -> None:
    shop.publish()

    def endless(handler: HostileHandler) -> bool:
        if not handler.path.startswith("/blobs"):
            return False
        handler.head()
        handler.drip(b"x" * 65536, 0)
        return True

    with hostile(shop.registry, endless) as url:
        refused(shop, DigestMismatch, r"model\.onnx.*longer than", url=url)
    assert sum(path.stat().st_size for path in shop.store.partial.iterdir()) < 10_000


def test_a_registry_that_drips_ends_by_the_deadline(shop: Shop) -> None:
    shop.publish()

    def drip(handler: HostileHandler) -> bool:
        if not handler.path.startswith("/blobs"):
            return False
        handler.head(Content_Length="2000")
        handler.drip(b"x", 0.05)
        return True

    with hostile(shop.registry, drip) as url:
        refused(shop, RegistryUnreachable, "whole fetch", url=url, total_timeout_s=1.0)


# --- references, room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("ghost:1.0.0", "the registry has no model 'ghost'"),
        ("tiny:9.0.0", "9.0.0 does not exist; tiny has 1.0.0"),
        ("tiny@beta", "no channel 'beta'"),
        ("tiny@^7", "no version lies in that range"),
        ("nonsense", "write name:version"),
    ],
)
def test_a_reference_to_nothing_is_refused(shop: Shop, reference: str, says: str) -> None:
    shop.publish()
    with pytest.raises(errors.ReferenceError, match=says.replace("^", r"\^")):
        fetch(shop, reference)


def test_a_yanked_version_is_refused_with_its_reason(shop: Shop) -> None:
    shop.publish()
    with exclusive(shop.registry):
        repository = Repository.load(shop.registry)
        index = repository.index("tiny")
        assert index is not None
        repository.add_index(index.with_yanked("1.0.0", "sees ghosts"))
        repository.sign_targets(shop.keys, shop.lifetimes, utc_now())
    refused(shop, errors.ReferenceError, "sees ghosts")


def test_a_disk_without_room_says_how_much_is_missing(shop: Shop) -> None:
    shop.publish()
    free = os.statvfs(shop.folder).f_bavail * os.statvfs(shop.folder).f_frsize
    refused(shop, StorageError, r"lacks \d+\.\d MB", free_floor_bytes=free + 50_000_000)
    assert not list(shop.store.partial.iterdir())


def test_a_file_larger_than_the_device_takes_is_refused(shop: Shop) -> None:
    shop.publish()
    refused(shop, StorageError, r"model\.onnx.*registry\.max_file_mb", max_file_bytes=1000)


def test_a_store_that_cannot_be_written_is_told(shop: Shop) -> None:
    shop.publish()
    (shop.state / "store").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="check the state folder"):
        bring(shop.access(), "tiny:1.0.0", lambda _: None)


def test_the_digest_is_that_of_the_manifest(shop: Shop) -> None:
    published = shop.publish()
    assert Digest(fetch(shop).digest) == published.digest
