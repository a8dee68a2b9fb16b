from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from agent.errors import InputError
from tests.fakes.registry import Shop, no_passphrase
from tools.registry.init import init_registry
from tools.registry.keys import PASSPHRASE_VARIABLE, Keys
from tools.registry.maintain import refresh
from tools.registry.status import status

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=timezone.utc)


def test_roles_have_the_lifetimes_of_the_design(tmp_path: Path) -> None:
    init_registry(tmp_path / "r", Keys(tmp_path / "k", no_passphrase), now=NOW)
    found = status(tmp_path / "r", now=NOW)
    assert {role.role: role.days_left for role in found.roles} == {
        "root": 365, "targets": 180, "snapshot": 30, "timestamp": 14,
    }  # fmt: skip
    assert found.models == ()


def test_keys_are_private_files_one_a_role(tmp_path: Path) -> None:
    init_registry(tmp_path / "r", Keys(tmp_path / "k", no_passphrase), root_keys=3, root_threshold=2)
    files = sorted(path.name for path in (tmp_path / "k").iterdir())
    assert files == ["root-1.pem", "root-2.pem", "root-3.pem", "snapshot.pem", "targets.pem", "timestamp.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "k").iterdir()} == {0o600}
    root = Metadata[Root].from_file(str(tmp_path / "r" / "root.json")).signed
    assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)
    assert root.consistent_snapshot


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (0, 0), (3, 0), (17, 1)])
def test_a_threshold_that_makes_no_sense_is_refused_and_nothing_made(tmp_path: Path, keys: int, threshold: int) -> None:
    with pytest.raises(InputError, match="threshold"):
        init_registry(tmp_path / "r", Keys(tmp_path / "k", no_passphrase), root_keys=keys, root_threshold=threshold)
    assert list(tmp_path.iterdir()) == []


def test_neither_a_registry_nor_keys_are_ever_overwritten(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with pytest.raises(InputError, match="holds a registry already"):
        init_registry(shop.registry, Keys(tmp_path / "other", no_passphrase))
    with pytest.raises(InputError, match="keys are never overwritten"):
        init_registry(tmp_path / "other", shop.keys)


def test_encrypted_keys_need_their_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "correct horse")
    init_registry(tmp_path / "r", Keys(tmp_path / "k"))
    assert b"ENCRYPTED" in (tmp_path / "k" / "targets.pem").read_bytes()
    refresh(tmp_path / "r", Keys(tmp_path / "k"))
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    with pytest.raises(InputError, match="the passphrase is wrong"):
        refresh(tmp_path / "r", Keys(tmp_path / "k"))
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    with pytest.raises(InputError, match="is encrypted: set LOOKOUT_KEY_PASSPHRASE"):
        refresh(tmp_path / "r", Keys(tmp_path / "k"))


def test_keys_that_are_absent_foreign_or_none_are_told_apart(tmp_path: Path) -> None:
    shop, other = Shop(tmp_path / "a"), Shop(tmp_path / "b")
    with pytest.raises(InputError, match="belong to another registry"):
        refresh(shop.registry, other.keys)
    with pytest.raises(InputError, match="does not exist; give the folder with the key of 'snapshot'"):
        refresh(shop.registry, Keys(tmp_path / "nowhere", no_passphrase))
    (shop.keys.folder / "snapshot.pem").write_text("no key")
    with pytest.raises(InputError, match="is no private key in PEM"):
        refresh(shop.registry, shop.keys)


def test_a_role_about_to_end_shows_in_status(tmp_path: Path) -> None:
    init_registry(tmp_path / "r", Keys(tmp_path / "k", no_passphrase), now=NOW)
    later = {role.role: role.days_left for role in status(tmp_path / "r", now=NOW + timedelta(days=20)).roles}
    assert later["timestamp"] == -6
    assert later["snapshot"] == 10
