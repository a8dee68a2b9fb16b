"""Looks whether a candidate fits beside current, with what the journal and the manifest know of its memory.

Reads ``/proc`` and the journal, both at once; ``admission`` decides. Control thread only.
"""

from __future__ import annotations

import structlog

from agent.deploy.admission import Admission, Need, Way, admit, need_of
from agent.deploy.loading import Loaded, usable_variants
from agent.deploy.parts import Parts
from agent.deploy.records import SlotRelease, VariantRecord
from agent.deploy.watching import memory_mb
from agent.errors import MemoryShort, StorageError
from agent.registry.store import StoredRelease
from agent.types import MB

log = structlog.get_logger(part="deploy")


def shortage(parts: Parts, stored: StoredRelease, slot: SlotRelease, now: Loaded | None) -> str | None:
    """Return why ``now`` has to be unloaded before the candidate can be loaded; None: there is memory for both.

    Raises MemoryShort where the candidate would not fit alone, ModelError where no variant is for this host.
    """
    admission = look(parts, stored, now)
    if admission.way is Way.REFUSE:
        raise MemoryShort(f"{slot}: {admission.reason}")
    return admission.reason if admission.way is Way.UNLOAD_FIRST else None


def look(parts: Parts, stored: StoredRelease, now: Loaded | None) -> Admission:
    """Decide how the candidate ``stored`` can be loaded while ``now`` serves. Raises ModelError: no variant fits."""
    need = _need(parts, stored)
    available = parts.available()
    admission = admit(
        need,
        available_mb=None if available is None else available / MB,
        current_mb=memory_mb(now),
        floor_mb=parts.settings.memory_floor_mb,
    )
    log.info("deploy.memory", way=admission.way.name.lower(), need_mb=round(need.mb), available=available)
    return admission


def _need(parts: Parts, stored: StoredRelease) -> Need:
    """Return what the trial needs: the variant that is known to win, else the two hungriest, which run side by side."""
    try:
        known = parts.journal.measurements(stored.id.digest, parts.trial.host)
    except StorageError:
        known = ()
    entrants = usable_variants(stored, parts.settings.providers)
    measured = {one.variant: one.memory_mb for one in known if isinstance(one, VariantRecord)}
    needs = sorted(
        (
            need_of(
                measured_mb=measured.get(variant),
                required_mb=stored.manifest.requires.memory_mb,
                file_bytes=stored.manifest.variants[variant].file.size,
            )
            for variant in entrants
        ),
        key=lambda need: -need.mb,
    )
    first = parts.settings.variant == "first"
    if first or len(needs) == 1 or {one.variant for one in known} >= set(entrants):
        return needs[0]
    return Need(needs[0].mb + needs[1].mb, f"{needs[0].source}, two variants side by side", known=False)
