"""Changes to a registry that add no release: channels, and fresh signatures before the old ones end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from agent import errors
from agent.errors import InputError
from agent.registry.index import Index
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, utc_now


def set_channel(
    registry: Path,
    keys: Keys,
    model: str,
    channel: str,
    version: str,
    *,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
) -> Index:
    """Make ``channel`` of ``model`` point to ``version``; returns the new index.

    Raises :class:`agent.errors.ReferenceError` where model or version do not exist or the version was yanked.
    """
    with exclusive(registry):
        repository = Repository.load(registry)
        index = repository.index(model)
        if index is None:
            there = ", ".join(repository.models()) or "none yet"
            raise errors.ReferenceError(f"{registry} has no model {model!r}; there is {there}")
        index = index.with_channel(channel, version)
        repository.add_index(index)
        repository.sign_targets(keys, lifetimes, now or utc_now())
    return index


def refresh(
    registry: Path, keys: Keys, *, lifetimes: Lifetimes = DEFAULT_LIFETIMES, now: datetime | None = None
) -> datetime:
    """Sign snapshot and timestamp anew, with the online keys only; returns when the registry next expires.

    Raises :class:`InputError` where an offline role has ended already: only its own key helps then.
    """
    now = now or utc_now()
    with exclusive(registry):
        repository = Repository.load(registry)
        for role, remedy in (("root", "rotate"), ("targets", "publish")):
            expires: datetime = getattr(repository, role).expires
            if expires <= now:
                raise InputError(
                    f"the role {role!r} of {registry} expired at {expires:%Y-%m-%d %H:%M} UTC; 'refresh' cannot renew "
                    f"it: use 'lookout registry {remedy}' with its offline key"
                )
        repository.sign_online(keys, lifetimes, now)
    roles = (repository.root, repository.targets, repository.snapshot, repository.timestamp)
    return min(role.expires for role in roles)
