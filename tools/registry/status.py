"""What a registry holds and how long its signatures last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.registry.index import Index
from tools.registry.repository import Repository, utc_now


@dataclass(frozen=True)
class RoleStatus:
    """One role; ``days_left`` is negative once it has expired."""

    role: str
    version: int
    expires: datetime
    days_left: float
    keys: int
    threshold: int


@dataclass(frozen=True)
class RegistryStatus:
    """All that 'lookout registry status' shows."""

    roles: tuple[RoleStatus, ...]
    models: tuple[Index, ...]


def status(registry: Path, *, now: datetime | None = None) -> RegistryStatus:
    """Read and verify a registry. Raises :class:`InputError` (no registry), :class:`TrustError` (changed)."""
    now = now or utc_now()
    repository = Repository.load(registry)
    roles = []
    for name in ("root", "targets", "snapshot", "timestamp"):
        signed, role = getattr(repository, name), repository.root.roles[name]
        days_left = (signed.expires - now).total_seconds() / 86_400
        roles.append(RoleStatus(name, signed.version, signed.expires, days_left, len(role.keyids), role.threshold))
    indexes = [index for model in repository.models() if (index := repository.index(model)) is not None]
    return RegistryStatus(tuple(roles), tuple(indexes))
