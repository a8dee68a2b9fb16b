"""Every attack on a registry that TUF's authors name, and some on the transport: each its own test, over real HTTP.

The device is told apart from the attacker's registry by nothing but what it was provisioned with and what it has seen.
In every case the fetch is refused in words, in bounded time and bytes, and the store holds what it held before.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import resource
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DigestMismatch, LookoutError, ManifestError, MetadataExpired, RegistryUnreachable, TrustError
from agent.process.messages import Fetched, Refreshed
from agent.registry import layout
from agent.registry.bring import bring
from tests.fakes.registry import Shop, no_passphrase
from tests.registry.hostile import HostileHandler, Misbehave, hostile, took_less_than
from tools.registry.keys import Keys
from tools.registry.maintain import refresh
from tools.registry.publish import Published
from tools.registry.repository import Lifetimes, Repository, exclusive, signed_bytes, utc_now
from tools.registry.rotate import rotate
from tools.registry.serve import RegistryServer


class Victim:
    """A device that remembers, as the journal does, what it has seen."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.seen: dict[str, int] = {}
        self.anchor = ""

    def fetch(self, url: str, reference: str = "tiny:1.0.0", **access: Any) -> Fetched:
        wanted = self.shop.access(url, seen_versions=self.seen, seen_anchor=self.anchor, **access)
        return bring(wanted, reference, lambda _: None, self._note)

    def _note(self, news: Refreshed) -> None:
        self.seen, self.anchor = dict(news.metadata_versions), news.anchor

    def forget_tuf(self) -> None:
        """Lose TUF's own files, as a broken card or a clever hand does; the journal stays."""
        shutil.rmtree(self.shop.state / "registry" / "tuf")

    def refuses(self, url: str, kind: type[LookoutError], says: str, **access: Any) -> None:
        """The fetch fails with this error, in bounded time, and the store is as it was."""
        before, seen = self.shop.store.releases(), dict(self.seen)
        in_time = took_less_than(15)
        with pytest.raises(kind, match=says):
            self.fetch(url, **access)
        in_time()
        assert self.shop.store.releases() == before
        assert all(self.seen.get(role, 0) >= version for role, version in seen.items())


@pytest.fixture
def victim(shop: Shop) -> Victim:
    return Victim(shop)


@pytest.fixture
def seasoned(shop: Shop, served: str) -> Victim:
    """A device that has fetched tiny:1.0.0 and holds it."""
    victim = Victim(shop)
    shop.publish()
    victim.fetch(served)
    return victim


@contextlib.contextmanager
def copy_served(shop: Shop, folder: Path) -> Iterator[tuple[Path, str]]:
    """Serve a copy of the registry as it is now; the attacker's to change."""
    shutil.copytree(shop.registry, folder)
    with RegistryServer(folder) as server:
        yield folder, server.url


def edit(path: Path, **signed: Any) -> None:
    """Change signed fields without signing."""
    data = json.loads(path.read_bytes())
    data["signed"] |= signed
    path.write_text(json.dumps(data))


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_tampered_metadata(victim: Victim, served: str, role: str) -> None:
    victim.shop.publish()
    edit(victim.shop.registry / "metadata" / f"{role}.json", expires="2099-01-01T00:00:00Z")
    victim.refuses(served, TrustError, "not signed by the keys|is not valid")


def test_tampered_blob(victim: Victim, served: str) -> None:
    blob = victim.shop.blob(victim.shop.publish())
    data = bytearray(blob.read_bytes())
    data[100] ^= 0xFF
    blob.write_bytes(data)
    victim.refuses(served, DigestMismatch, r"model\.onnx.*SHA-256 differs")


def test_truncated_file(victim: Victim, served: str) -> None:
    blob = victim.shop.blob(victim.shop.publish())
    blob.write_bytes(blob.read_bytes()[:-1])
    victim.refuses(served, DigestMismatch, r"model\.onnx.*bytes long")


def test_file_of_the_wrong_length(victim: Victim, served: str) -> None:
    blob = victim.shop.blob(victim.shop.publish())
    blob.write_bytes(blob.read_bytes() + b"tail")
    victim.refuses(served, DigestMismatch, r"model\.onnx.*longer than")


def test_answer_that_lies_about_its_length(victim: Victim) -> None:
    victim.shop.publish()

    def lie(handler: HostileHandler) -> bool:
        if not handler.path.startswith("/blobs"):
            return False
        handler.head(Content_Length="10")
        handler.wfile.write(b"x" * 10)
        return True

    with hostile(victim.shop.registry, lie) as url:
        victim.refuses(url, DigestMismatch, "10 bytes long")


def test_another_signed_files_bytes_in_its_place(victim: Victim, served: str) -> None:
    published = victim.shop.publish()
    shutil.copyfile(victim.shop.blob(published, "golden/1.png"), victim.shop.blob(published))
    victim.refuses(served, DigestMismatch, r"model\.onnx")


# --- time: rollback, freeze, mixtures --------------------------------------------------------------------------------


def test_rollback_to_an_old_timestamp(seasoned: Victim, tmp_path: Path) -> None:
    shop = seasoned.shop
    with copy_served(shop, tmp_path / "old") as (_, old):
        with RegistryServer(shop.registry) as server:
            shop.publish("1.1.0")
            seasoned.fetch(server.url, "tiny:1.1.0")
        seasoned.refuses(old, TrustError, "older metadata than this device has seen")


def test_old_registry_after_tufs_files_were_deleted(seasoned: Victim, tmp_path: Path) -> None:
    """Only the journal knows better."""
    shop = seasoned.shop
    with copy_served(shop, tmp_path / "old") as (_, old), RegistryServer(shop.registry) as server:
        shop.publish("1.1.0")
        seasoned.fetch(server.url, "tiny:1.1.0")
        seasoned.forget_tuf()
        seasoned.refuses(old, TrustError, "older metadata than this device has seen.*journal holds")
        assert seasoned.fetch(server.url, "tiny:1.1.0").version == "1.1.0"  # and the real one heals it


def test_old_root_after_tufs_files_were_deleted(seasoned: Victim, tmp_path: Path) -> None:
    """The keys of an old root may have been stolen since: a device never goes back behind a root it has seen."""
    shop = seasoned.shop
    with copy_served(shop, tmp_path / "old") as (folder, old):
        with RegistryServer(shop.registry) as server:
            rotate(shop.registry, shop.keys, ["timestamp"])
            seasoned.fetch(server.url)
        seasoned.forget_tuf()
        stolen = Keys(tmp_path / "stolen", no_passphrase)
        shutil.copytree(shop.keys.folder, stolen.folder)
        for _ in range(9):  # the thief counts as far as he likes
            refresh(folder, stolen)
        seasoned.refuses(old, TrustError, "'root' has version 1, the device's journal holds 2")


def test_frozen_timestamp_past_its_expiry(victim: Victim, served: str) -> None:
    victim.shop.publish()
    victim.fetch(served)
    refresh(victim.shop.registry, victim.shop.keys, lifetimes=Lifetimes(timestamp=timedelta(seconds=1)))
    time.sleep(1.1)
    victim.refuses(served, MetadataExpired, "expired.*lookout registry refresh")


def test_mixed_snapshot(seasoned: Victim, served: str, tmp_path: Path) -> None:
    """A new timestamp over an old snapshot: the parts are genuine, their mixture is not."""
    shop = seasoned.shop
    old = (shop.registry / "metadata" / "2.snapshot.json").read_bytes()
    shop.publish("1.1.0")
    (shop.registry / "metadata" / "3.snapshot.json").write_bytes(old)
    seasoned.refuses(served, TrustError, "metadata of")


def test_mixed_targets(seasoned: Victim, served: str) -> None:
    shop = seasoned.shop
    old = (shop.registry / "metadata" / "2.targets.json").read_bytes()
    shop.publish("1.1.0")
    (shop.registry / "metadata" / "3.targets.json").write_bytes(old)
    seasoned.refuses(served, TrustError, "metadata of")


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_missing_signature(victim: Victim, served: str, role: str) -> None:
    victim.shop.publish()
    path = victim.shop.registry / "metadata" / f"{role}.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "signatures": []}))
    victim.refuses(served, TrustError, "metadata of")


def test_threshold_not_met(victim: Victim, served: str) -> None:
    """Root 2 wants two of three root keys; root 3 comes with one of them."""
    shop = victim.shop
    shop.publish()
    rotate(shop.registry, shop.keys, ["root"], root_keys=3, root_threshold=2)
    victim.fetch(served)
    root = Repository.load(shop.registry).root
    signers = shop.keys.signers("root", root.roles["root"].keyids, 2)
    root.version += 1
    (shop.registry / "metadata" / "3.root.json").write_bytes(signed_bytes(root, signers[:1]))
    victim.refuses(served, TrustError, "not signed by the keys")
    (shop.registry / "metadata" / "3.root.json").write_bytes(signed_bytes(root, signers[:2]))
    assert victim.fetch(served).metadata_versions["root"] == 3


def test_one_key_signing_twice_is_one_signature(victim: Victim, served: str) -> None:
    shop = victim.shop
    shop.publish()
    rotate(shop.registry, shop.keys, ["root"], root_keys=2, root_threshold=2)
    path = shop.registry / "metadata" / "2.root.json"
    data = json.loads(path.read_bytes())
    one = next(each for each in data["signatures"] if each["keyid"] in data["signed"]["roles"]["root"]["keyids"])
    old = [each for each in data["signatures"] if each["keyid"] not in data["signed"]["roles"]["root"]["keyids"]]
    path.write_text(json.dumps({**data, "signatures": [*old, one, one]}))
    victim.refuses(served, TrustError, "metadata of")


def test_key_rotated_away(seasoned: Victim, served: str, tmp_path: Path) -> None:
    """Whoever holds the old timestamp key signs on; the device has seen the root that took it away."""
    shop = seasoned.shop
    stolen = Keys(tmp_path / "stolen", no_passphrase)
    shutil.copytree(shop.keys.folder, stolen.folder)
    rotate(shop.registry, shop.keys, ["timestamp"])
    seasoned.fetch(served)
    repository = Repository.load(shop.registry)
    thief = stolen.signers("timestamp", Repository.load(shop.registry).root.keys.keys() | _all_ids(shop), 1)
    repository.timestamp.version += 5
    (shop.registry / "metadata" / "timestamp.json").write_bytes(signed_bytes(repository.timestamp, thief))
    seasoned.refuses(served, TrustError, "not signed by the keys")


def _all_ids(shop: Shop) -> set[str]:
    """The ids of every key that any root ever named."""
    roots = (shop.registry / "metadata").glob("*.root.json")
    return {key for path in roots for key in json.loads(path.read_bytes())["signed"]["keys"]}


def test_versions_run_up_with_a_stolen_key_end_with_the_key(seasoned: Victim, served: str, tmp_path: Path) -> None:
    """Fast-forward: a thief counts to a million so that the true registry looks old; new keys begin anew."""
    shop = seasoned.shop
    with copy_served(shop, tmp_path / "thief") as (folder, theirs):
        with exclusive(folder):
            repository = Repository.load(folder)
            repository.timestamp.version = repository.snapshot.version = 1_000_000
            repository.sign_online(shop.keys, Lifetimes(), utc_now())
        seasoned.fetch(theirs)
    assert seasoned.seen["timestamp"] == 1_000_001
    seasoned.refuses(served, TrustError, "older metadata than this device has seen")
    rotate(shop.registry, shop.keys, ["timestamp", "snapshot"])
    for forget in (False, True):
        if forget:
            seasoned.forget_tuf()
        assert seasoned.fetch(served).metadata_versions["timestamp"] < 10


def test_root_rotated_three_versions_at_once(seasoned: Victim, served: str) -> None:
    """A device that slept through three roots follows them one by one; every role has new keys by then."""
    shop = seasoned.shop
    rotate(shop.registry, shop.keys, ["root"])
    rotate(shop.registry, shop.keys, ["root", "targets"], root_keys=3, root_threshold=2)
    rotate(shop.registry, shop.keys, ["root", "snapshot", "timestamp"], root_keys=2, root_threshold=2)
    shop.publish("1.1.0")
    assert seasoned.fetch(served, "tiny:1.1.0").metadata_versions["root"] == 4


def test_a_step_missing_between_roots(seasoned: Victim, served: str) -> None:
    """Without root 3 nobody can show that root 4 follows from root 2: its own signatures are not enough."""
    shop = seasoned.shop
    for _ in range(3):
        rotate(shop.registry, shop.keys, ["root", "timestamp"])
    (shop.registry / "metadata" / "3.root.json").unlink()
    seasoned.refuses(served, TrustError, "not signed by the keys")


def test_another_registrys_root_as_the_next_one(seasoned: Victim, served: str, tmp_path: Path) -> None:
    foreign = Shop(tmp_path / "foreign")
    rotate(foreign.registry, foreign.keys, ["root"])
    shutil.copyfile(foreign.registry / "metadata/2.root.json", seasoned.shop.registry / "metadata/2.root.json")
    seasoned.refuses(served, TrustError, "not signed by the keys")


# --- transport -------------------------------------------------------------------------------------------------------


def at(prefix: str, answer: Misbehave) -> Misbehave:
    """Misbehave for paths that begin so."""
    return lambda handler: handler.path.startswith(prefix) and answer(handler)


PLACES = ["/metadata/timestamp.json", "/metadata/2.snapshot.json", "/targets/", "/blobs/"]


def endless(handler: HostileHandler) -> bool:
    handler.head()
    handler.drip(b"x" * 65536, 0)
    return True


@pytest.mark.parametrize("place", PLACES)
def test_endless_data(victim: Victim, place: str) -> None:
    victim.shop.publish()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with hostile(victim.shop.registry, at(place, endless)) as url:
        victim.refuses(url, TrustError, "longer than|maximum allowed length|not what was signed|is not valid")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000
    assert sum(path.stat().st_size for path in victim.shop.store.partial.iterdir()) < 100_000


def drip(handler: HostileHandler) -> bool:
    handler.head()
    handler.drip(b"x", 1.0)
    return True


@pytest.mark.parametrize("place", PLACES)
def test_one_byte_a_second(victim: Victim, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """No silence is long enough for a socket to notice: the rate is, in its window (10 s in the field)."""
    monkeypatch.setattr("agent.registry.transfer.RATE_WINDOW_S", 1.5)
    victim.shop.publish()
    with hostile(victim.shop.registry, at(place, drip)) as url:
        victim.refuses(url, RegistryUnreachable, "comes slower than 1024 bytes/s")


@pytest.mark.parametrize("place", PLACES)
def test_redirect_to_elsewhere(victim: Victim, served: str, place: str) -> None:
    victim.shop.publish()
    asked: list[str] = []

    def elsewhere(handler: HostileHandler) -> bool:
        asked.append(handler.path)
        return False

    with hostile(victim.shop.registry, elsewhere) as other:

        def redirect(handler: HostileHandler) -> bool:
            handler.head(302, Location=other + handler.path, Content_Length="0")
            return True

        with hostile(victim.shop.registry, at(place, redirect)) as url:
            victim.refuses(url, RegistryUnreachable, "redirects to .*not followed")
    assert asked == []


@pytest.mark.parametrize("place", PLACES)
def test_gzip_bomb(victim: Victim, place: str) -> None:
    victim.shop.publish()
    bomb = gzip.compress(bytes(50_000_000))

    def explode(handler: HostileHandler) -> bool:
        handler.head(Content_Encoding="gzip", Content_Length=str(len(bomb)))
        handler.wfile.write(bomb)
        return True

    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with hostile(victim.shop.registry, at(place, explode)) as url:
        victim.refuses(url, RegistryUnreachable, "compressed")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"signed":' * 5_000, b"\xff\xfe" * 100], ids=["deep", "open", "bytes"]
)
def test_metadata_made_to_hurt_the_parser(victim: Victim, served: str, data: bytes) -> None:
    victim.shop.publish()
    (victim.shop.registry / "metadata/timestamp.json").write_bytes(data[:16_000])
    victim.refuses(served, TrustError, "metadata of")


def sign_anyway(shop: Shop, published: Published, target: str, data: bytes) -> None:
    """Sign what no tool of ours would: a publisher's key in wrong hands."""
    with exclusive(shop.registry):
        repository = Repository.load(shop.registry)
        repository.add_target(target, data)
        repository.sign_targets(shop.keys, shop.lifetimes, utc_now())


@pytest.mark.parametrize("name", ["../../../outside", "/tmp/outside", "a/../../outside", "..", "golden\\..\\..\\x"])
def test_path_traversal_in_names_of_files(victim: Victim, served: str, name: str) -> None:
    shop = victim.shop
    published = shop.publish()
    fields = json.loads(next((shop.registry / "targets").rglob("*.manifest.json")).read_bytes())
    fields["variants"][0]["file"]["path"] = name
    sign_anyway(shop, published, layout.manifest_target("tiny", "1.0.0"), json.dumps(fields).encode())
    before = _everything(shop.folder)
    victim.refuses(served, ManifestError, "path")
    assert {path for path in _everything(shop.folder) - before if "/state/" not in path} == set()


@pytest.mark.parametrize("digest", ["../../../outside", "..", "/etc/passwd", "A" * 64, "0" * 63])
def test_path_traversal_in_hashes(victim: Victim, served: str, digest: str) -> None:
    """Blobs are stored under their hash, so a hash that is a path would be a way out."""
    shop = victim.shop
    published = shop.publish()
    fields = json.loads(next((shop.registry / "targets").rglob("*.manifest.json")).read_bytes())
    fields["variants"][0]["file"]["sha256"] = digest
    sign_anyway(shop, published, layout.manifest_target("tiny", "1.0.0"), json.dumps(fields).encode())
    victim.refuses(served, ManifestError, "sha256")


@pytest.mark.parametrize("version", ["../../1.0.0", "1.0.0/../../x", "1.0.0\0"])
def test_path_traversal_in_versions(victim: Victim, served: str, version: str) -> None:
    shop = victim.shop
    published = shop.publish()
    index = {"schema": 1, "model": "tiny", "versions": {version: {}}, "channels": {"stable": version}}
    sign_anyway(shop, published, layout.index_target("tiny"), json.dumps(index).encode())
    before = shop.store.releases()
    with pytest.raises(ManifestError, match="is no version"):
        victim.fetch(served, "tiny@stable")
    assert shop.store.releases() == before


def _everything(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_what_was_seen_of_another_anchor_does_not_count(seasoned: Victim, tmp_path: Path) -> None:
    """A device provisioned anew, on purpose, for another registry is not held to the first one's numbers."""
    shop = seasoned.shop
    for _ in range(5):
        refresh(shop.registry, shop.keys)
    with RegistryServer(shop.registry) as server:
        seasoned.fetch(server.url)
    other = Shop(tmp_path / "other")
    other.publish("2.0.0")
    from agent.registry.provision import provision

    provision(other.made.root, shop.state, force=True)
    with RegistryServer(other.registry) as server:
        assert seasoned.fetch(server.url, "tiny:2.0.0").version == "2.0.0"
    assert seasoned.anchor == hashlib.sha256(other.made.root.read_bytes()).hexdigest()
