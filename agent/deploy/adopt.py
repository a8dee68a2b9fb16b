"""Which release of the store serves a pipeline of which the journal knows nothing any more.

Used only after the journal was lost: what lies in the store was signed and has once been fetched for this device, so
it may try to serve (trial and probation included) until the configuration or an operator says otherwise. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import ReferenceError  # noqa: A004 - the field's word, see agent.errors
from agent.registry.reference import Reference, newest_in_range, parse_reference, precedence
from agent.registry.store import StoredRelease


def _wanted(model: str | None) -> Reference | None:
    try:
        return None if model is None else parse_reference(model)
    except ReferenceError:
        return None


def pick(releases: Sequence[StoredRelease], config_model: str | None, *, only_pipeline: bool) -> StoredRelease | None:
    """Return the newest stored release that the configuration's reference admits, else None.

    Without a reference only a device with one pipeline and one stored model leaves no doubt. A channel's meaning is the
    registry's to say: any version of its model will do.
    """
    reference = _wanted(config_model)
    if reference is None:
        models = {release.id.model for release in releases}
        if not only_pipeline or len(models) != 1:
            return None
        fitting = list(releases)
    else:
        fitting = [release for release in releases if release.id.model == reference.model]
        if reference.kind == "version":
            fitting = [release for release in fitting if release.id.version == reference.value]
        if reference.kind == "range":
            newest = newest_in_range(reference.value, [release.id.version for release in fitting])
            fitting = [release for release in fitting if release.id.version == newest]
    return max(fitting, key=lambda release: precedence(release.id.version), default=None)
