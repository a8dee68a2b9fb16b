"""Pictures that the colour detector of ``tests.fakes.models`` knows: 128 by 128, so that a cell is 16 by 16."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.fakes.models import TINY_LABELS

SIZE, CELL = 128, 16


def picture(places: dict[tuple[int, int], int]) -> np.ndarray:
    """A black picture with coloured cells: ``(row, column)`` → class id."""
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    for (row, column), class_id in places.items():
        frame[CELL * row : CELL * (row + 1), CELL * column : CELL * (column + 1), class_id] = 255
    return frame


def write_dataset(folder: Path, count: int = 20, *, classes: tuple[str, ...] = TINY_LABELS) -> Path:
    """A data set in YOLO's form: each picture has two coloured cells, away from each other."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        places = {(number % 7, number % 3): number % 3, (7, 4 + number % 4): (number + 1) % 3}
        cv2.imwrite(str(folder / "images" / f"{number:03d}.png"), picture(places))
        lines = [
            f"{class_id} {(column + 0.5) / 8} {(row + 0.5) / 8} {1 / 8} {1 / 8}"
            for (row, column), class_id in places.items()
        ]
        (folder / "labels" / f"{number:03d}.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    return folder
