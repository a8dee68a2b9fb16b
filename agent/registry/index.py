"""A model's signed index: its versions, the yanked ones with their reason, and its channels.

Pure. The index is a TUF target of its own (``models/<model>/index.json``) because TUF offers no public listing of
targets. A yanked version is never chosen, neither by a range nor by a channel, and an explicit wish for one is refused
with its reason. Unknown keys are ignored (a newer publisher may add some); another ``schema`` is refused.
"""

from __future__ import annotations

import msgspec

from agent import errors
from agent.errors import ManifestError
from agent.registry.reference import Reference, is_channel, is_version, newest_in_range, precedence
from agent.types import ModelName

SCHEMA = 1
MAX_INDEX_BYTES = 1024 * 1024


class VersionEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published version. ``published`` is RFC 3339; ``yanked`` holds the reason, None where it is good."""

    published: str = ""
    yanked: str | None = None


class Index(msgspec.Struct, frozen=True):
    """All that may be asked of one model."""

    model: ModelName
    versions: dict[str, VersionEntry] = {}
    channels: dict[str, str] = {}
    schema: int = SCHEMA

    def resolve(self, reference: Reference) -> str:
        """Return the version that ``reference`` means. Raises :class:`ReferenceError`, naming what there is."""
        if reference.kind == "version":
            return self._usable(reference.value, reference)
        if reference.kind == "channel":
            version = self.channels.get(reference.value)
            if version is None:
                raise errors.ReferenceError(
                    f"{reference}: {self.model} has no channel {reference.value!r}; {self._offer_channels()}"
                )
            return self._usable(version, reference)
        good = [version for version, entry in self.versions.items() if entry.yanked is None]
        newest = newest_in_range(reference.value, good)
        if newest is None:
            raise errors.ReferenceError(f"{reference}: no version lies in that range; {self._offer_versions()}")
        return newest

    def with_version(self, version: str, published: str) -> Index:
        """Return this index with one more version; the caller has checked that it is new."""
        return msgspec.structs.replace(self, versions={**self.versions, version: VersionEntry(published=published)})

    def with_channel(self, channel: str, version: str) -> Index:
        """Return this index with ``channel`` pointing to ``version``. Raises :class:`ReferenceError`."""
        if not is_channel(channel):
            raise errors.ReferenceError(
                f"{channel!r} is no name of a channel: small letters, digits, '-' and '_', a letter first"
            )
        self._usable(version, Reference(self.model, "version", version))
        return msgspec.structs.replace(self, channels={**self.channels, channel: version})

    def with_yanked(self, version: str, reason: str | None) -> Index:
        """Return this index with ``version`` yanked, or good again (``reason`` None).

        Raises :class:`ReferenceError` where it is unknown.
        """
        if version not in self.versions:
            raise errors.ReferenceError(f"{self.model}:{version} does not exist; {self._offer_versions()}")
        entry = msgspec.structs.replace(self.versions[version], yanked=reason)
        return msgspec.structs.replace(self, versions={**self.versions, version: entry})

    def newest_first(self) -> list[str]:
        """Return all versions, yanked ones too."""
        return sorted(self.versions, key=precedence, reverse=True)

    def _usable(self, version: str, reference: Reference) -> str:
        entry = self.versions.get(version)
        if entry is None:
            raise errors.ReferenceError(f"{reference}: version {version} does not exist; {self._offer_versions()}")
        if entry.yanked is not None:
            means = "" if reference.kind == "version" else f" (the channel points to {version})"
            raise errors.ReferenceError(f"{reference} was yanked{means}: {entry.yanked}; {self._offer_versions()}")
        return version

    def _offer_versions(self) -> str:
        good = [version for version in self.newest_first() if self.versions[version].yanked is None]
        if not good:
            return f"{self.model} has no version that can be used"
        more = f" and {len(good) - 5} older" if len(good) > 5 else ""
        return f"{self.model} has {', '.join(good[:5])}{more}"

    def _offer_channels(self) -> str:
        if not self.channels:
            return "it has no channels; ask for a version or a range"
        return "it has " + ", ".join(sorted(self.channels))


def load_index(data: bytes, model: ModelName) -> Index:
    """Read a model's ``index.json``. Raises :class:`ManifestError` where its publisher made a mistake."""
    where = f"models/{model}/index.json"
    try:
        index = msgspec.json.decode(data, type=Index)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ManifestError(f"{where} cannot be read ({error}); publish the model again") from error
    if index.schema != SCHEMA:
        raise ManifestError(f"{where} has schema {index.schema}, this agent reads {SCHEMA}: update the agent")
    if index.model != model:
        raise ManifestError(f"{where} speaks of the model {index.model!r}; publish {model} again")
    for version in index.versions:
        if not is_version(version):
            raise ManifestError(f"{where}: {version!r} is no version; publish the model again")
    for channel, version in index.channels.items():
        if not is_channel(channel) or version not in index.versions:
            raise ManifestError(f"{where}: the channel {channel!r} points to {version!r}, which is not listed")
    return index


def dump_index(index: Index) -> bytes:
    """Write an index as JSON that :func:`load_index` reads."""
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"
