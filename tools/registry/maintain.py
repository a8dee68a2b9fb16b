"""Changes to a registry that add no release: channels, yanks, and fresh signatures before the old ones end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from agent import errors
from agent.errors import InputError
from agent.registry.index import Index
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, utc_now

MAX_REASON_CHARS = 500


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
    return _change_index(registry, keys, model, lambda index: index.with_channel(channel, version), lifetimes, now)


def yank(
    registry: Path,
    keys: Keys,
    model: str,
    version: str,
    reason: str | None,
    *,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
) -> Index:
    """Mark a version as one that nobody should take any more, or (``reason`` None) as good again; returns the index.

    Raises :class:`agent.errors.ReferenceError` where model or version do not exist, :class:`InputError` for a reason
    that says nothing.
    """
    if reason is not None:
        reason = " ".join(reason.split())
        if not 0 < len(reason) <= MAX_REASON_CHARS:
            raise InputError(f"--reason has {len(reason)} characters; say why in 1 to {MAX_REASON_CHARS}")
    return _change_index(registry, keys, model, lambda index: index.with_yanked(version, reason), lifetimes, now)


def _change_index(
    registry: Path,
    keys: Keys,
    model: str,
    change: Callable[[Index], Index],
    lifetimes: Lifetimes,
    now: datetime | None,
) -> Index:
    with exclusive(registry):
        repository = Repository.load(registry)
        index = repository.index(model)
        if index is None:
            there = ", ".join(repository.models()) or "none yet"
            raise errors.ReferenceError(f"{registry} has no model {model!r}; there is {there}")
        index = change(index)
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
