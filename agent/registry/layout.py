"""Where things lie in a registry: the one place that knows, for the publisher and the device.

Pure. ``metadata/`` and ``targets/`` are TUF's (consistent snapshots: names carry a version or a hash, except
``timestamp.json``); ``blobs/sha256/<hex>`` are files, trusted through the manifest that names them. ``root.json`` is
the first root, to be handed to devices by a way that the operator trusts.
"""

from __future__ import annotations

METADATA = "metadata"
TARGETS = "targets"
BLOBS = "blobs/sha256"
ROOT = "root.json"
TIMESTAMP = "timestamp.json"


def index_target(model: str) -> str:
    """Return the TUF target path of a model's index."""
    return f"models/{model}/index.json"


def manifest_target(model: str, version: str) -> str:
    """Return the TUF target path of a release's manifest."""
    return f"models/{model}/{version}/manifest.json"


def hashed(target: str, sha256: str) -> str:
    """Return where the bytes of a target lie below ``targets/``: the hash is part of the name."""
    folder, _, name = target.rpartition("/")
    return f"{folder}/{sha256}.{name}" if folder else f"{sha256}.{name}"


def blob(sha256: str) -> str:
    """Return where a file of a release lies."""
    return f"{BLOBS}/{sha256}"
