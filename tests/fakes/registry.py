"""A real registry with tiny real models, as one of a test's hands: publish, damage, serve, fetch from."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.process.messages import RegistryAccess
from agent.registry.provision import provision
from agent.registry.store import Store
from tests.fakes.models import TINY_LABELS, fragment, tiny_detector, tiny_spec
from tools.registry.init import init_registry
from tools.registry.keys import Keys
from tools.registry.publish import Published, publish
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes


def no_passphrase(_: Path) -> None:
    """Keys of tests are plain."""


def release_folder(
    folder: Path,
    *,
    model: str = "tiny",
    version: str = "1.0.0",
    write: Callable[[Path], Any] = tiny_detector,
    golden: bool = True,
    **changes: Any,
) -> Path:
    """Write a model, a golden image (one red cell at the origin) and a draft of manifest.json; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "model.onnx")
    fields: dict[str, Any] = {
        "schema": 1,
        "model": model,
        "version": version,
        "task": "detect",
        "description": f"a test's model, {version}",  # so that each version has a digest of its own
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": {"path": "model.onnx"}}],
        "labels": list(TINY_LABELS),
        **fragment(tiny_spec()),
    }
    if golden:
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[:8, :8, 2] = 255
        (folder / "golden").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "golden" / "1.png"), frame)
        box = {"label": "red", "score": 1.0, "box": [0, 0, 8, 8]}
        fields["golden"] = [{"image": {"path": "golden/1.png"}, "detections": [box]}]
    path = folder / "manifest.json"
    path.write_text(json.dumps({**fields, **changes}))
    return path


class Shop:
    """A publisher's folders and a device's state below ``folder``."""

    def __init__(self, folder: Path, *, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> None:
        self.folder = folder
        self.registry = folder / "registry"
        self.keys = Keys(folder / "keys", no_passphrase)
        self.state = folder / "state"
        self.lifetimes = lifetimes
        self.store = Store(self.state / "store")
        self.made = init_registry(self.registry, self.keys, lifetimes=lifetimes)

    @classmethod
    def copied(cls, template: Shop, folder: Path) -> Shop:
        """Return a copy of an empty shop: a copy needs none of the disk syncs that make a test slow."""
        shop = cls.__new__(cls)
        shop.__dict__ |= template.__dict__
        for name in ("registry", "keys", "state"):
            if (template.folder / name).is_dir():  # no state before somebody provisioned the device
                shutil.copytree(template.folder / name, folder / name)
        shop.folder, shop.registry, shop.state = folder, folder / "registry", folder / "state"
        shop.keys, shop.store = Keys(folder / "keys", no_passphrase), Store(shop.state / "store")
        shop.made = dataclasses.replace(template.made, registry=shop.registry, root=shop.registry / "root.json")
        return shop

    def publish(
        self, version: str = "1.0.0", *, check: bool = False, channel: str | None = None, **rest: Any
    ) -> Published:
        """Publish a tiny release; ``rest`` goes to :func:`release_folder`. Golden images run only with ``check``."""
        manifest = release_folder(self.folder / "drafts" / version, version=version, **rest)
        return publish(self.registry, self.keys, manifest, channel=channel, golden=check, lifetimes=self.lifetimes)

    def provision(self) -> None:
        """Make the device trust this registry."""
        provision(self.made.root, self.state)

    def access(self, url: str | None = None, **changes: Any) -> RegistryAccess:
        """How the device reaches the registry: over ``file://`` unless a URL is given."""
        settings: dict[str, Any] = {
            "url": url or self.registry.as_uri(),
            "metadata_dir": str(self.state / "registry"),
            "store_dir": str(self.state / "store"),
            "free_floor_bytes": 0,
            "total_timeout_s": 20.0,
        }
        return RegistryAccess(**{**settings, **changes})

    def blob(self, published: Published, name: str = "model.onnx") -> Path:
        """Return where the published bytes of a file lie."""
        target = next((self.registry / "targets/models").rglob(f"{published.digest}.manifest.json"))
        fields = json.loads(target.read_bytes())
        entries = [variant["file"] for variant in fields["variants"]]
        entries += [golden["image"] for golden in fields.get("golden", ())]
        sha256 = next(entry["sha256"] for entry in entries if entry["path"] == name)
        return self.registry / "blobs/sha256" / sha256
