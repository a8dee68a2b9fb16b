"""Which versions are installed, read from package metadata: nothing is imported to find out."""

from __future__ import annotations

import platform
from importlib import metadata

DISTRIBUTION = "lookout-agent"
_STANDS_ON = ("onnxruntime", "onnxruntime-gpu", "opencv-python-headless", "numpy", "paho-mqtt", "tuf", "pydantic")


def agent_version() -> str:
    """Return the agent's version; ``0`` where it runs from a folder that was never installed."""
    return _version(DISTRIBUTION) or "0"


def versions() -> dict[str, str]:
    """Return the versions of the agent, Python and the packages that matter, of those that are there."""
    found = {name: _version(name) for name in _STANDS_ON}
    here = {DISTRIBUTION: agent_version(), "python": platform.python_version()}
    return here | {name: number for name, number in found.items() if number is not None}


def onnx_runtime() -> str:
    """Return name and version of this host's ONNX Runtime, whichever build of it is installed."""
    found = {name: _version(name) for name in _STANDS_ON if name.startswith("onnxruntime")}
    return " ".join(f"{name} {number}" for name, number in found.items() if number) or "onnxruntime unknown"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
