"""Reads which packages are installed; nothing of theirs is imported."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from agent.doctor.judge.packages import Packages, plain
from agent.versions import DISTRIBUTION, agent_version

MODULE = "onnxruntime/__init__.py"
"""What every build of ONNX Runtime brings, whatever it calls itself."""


def look() -> Packages:
    """Return the facts."""
    found = [one for one in metadata.distributions() if one.metadata["Name"]]
    installed: dict[str, str] = {}
    for one in found:
        installed.setdefault(plain(one.metadata["Name"]), one.version)  # the first on the path is the one that is used
    runtimes = {plain(one.metadata["Name"]): one.version for one in reversed(found) if _is_runtime(one)}
    return Packages(
        python=platform.python_version(),
        program=sys.executable,
        agent=agent_version(),
        requires=tuple(_requires()),
        installed=installed,
        runtimes=tuple(sorted(runtimes.items())),
    )


def _is_runtime(one: metadata.Distribution) -> bool:
    name = plain(one.metadata["Name"])
    return name.startswith(("onnxruntime", "ort-")) and any(str(file) == MODULE for file in one.files or ())


def _requires() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
