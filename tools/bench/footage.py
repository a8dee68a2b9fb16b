"""The film that the cases look at, as a camera."""

from __future__ import annotations

from pathlib import Path

from agent.process.messages import SourceSpec

VIDEO = "data/video/plaza.avi"


def lossless(shared: Path, video: str = VIDEO) -> SourceSpec:
    """Return the video as a camera that waits and never ends."""
    return SourceSpec("file", str(shared / video), pace="lossless", loop=True)
