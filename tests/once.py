"""What is costly to make and never changed is made once for all test processes of a run.

Whoever comes first makes it, under a lock; the others wait, and get a copy of the same object by way of a pickle, whose
files are the same files. So nobody may change them: who wants to, takes a copy of the folder.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

Made = TypeVar("Made")


class Once(Protocol):
    """``once(name, make)`` returns what ``make(folder)`` made, here or in another process."""

    def __call__(self, name: str, make: Callable[[Path], Made]) -> Made: ...


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make something once for a run; see the module."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each process has a folder below the run's

    def get(name: str, make: Callable[[Path], Made]) -> Made:
        folder, kept = root / name, root / f"{name}.pickle"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed half-way
                folder.mkdir()
                kept.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(kept.read_bytes())  # type: ignore[no-any-return]

    return get
