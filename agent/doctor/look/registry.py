"""Asks the registry as a fetch does, with a copy of the device's trust: the running agent's files are left alone.

What the copy learns is thrown away. All of it takes :data:`TOTAL_S` at most.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec

from agent.doctor.case import Case
from agent.doctor.judge.registry import ROLES, Registry, Role
from agent.doctor.look import records
from agent.errors import InputError, LookoutError, RegistryUnreachable, StorageError
from agent.process.messages import RegistryAccess
from agent.redact import redact
from agent.registry import layout
from agent.registry.address import Address, parse_address
from agent.registry.credentials import credentials_of
from agent.registry.transfer import TooLong, Transfer
from agent.registry.trust import Trust
from agent.settings import registry_access

TOTAL_S = 12.0
MAX_BYTES = 5_000_000


def look(case: Case) -> Registry | None:
    """Ask it; None where none is configured."""
    if case.loaded is None or not case.loaded.config.registry.url:
        return None
    access = registry_access(case.loaded, case.places.state)
    access = msgspec.structs.replace(access, total_timeout_s=min(TOTAL_S, access.total_timeout_s))
    address = parse_address(access.url)
    with tempfile.TemporaryDirectory(prefix="lookout-doctor-") as folder:
        copy = Path(folder)
        provisioned = _copied(Path(access.metadata_dir), copy)
        start = Registry(address.shown, provisioned, anchor=_anchor_version(copy / layout.ROOT) if provisioned else 0)
        return _asked(start, access, address, copy, records.seen_versions(case.places.state))


def _copied(metadata: Path, copy: Path) -> bool | None:
    """Copy what the device trusts; tell whether there is anything, None where this user may not look."""
    try:
        if not (metadata / layout.ROOT).exists():
            return False
        shutil.copytree(metadata, copy, symlinks=True, dirs_exist_ok=True)
    except (PermissionError, shutil.Error):
        return None
    return True


def _asked(
    start: Registry, access: RegistryAccess, address: Address, copy: Path, seen: tuple[str, Mapping[str, int]]
) -> Registry:
    """Ask the registry; every error of the field is a fact."""
    began = time.monotonic()
    try:
        transfer = Transfer(
            total_timeout_s=access.total_timeout_s,
            min_rate_bytes_s=access.min_rate_bytes_s,
            credentials=credentials_of(access, address),
        )
    except (InputError, StorageError) as error:
        private = isinstance(error.__cause__, PermissionError)
        return replace(start, private=private, code=error.code, problem=error.message)
    with contextlib.closing(transfer):
        code, problem = _verified(address, copy, transfer, seen) if start.provisioned else ("", "")
        if start.provisioned and not problem:
            roles = _kept(copy / "tuf")
        else:
            roles, why = _offered(transfer, address)
            problem = problem or why
    took_s = time.monotonic() - began
    return replace(start, code=code, problem=problem, answers=bool(roles), roles=roles, took_s=took_s)


def _verified(address: Address, copy: Path, transfer: Transfer, seen: tuple[str, Mapping[str, int]]) -> tuple[str, str]:
    """Do what a fetch does first; return the code and the words of what came of it, empty where all is well."""
    try:
        trust = Trust(address, copy, transfer)
        anchor, versions = seen
        trust.refresh(versions if anchor == trust.anchor else {})
    except LookoutError as error:
        return error.code, error.message
    return "", ""


def _kept(tuf: Path) -> dict[str, Role]:
    """Return the roles as they were verified."""
    found = {role: _role((tuf / f"{role}.json").read_bytes()) for role in ROLES}
    return {role: one for role, one in found.items() if one is not None}


def _offered(transfer: Transfer, address: Address) -> tuple[dict[str, Role], str]:
    """Return the roles as the registry offers them, believed or not, and why there are none."""
    found: dict[str, Role] = {}
    name, wanted = layout.TIMESTAMP, "timestamp"
    for below in ("snapshot", "targets", ""):
        try:
            data = _fetched(transfer, address.join(f"{layout.METADATA}/{name}"))
        except RegistryUnreachable as error:
            return found, error.message
        role = _role(data)
        if role is None:
            return found, f"{address.shown}: {name} is no signed metadata; check registry.url"
        found[wanted] = replace(role, believed=False)
        name, wanted = f"{_version_of(data, below)}.{below}.json", below
    return found, ""


def _fetched(transfer: Transfer, url: str) -> bytes:
    try:
        with transfer.get(url, max_bytes=MAX_BYTES) as body:
            return b"".join(body.pieces)
    except TooLong as error:
        raise RegistryUnreachable(f"{redact(url)} is longer than metadata is; check registry.url") from error


def _role(data: bytes) -> Role | None:
    """Read version and end of a role's metadata; None where it is none."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        signed = json.loads(data)["signed"]
        ends = datetime.fromisoformat(str(signed["expires"]).replace("Z", "+00:00"))
        return Role(int(signed["version"]), int(ends.timestamp() * 1000))
    return None


def _version_of(data: bytes, below: str) -> int:
    """Return the version of the role below that metadata names, 0 where it names none."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(data)["signed"]["meta"][f"{below}.json"]["version"])
    return 0


def _anchor_version(root: Path) -> int:
    """Return the version of the root that the device was given."""
    role = _role(root.read_bytes())
    return 0 if role is None else role.version
