"""The contact sheet: frames of the clip with what the messages said was in them, as one picture.

Each message names the frame's index in the clip (``index``), so that the boxes are drawn on the very frame they speak
of, although the picture itself never left the device. Pure but for :func:`save`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from msgspec import UNSET

from agent.errors import StorageError
from agent.link.messages import Detections

SCALE = 2
WIDEST = 480
"""Pixels of one frame on the sheet, at most."""
COLUMNS = 4
MARGIN, HEADER, CAPTION = 10, 54, 24
INK, PAPER, MUTED = (38, 30, 24), (250, 248, 246), (120, 110, 100)
COLOURS = {"fp32": (200, 120, 30), "int8": (60, 150, 40)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Panel:
    """A row group of the sheet: its heading, the colour of its boxes, and the messages to draw."""

    heading: str
    precision: str
    messages: Sequence[Detections]


def pick(messages: Sequence[Detections], count: int) -> list[Detections]:
    """Return up to ``count`` messages with detections, spread evenly, no clip frame twice, in the clip's order."""
    unique = {message.index: message for message in messages if message.detections}
    ordered = [unique[index] for index in sorted(unique)]
    if len(ordered) <= count:
        return ordered
    return [ordered[round(step * (len(ordered) - 1) / max(1, count - 1))] for step in range(count)]


def contact_sheet(title: str, frames: Mapping[int, np.ndarray], panels: Sequence[Panel]) -> np.ndarray:
    """Return the sheet, BGR. ``frames``: those of the clip that the messages name, by index, of one size."""
    shape = next(iter(frames.values())).shape
    scale = scale_of(shape[1])
    height, width = round(shape[0] * scale), round(shape[1] * scale)
    sheet_width = MARGIN + COLUMNS * (width + MARGIN)
    parts = [_strip(sheet_width, HEADER, title, 0.8, INK, 2)]
    for panel in panels:
        colour = COLOURS.get(panel.precision, INK)
        parts.append(_strip(sheet_width, 34, panel.heading, 0.55, colour, 1))
        for start in range(0, len(panel.messages), COLUMNS):
            row = np.full((height + CAPTION + MARGIN, sheet_width, 3), PAPER, np.uint8)
            for column, message in enumerate(panel.messages[start : start + COLUMNS]):
                left = MARGIN + column * (width + MARGIN)
                row[:height, left : left + width] = annotate(frames[message.index], message, colour, scale)
                caption = f"frame {message.index}, {message.latency_ms:.1f} ms from capture"
                _write(row, caption, (left, height + 17), 0.42, MUTED, 1)
            parts.append(row)
    return np.concatenate(parts)


def scale_of(width: int) -> float:
    """Return how much a frame is enlarged; a wide one is shrunk, so that a row of the sheet fits a screen."""
    return min(SCALE, WIDEST / width)


def annotate(frame: np.ndarray, message: Detections, colour: tuple[int, int, int], scale: float = SCALE) -> np.ndarray:
    """Return the frame enlarged, with the message's boxes drawn."""
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    found = () if message.detections is UNSET else message.detections
    for seen in found:
        x1, y1, x2, y2 = (round(side * scale) for side in seen.box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)
        text = f"{seen.label} {seen.score:.2f}"
        (wide, high), _ = cv2.getTextSize(text, FONT, 0.5, 1)
        top = max(0, y1 - high - 8)
        cv2.rectangle(picture, (x1 - 1, top), (x1 + wide + 8, top + high + 8), colour, -1)
        _write(picture, text, (x1 + 4, top + high + 3), 0.5, (255, 255, 255), 1)
    return picture


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture. Raises :class:`StorageError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise StorageError(f"{path}: the picture cannot be written; is the folder writable and the disk not full?")


def _strip(width: int, height: int, text: str, size: float, colour: tuple[int, int, int], weight: int) -> np.ndarray:
    strip = np.full((height, width, 3), PAPER, np.uint8)
    _write(strip, text, (MARGIN, height - 14), size, colour, weight)
    return strip


def _write(
    picture: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int], weight: int
) -> None:
    cv2.putText(picture, text, at, FONT, size, colour, weight, cv2.LINE_AA)
