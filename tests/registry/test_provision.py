from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import InputError, TrustError
from agent.registry.bring import bring
from agent.registry.provision import provision
from tests.fakes.registry import Shop


def test_a_root_is_installed_once_and_again_changes_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    done = provision(shop.made.root, shop.state)
    assert (done.version, done.keys, done.threshold, done.changed) == (1, 1, 1, True)
    assert done.path.read_bytes() == shop.made.root.read_bytes()
    assert not provision(shop.made.root, shop.state).changed


def test_another_root_is_refused_unless_forced(shop: Shop, tmp_path: Path) -> None:
    shop.publish()
    bring(shop.access(), "tiny:1.0.0", lambda _: None)
    other = Shop(tmp_path / "other")
    with pytest.raises(TrustError, match="--force"):
        provision(other.made.root, shop.state)
    assert (shop.state / "registry" / "root.json").read_bytes() == shop.made.root.read_bytes()
    assert provision(other.made.root, shop.state, force=True).changed
    with pytest.raises(TrustError, match="not signed by the keys"):
        bring(shop.access(), "tiny:1.0.0", lambda _: None)
    other.publish()
    bring(shop.access(other.registry.as_uri()), "tiny:1.0.0", lambda _: None)


def test_what_is_no_root_is_refused(shop: Shop, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    with pytest.raises(InputError, match="cannot be read"):
        provision(wrong, tmp_path / "new")
    wrong.write_text("{}")
    with pytest.raises(InputError, match="is no TUF metadata"):
        provision(wrong, tmp_path / "new")
    with pytest.raises(InputError, match="is timestamp metadata"):
        provision(shop.registry / "metadata" / "timestamp.json", tmp_path / "new")
    wrong.write_bytes(b" " * 600_000)
    with pytest.raises(InputError, match="more than"):
        provision(wrong, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_root_that_was_changed_is_refused(shop: Shop, tmp_path: Path) -> None:
    fields = json.loads(shop.made.root.read_bytes())
    fields["signed"]["expires"] = "2099-01-01T00:00:00Z"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(fields))
    with pytest.raises(TrustError, match="not signed by its own keys"):
        provision(changed, tmp_path / "new")
