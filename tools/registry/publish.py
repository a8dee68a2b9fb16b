"""Publishes a release: its files, its manifest, the model's index, and then the signatures that make them visible."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent import atomic
from agent.clock import rfc3339
from agent.errors import InputError, StorageError
from agent.registry import layout
from agent.registry.index import Index
from agent.registry.manifest import FileEntry
from agent.registry.reference import next_patch
from agent.registry.store import CHUNK_BYTES, hash_file
from agent.types import Digest, ModelName
from tools.registry.draft import Draft, load_draft
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, utc_now

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, and bytes done and in all (0, 0 while they do not count)."""


@dataclass(frozen=True)
class Published:
    """What was published. ``warnings`` say in words what could not be checked here."""

    model: str
    version: str
    digest: Digest
    channel: str | None
    files: int
    size_bytes: int
    warnings: tuple[str, ...]


def publish(
    registry: Path,
    keys: Keys,
    manifest: Path,
    *,
    channel: str | None = None,
    golden: bool = True,
    on_progress: OnProgress = lambda _what, _done, _total: None,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
) -> Published:
    """Check and publish the release that ``manifest`` describes; ``channel`` then points to it.

    Raises :class:`ManifestError` and :class:`ModelError` where the release is not what it says, :class:`InputError`
    where the version exists, :class:`TrustError` where the registry was changed by somebody, :class:`StorageError`.
    Nothing is visible to readers before everything is there.
    """
    now = now or utc_now()
    draft = load_draft(manifest)
    _with_release(Repository.load(registry), draft, channel, now)  # refuse early what would be refused late
    warnings = _checked(draft, golden, on_progress)
    with exclusive(registry):
        repository = Repository.load(registry)
        index = _with_release(repository, draft, channel, now)
        _copy_files(registry, draft, on_progress)
        on_progress("signing", 0, 0)
        repository.add_target(layout.manifest_target(index.model, draft.manifest.version), draft.data)
        repository.add_index(index)
        repository.sign_targets(keys, lifetimes, now)
    return Published(
        draft.manifest.model,
        draft.manifest.version,
        draft.digest,
        channel,
        len(draft.manifest.files),
        draft.manifest.total_bytes,
        warnings,
    )


def _with_release(repository: Repository, draft: Draft, channel: str | None, now: datetime) -> Index:
    """Return the model's index with the new version in it. Raises :class:`InputError` where it exists."""
    model, version = draft.manifest.model, draft.manifest.version
    index = repository.index(model) or Index(ModelName(model))
    if version in index.versions:
        raise InputError(
            f"{model}:{version} is published already and a version never changes; "
            f"set 'version' to {next_patch(list(index.versions))}"
        )
    index = index.with_version(version, rfc3339(int(now.timestamp() * 1000)))
    return index.with_channel(channel, version) if channel is not None else index


def _checked(draft: Draft, golden: bool, on_progress: OnProgress) -> tuple[str, ...]:
    # Here, because it loads ONNX Runtime and OpenCV, which the other commands do not need.
    from tools.registry.check import check_release

    return check_release(draft, golden=golden, on_check=lambda what: on_progress(what, 0, 0))


def _copy_files(registry: Path, draft: Draft, on_progress: OnProgress) -> None:
    total, done = draft.manifest.total_bytes, 0
    for entry in draft.manifest.files:
        target = registry / layout.blob(entry.sha256)
        if not target.exists() or hash_file(target) != entry.sha256:
            _copy(draft.path(entry), target, entry)
        done += entry.size
        on_progress(f"copying {entry.path}", done, total)


def _copy(source: Path, target: Path, entry: FileEntry) -> None:
    """Copy a file to its place by digest, durably. Raises :class:`StorageError`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=target.parent, prefix=".copying-")
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; free or repair the disk") from error
    try:
        with os.fdopen(fd, "wb") as output, source.open("rb") as data:
            while piece := data.read(CHUNK_BYTES):
                output.write(piece)
            output.flush()
            os.fchmod(output.fileno(), 0o644)
            os.fsync(output.fileno())
        if hash_file(Path(name)) != entry.sha256:
            raise InputError(f"{source} changed while it was published; publish again")
        atomic.install(Path(name), target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; free or repair the disk") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
