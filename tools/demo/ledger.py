"""What was claimed and what was seen. Pure: a claim counts as kept only by what came over the broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One promise put to the test; ``seen`` says in words what came."""

    claimed: str
    seen: str
    kept: bool


@dataclass
class Ledger:
    """The claims in order, and figures for the report."""

    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def claim(self, claimed: str, seen: str, *, kept: bool) -> Claim:
        """Enter a claim and return it."""
        entry = Claim(claimed, seen, kept)
        self.claims.append(entry)
        return entry

    @property
    def all_kept(self) -> bool:
        """Whether there are claims and every one was kept."""
        return bool(self.claims) and all(claim.kept for claim in self.claims)
