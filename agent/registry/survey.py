"""What references mean now, without fetching a release: how a device notices a newer version and a yanked one.

Runs in the fetch process, on one thread. Only signed metadata and indexes are downloaded. A reference that means
nothing is an answer (``problem``), not an error: one pipeline's mistake must not hide what concerns another.
"""

from __future__ import annotations

from collections.abc import Callable

from agent import errors
from agent.process.messages import Refreshed, RegistryAccess, Resolved, Surveyed
from agent.registry import layout
from agent.registry.connect import connected
from agent.registry.floor import check_floor
from agent.registry.index import MAX_INDEX_BYTES, Index, load_index
from agent.registry.reference import Reference, parse_reference
from agent.registry.trust import Trust
from agent.types import ModelName

MAX_REASON_CHARS = 500


def survey(
    access: RegistryAccess,
    references: tuple[str, ...],
    releases: tuple[str, ...],
    on_refreshed: Callable[[Refreshed], None],
) -> Surveyed:
    """Resolve ``references`` and list which of ``releases`` were yanked.

    Raises the :class:`LookoutError` that concerns all of them: no registry, metadata that is not believed.
    """
    with connected(access, on_refreshed) as (trust, _, _):
        shelf = _Shelf(trust)
        resolved = {text: _resolve(shelf, text, access) for text in references}
        yanked = {text: shelf.yanked(parse_reference(text)) for text in releases}
        return Surveyed(resolved, {text: reason[:MAX_REASON_CHARS] for text, reason in yanked.items() if reason})


class _Shelf:
    """The indexes read so far."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._indexes: dict[ModelName, Index | None] = {}

    def index(self, model: ModelName) -> Index | None:
        if model not in self._indexes:
            data = self.trust.target(layout.index_target(model), max_bytes=MAX_INDEX_BYTES)
            self._indexes[model] = None if data is None else load_index(data, model)
        return self._indexes[model]

    def yanked(self, release: Reference) -> str | None:
        index = self.index(release.model)
        entry = None if index is None else index.versions.get(release.value)
        return None if entry is None or entry.yanked is None else entry.yanked or "no reason was given"


def _resolve(shelf: _Shelf, text: str, access: RegistryAccess) -> Resolved:
    try:
        wanted: Reference = parse_reference(text)
        index = shelf.index(wanted.model)
        if index is None:
            raise errors.ReferenceError(f"{wanted}: the registry has no model {wanted.model!r}; check the name")
        version = index.resolve(wanted)
        check_floor(wanted.model, version, access.min_versions)
    except errors.InputError as error:
        return Resolved(problem=error.message)
    digest = shelf.trust.digest(layout.manifest_target(wanted.model, version))
    if digest is None:
        return Resolved(version, problem=f"{wanted.model}:{version} is listed but its manifest is not signed")
    return Resolved(version, digest)
