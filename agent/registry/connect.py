"""The beginning that a fetch and a survey share: a transfer, and metadata that is up to date, told and on the disk.

Runs in the fetch process. The store's lock is held throughout: TUF's files have one writer at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.process.messages import Refreshed, RegistryAccess
from agent.registry.address import Address, parse_address
from agent.registry.credentials import credentials_of
from agent.registry.store import Store
from agent.registry.transfer import Transfer
from agent.registry.trust import Trust


@contextlib.contextmanager
def connected(
    access: RegistryAccess, on_refreshed: Callable[[Refreshed], None]
) -> Iterator[tuple[Trust, Transfer, Address]]:
    """Yield the refreshed trust, the transfer under it, and the address.

    Raises :class:`InputError` for settings, :class:`NotProvisioned`, :class:`TrustError` and its kinds,
    :class:`RegistryUnreachable`, :class:`StorageError`.
    """
    address = parse_address(access.url)
    store = Store(Path(access.store_dir))
    store.make_folders()
    transfer = Transfer(
        total_timeout_s=access.total_timeout_s,
        min_rate_bytes_s=access.min_rate_bytes_s,
        rate_limit_bytes_s=access.rate_limit_bytes_s,
        credentials=credentials_of(access, address),
    )
    try:
        with store.exclusive(wait=True):
            trust = Trust(address, Path(access.metadata_dir), transfer)
            seen = access.seen_versions if trust.anchor == access.seen_anchor else {}
            versions = trust.refresh(seen)
            on_refreshed(Refreshed(versions, trust.anchor, trust.judged_at_ms, trust.begun_anew))
            yield trust, transfer, address
    finally:
        transfer.close()
