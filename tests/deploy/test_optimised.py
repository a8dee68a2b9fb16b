"""The cache of optimised models: what counts as an entry, and what a worker makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.deploy.loading import Loader
from agent.deploy.optimised import Key, OptimisedCache
from agent.deploy.records import DeploySettings
from agent.errors import ChildDied
from agent.infer.session import Session
from agent.registry.store import Store
from agent.types import Digest
from tests.fakes.deploying import FakeFactory, FakeRegistry
from tests.fakes.models import slow_model, tiny_detector

DIGEST, OTHER = Digest("a" * 64), Digest("b" * 64)
CPU = "CPUExecutionProvider"


@pytest.fixture
def cache(tmp_path: Path) -> OptimisedCache:
    return OptimisedCache(tmp_path / "cache", runtime="onnxruntime 1", host="pi")


def put(cache: OptimisedCache, digest: Digest = DIGEST, data: bytes = b"optimised") -> tuple[Key, Path]:
    key = cache.key(digest, 0, CPU)
    written = cache.reserve(key, 100)
    assert written is not None
    written.write_bytes(data)
    cache.keep(key, written)
    found = cache.find(key)
    assert found is not None
    return key, found


def test_what_a_worker_left_is_found_again_by_another_start(cache: OptimisedCache, tmp_path: Path) -> None:
    key, path = put(cache)
    assert path.read_bytes() == b"optimised"
    again = OptimisedCache(tmp_path / "cache", runtime="onnxruntime 1", host="pi")
    assert again.find(key) == path
    assert [one.suffix for one in (tmp_path / "cache").iterdir() if one.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("runtime", "host", "digest", "variant", "provider"),
    [
        ("onnxruntime 2", "pi", DIGEST, 0, CPU),
        ("onnxruntime 1", "jetson", DIGEST, 0, CPU),
        ("onnxruntime 1", "pi", OTHER, 0, CPU),
        ("onnxruntime 1", "pi", DIGEST, 1, CPU),
        ("onnxruntime 1", "pi", DIGEST, 0, "CUDAExecutionProvider"),
    ],
)
def test_an_entry_is_good_for_one_release_variant_version_provider_and_processor(
    cache: OptimisedCache, tmp_path: Path, runtime: str, host: str, digest: Digest, variant: int, provider: str
) -> None:
    put(cache)
    other = OptimisedCache(tmp_path / "cache", runtime=runtime, host=host)
    assert other.find(other.key(digest, variant, provider)) is None


def test_a_damaged_entry_is_none_and_is_made_anew(cache: OptimisedCache) -> None:
    key, path = put(cache)
    path.write_bytes(b"0ptimised")
    assert cache.find(key) is None
    assert put(cache)[1].read_bytes() == b"optimised"


def test_a_foreign_entry_under_the_right_name_is_none(cache: OptimisedCache) -> None:
    key, path = put(cache)
    foreign, other = put(cache, OTHER)
    other.replace(path)
    other.with_suffix(".json").replace(path.with_suffix(".json"))
    assert cache.find(key) is None
    assert cache.find(foreign) is None


@pytest.mark.parametrize("note", [b"", b"{}", b"not json", b'{"digest": 3}'])
def test_a_note_that_cannot_be_read_is_no_entry(cache: OptimisedCache, note: bytes) -> None:
    key, path = put(cache)
    path.with_suffix(".json").write_bytes(note)
    assert cache.find(key) is None


def test_collecting_leaves_what_is_kept_and_what_is_being_written(cache: OptimisedCache, tmp_path: Path) -> None:
    kept, _ = put(cache)
    gone, _ = put(cache, OTHER)
    writing = cache.reserve(kept, 100)
    assert writing is not None
    writing.write_bytes(b"half")
    (tmp_path / "cache" / "left-behind.part").write_bytes(b"a power cut")
    assert cache.collect({DIGEST}) == 3
    assert cache.find(kept) is not None
    assert cache.find(gone) is None
    assert writing.exists()
    cache.drop(writing)
    assert not writing.exists()


def test_a_folder_that_cannot_be_written_costs_only_the_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = OptimisedCache(tmp_path / "cache", runtime="onnxruntime 1", host="pi")
    key = cache.key(DIGEST, 0, CPU)
    assert cache.find(key) is None
    assert cache.reserve(key, 100) is None
    assert cache.collect(set()) == 0


def test_without_room_on_the_disk_nothing_is_written(cache: OptimisedCache) -> None:
    assert cache.reserve(cache.key(DIGEST, 0, CPU), 10**15) is None


def test_a_worker_that_left_a_link_is_not_believed(cache: OptimisedCache) -> None:
    key = cache.key(DIGEST, 0, CPU)
    written = cache.reserve(key, 100)
    assert written is not None
    written.symlink_to("/etc/passwd")
    cache.keep(key, written)
    assert cache.find(key) is None
    assert not written.is_symlink()


def test_the_loader_asks_for_a_copy_once_and_uses_it_afterwards(cache: OptimisedCache, tmp_path: Path) -> None:
    class Writing(FakeFactory):
        def start(self, **arguments):
            load = arguments["load"]
            if load.optimize_to:
                Path(load.optimize_to).write_bytes(b"optimised")
            return super().start(**arguments)

    registry, factory = FakeRegistry(Store(tmp_path / "store")), Writing()
    registry.publish("1.0.0")
    stored = registry.deliver("faces:1.0.0")
    loader = Loader(factory, registry.store, DeploySettings(), cache)
    for _ in range(2):
        loader.start(stored, 0, score=None, candidate=False)
    first, second = (worker.load for worker in factory.started)
    assert (first.optimized, bool(first.optimize_to)) == ("", True)
    assert (Path(second.optimized).read_bytes(), second.optimize_to) == (b"optimised", "")
    loader.collect(set())
    loader.start(stored, 0, score=None, candidate=False)
    assert factory.started[-1].load.optimized == ""


def test_a_worker_that_dies_with_the_copy_is_started_again_without_it(cache: OptimisedCache, tmp_path: Path) -> None:
    class Dying(FakeFactory):
        def start(self, **arguments):
            if arguments["load"].optimized:
                raise ChildDied("killed by SIGSEGV")
            if arguments["load"].optimize_to:
                Path(arguments["load"].optimize_to).write_bytes(b"optimised")
            return super().start(**arguments)

    registry, factory = FakeRegistry(Store(tmp_path / "store")), Dying()
    registry.publish("1.0.0")
    stored = registry.deliver("faces:1.0.0")
    loader = Loader(factory, registry.store, DeploySettings(), cache)
    for _ in range(2):
        loader.start(stored, 0, score=None, candidate=False)
    assert [worker.load.optimized for worker in factory.started] == ["", ""]


# --- the worker's side -----------------------------------------------------------------------------------------------


def load(path: Path, **rest: Path) -> Session:
    return Session.load(path, providers=(CPU,), threads=1, spin=False, **rest)


@pytest.mark.parametrize("write", [tiny_detector, slow_model])
def test_the_optimised_copy_answers_the_very_same(write, tmp_path: Path) -> None:
    path, copy = write(tmp_path / "model.onnx"), tmp_path / "copy.part"
    plain = load(path, optimize_to=copy)
    assert copy.stat().st_size > 0
    quick = load(path, optimized=copy)
    assert (quick.inputs, quick.outputs, quick.warnings) == (plain.inputs, plain.outputs, ())
    picture = np.random.default_rng(0).random((1, 3, 64, 64), np.float32) * 255
    for a, b in zip(plain.run(picture), quick.run(picture), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_copy_that_cannot_be_loaded_is_a_warning_and_the_model_serves(tmp_path: Path) -> None:
    path, copy = tiny_detector(tmp_path / "model.onnx"), tmp_path / "copy"
    copy.write_bytes(b"nothing that ONNX Runtime wrote")
    session = load(path, optimized=copy)
    assert len(session.warnings) == 1
    assert "optimised copy" in session.warnings[0]
    assert session.run(np.zeros((1, 3, 64, 64), np.float32))[0].shape == (1, 84, 8)


def test_a_copy_that_cannot_be_written_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    session = load(tiny_detector(tmp_path / "model.onnx"), optimize_to=tmp_path / "no" / "such" / "folder")
    assert session.run(np.zeros((1, 3, 64, 64), np.float32))[0].shape == (1, 84, 8)
