"""What the demo is about: a model, what it sees, and the names under which the device knows them.

:data:`FACES` is the demo as it comes; :mod:`tools.demo.own` makes another one from a model and a clip of one's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.types import ModelSpec
from tools.demo import workshop


@dataclass(frozen=True)
class Subject:
    """``model``: its name in the registry; ``noun``, ``sight``: what it sees, many and one; ``title``: in a table.

    ``license`` is stated in every release. ``score``: the releases' threshold. ``fps``: the clip's. The demo fails
    below ``least_agreement``; None: agreement is told, not demanded. ``patience_frames``: how long to look on while
    nothing is seen, for clips with empty stretches.
    """

    model: str
    noun: str
    sight: str
    title: str
    license: str
    spec: ModelSpec
    labels: tuple[str, ...]
    score: float
    camera: str
    pipeline: str
    fps: float
    least_agreement: float | None
    patience_frames: int = 0

    def reference(self, version: str) -> str:
        """Return what an operator writes to mean this release."""
        return f"{self.model}:{version}"


FACES = Subject(
    model="faces",
    noun="faces",
    sight="a face",
    title="CenterFace",
    license="MIT",
    spec=workshop.spec(),
    labels=workshop.LABELS,
    score=0.35,
    camera="car",
    pipeline="faces",
    fps=30.0,
    least_agreement=0.95,
)
