"""Wheels for the tests of the installation: every one that a device needs, and releases of ours that are really broken.

A wheel is a ZIP file with a list of its files and their hashes; :func:`remade` writes another one out of it.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

Change = Callable[[str], str]


def folder_of_wheels(folder: Path) -> Path:
    """Fill a folder with this checkout's wheel and all that it needs; skips where no index can be reached."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"the wheels cannot be had: {done.stderr[-500:]}")
    return folder


def wheel_in(folder: Path, name: str) -> Path:
    """Return the one wheel of a distribution."""
    (found,) = folder.glob(f"{name}-*.whl")
    return found


def remade(
    wheel: Path, target: Path, *, version: str, name: str | None = None, changes: Mapping[str, Change] | None = None
) -> Path:
    """Write ``wheel`` anew into the folder ``target``: another version, maybe another name, ``changes`` by path."""
    old_name, old_version, *tags = wheel.stem.split("-")
    name = name or old_name
    old, new = f"{old_name}-{old_version}", f"{name}-{version}"
    made = target / "-".join([name, version, *tags, ""]).rstrip("-")
    made = made.with_name(made.name + ".whl")
    lines = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as out:
        for info in source.infolist():
            if info.is_dir() or info.filename == f"{old}.dist-info/RECORD":
                continue
            data = source.read(info)
            if info.filename == f"{old}.dist-info/METADATA":
                text = data.decode().replace(f"\nVersion: {old_version}\n", f"\nVersion: {version}\n", 1)
                old_words, words = old_name.replace("_", "-"), name.replace("_", "-")
                data = text.replace(f"\nName: {old_words}\n", f"\nName: {words}\n", 1).encode()
            if changes and info.filename in changes:
                data = changes[info.filename](data.decode()).encode()
            info.filename = info.filename.replace(old, new, 1) if info.filename.startswith(old) else info.filename
            out.writestr(info, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{info.filename},sha256={digest},{len(data)}\n")
        record = f"{new}.dist-info/RECORD"
        out.writestr(record, "".join(lines) + f"{record},,\n")
    return made
