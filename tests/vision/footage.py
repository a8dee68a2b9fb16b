"""What YOLOX-Nano answers for every frame of one-by-one-person-detection.mp4, and what a person saw there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

TRUTH = Path(__file__).parent / "truth"
PERSON = 0
FRAME_NS = 100_000_000
MARGIN = 5
"""Frames by which a person's first and last frame may be off."""


@dataclass(frozen=True)
class Footage:
    """``rows[i]`` float32 (n, 6): all classes, scores from 0.1 on, boxes rounded to 0.1 pixel."""

    truth: dict[str, Any]
    rows: list[np.ndarray]

    def visits(self) -> list[tuple[int, int]]:
        """First and last frame of each person, with the margin."""
        return [(person["first"] - MARGIN, person["last"] + MARGIN) for person in self.truth["people"]]


def one_by_one() -> Footage:
    """Read both fixtures."""
    truth = yaml.safe_load((TRUTH / "one-by-one.yaml").read_text())
    with np.load(TRUTH / "one-by-one.npz") as kept:
        table = np.column_stack((kept["box"] / 10.0, kept["score"] / 1e4, kept["class_id"])).astype(np.float32)
        frames = kept["frame"]
    return Footage(truth, [table[frames == index] for index in range(truth["frames"])])
