"""The demo's registry: keys, five signed releases, a loopback web server, and one damaged blob."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.registry import layout
from tools.demo import releases
from tools.demo.releases import Draft
from tools.registry.init import init_registry
from tools.registry.keys import Keys
from tools.registry.publish import publish

SELF_TESTED = frozenset({releases.FLOAT, releases.INT8, releases.TAMPERED})
"""Releases that ``publish`` tests on their golden images; the others would not pass, so they skip the test."""


@dataclass(frozen=True)
class DemoRegistry:
    """A registry on disk; ``root`` is what a device is provisioned with."""

    folder: Path
    keys: Keys
    root: Path

    def tamper(self, draft: Draft) -> int:
        """Flip a byte of a published model file and return its offset."""
        return releases.flip_a_byte(self.folder / layout.blob(draft.model_sha256))


def make(folder: Path) -> DemoRegistry:
    """Make keys and an empty registry."""
    keys = Keys(folder / "keys", passphrase=lambda _: None)
    made = init_registry(folder / "registry", keys)
    return DemoRegistry(made.registry, keys, made.root)


def publish_all(registry: DemoRegistry, drafts: Iterable[Draft], tell: Callable[[str], None]) -> None:
    """Publish every draft; raises what ``publish`` raises."""
    for draft in drafts:
        golden = draft.version in SELF_TESTED
        done = publish(registry.folder, registry.keys, draft.folder / "manifest.json", golden=golden)
        tested = "passed its golden images" if golden else "--no-golden"
        tell(
            f"published {done.model}:{done.version}  {done.size_bytes / 1e6:.1f} MB  "
            f"digest {done.digest[:12]}  ({tested})"
        )
