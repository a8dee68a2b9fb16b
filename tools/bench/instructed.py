"""One part of a frame's way, so many times, for whoever counts its instructions: see :mod:`tools.bench.instructions`.

``python -m tools.bench.instructed PART TIMES``, under callgrind. What is given to the parts is made up and always the
same, so that no model has to be run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from agent.types import InputSpec

SIZE, CELLS, CLASSES, OBJECTS = (416, 416), 3549, 80, 25
PARTS = ("preprocess", "decode and NMS", "track", "serialise")

Step = Callable[[], object]


def preprocess() -> Step:
    """Fit a 1280x720 frame into a float input."""
    import cv2

    from agent.infer.preprocess import Preprocessor

    cv2.setNumThreads(1)
    made = Preprocessor(InputSpec(name="images", shape=(1, 3, SIZE[1], SIZE[0])))
    buffer = made.buffer()
    frame = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    return lambda: made(frame, buffer)


def decode() -> Step:
    """Read a YOLOX's output with a hundred likely cells."""
    from agent.infer.decoders.yolox import decode_yolox
    from agent.infer.nms import suppress

    chance = np.random.default_rng(2)
    output = chance.uniform(0, 0.05, (1, CELLS, 5 + CLASSES)).astype(np.float32)
    likely = chance.choice(CELLS, 100, replace=False)
    output[0, likely, 4], output[0, likely, 5] = 0.9, 0.9

    def step() -> object:
        found = decode_yolox([output], input_size=SIZE, params={}, num_classes=CLASSES, score_floor=0.1)
        return suppress(found.boxes, found.scores, found.class_ids, iou=0.45, most=100)

    return step


def track() -> Step:
    """Follow people who walk."""
    from agent.vision.track import Tracker, TrackSettings

    tracker, chance = Tracker(TrackSettings()), np.random.default_rng(3)
    corners = chance.uniform(0, 600, (OBJECTS, 2))
    rows = np.concatenate([corners, corners + 50, np.full((OBJECTS, 1), 0.9), np.zeros((OBJECTS, 1))], axis=1)
    at_ns = iter(range(0, 10**18, 40_000_000))

    def step() -> object:
        rows[:, [0, 2]] += 2
        return tracker.update(rows, next(at_ns))

    return step


def serialise() -> Step:
    """Write the message of a frame."""
    from agent.link.messages import detections_message, encode
    from tools.bench.parts import result

    told = result()
    return lambda: encode(detections_message(told))


MAKE: dict[str, Callable[[], Step]] = dict(zip(PARTS, (preprocess, decode, track, serialise), strict=True))


def main() -> None:
    """Do it, and end without the interpreter's farewell, which is none of the part's."""
    step = MAKE[sys.argv[1]]()
    for _ in range(int(sys.argv[2])):
        step()
    os._exit(0)


if __name__ == "__main__":
    main()
