"""What install.sh has to know of a virtual environment, or change in it. Standard library and pip's own parts only.

    python environment.py needs                 what Lookout needs, but for ONNX Runtime; a line each
    python environment.py runtime               the build of ONNX Runtime that is here: name and version; exit 1: none
    python environment.py carry SITE-PACKAGES   copy that build into another environment
    python environment.py fingerprint           a digest of everything that is installed here
    python environment.py keep STATE            copy the databases of a state folder, before an upgrade
    python environment.py restore STATE         put back those that have a newer schema since, and forget the copies
    python environment.py forget STATE          forget the copies
    lookout status --json | python environment.py sees      exit 0: frames are answered, 1: none

The first four are asked with the Python of the environment that is meant, those about STATE as the agent's user, while
it does not run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PRODUCT = "lookout-agent"
RUNTIME = "onnxruntime"
"""What Lookout asks for by name, and the module that every other build (onnxruntime-gpu, …) brings as well."""

COPIES = "before-upgrade"
"""Where the databases of the version before lie meanwhile, in the state folder."""

PLACED = {"direct_url.json", "REQUESTED", "INSTALLER"}
"""What pip notes of how something came here."""


def runtimes() -> list[metadata.Distribution]:
    """Return every installed build of ONNX Runtime."""
    module = f"{RUNTIME}/__init__.py"
    return [one for one in metadata.distributions() if any(str(file) == module for file in one.files or ())]


def needs() -> Iterator[str]:
    """Yield what Lookout requires, and a build of ONNX Runtime that is here already."""
    from pip._vendor.packaging.requirements import Requirement

    asking = [metadata.distribution(PRODUCT), *runtimes()]
    for line in dict.fromkeys(line for one in asking for line in one.requires or ()):
        wanted = Requirement(line)
        if wanted.name != RUNTIME and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            wanted.marker = None
            yield str(wanted)


def carry(target: Path) -> None:
    """Copy the files of this environment's ONNX Runtime below ``target``; compiled ones are made anew there."""
    for one in runtimes()[:1]:
        for file in one.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                there = target / file
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(one.locate_file(file)), there)


def fingerprint() -> str:
    """Return a digest of the Python and of every file that pip put here; where the environment lies does not matter."""
    shared = "include-system-site-packages = true" in Path(sys.prefix, "pyvenv.cfg").read_text()
    found = [sys.version, f"the system's packages: {shared}"]
    for one in metadata.distributions(path=[sysconfig.get_path("purelib")]):
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        for file in one.files or ():
            if file.hash and file.name not in PLACED and "bin" not in file.parts:  # scripts name their place
                found.append(f"{file} {file.hash.value}")
        found.append(f"{name} {one.version}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def keep(state: Path) -> None:
    """Copy the databases, with what SQLite has beside them."""
    forget(state)
    copies = state / COPIES
    copies.mkdir(mode=0o700)
    for file in state.glob("*.db*"):
        if re.fullmatch(r"[a-z]+\.db(-wal|-journal)?", file.name):
            shutil.copy2(file, copies / file.name)


def restore(state: Path) -> None:
    """Put back each database whose schema is a newer one now: an older agent would set it aside and begin anew."""
    for kept in (state / COPIES).glob("*.db"):
        if schema(state / kept.name) > schema(kept):
            for file in state.glob(f"{kept.name}*"):
                file.unlink()
            for file in kept.parent.glob(f"{kept.name}*"):
                file.rename(state / file.name)
            print(f"{kept.name} is put back: the newer version had changed its schema")
    forget(state)


def forget(state: Path) -> None:
    """Remove the copies."""
    shutil.rmtree(state / COPIES, ignore_errors=True)


def schema(database: Path) -> int:
    """Return the number of a database's schema; 0 where there is none."""
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def sees(status: str) -> bool:
    """Return whether any camera's frames are answered, as ``lookout status --json`` tells it."""
    try:
        return any(camera["fps"] > 0 for camera in json.loads(status)["cameras"])
    except (ValueError, KeyError, TypeError):
        return False


def main(arguments: list[str]) -> int:
    """Do what the first argument asks for; return the exit code."""
    match arguments:
        case ["needs"]:
            print(*needs(), sep="\n")
        case ["runtime"]:
            print(*(f"{one.metadata['Name']} {one.version}" for one in runtimes()), sep="\n")
            return 0 if runtimes() else 1
        case ["carry", target]:
            carry(Path(target))
        case ["fingerprint"]:
            print(fingerprint())
        case ["keep" | "restore" | "forget" as verb, state]:
            {"keep": keep, "restore": restore, "forget": forget}[verb](Path(state))
        case ["sees"]:
            return 0 if sees(sys.stdin.read()) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
