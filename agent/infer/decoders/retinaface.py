"""RetinaFace and other detectors with priors: offsets ``(1, n, 4)``, scores ``(1, n, 1 + classes)``, maybe landmarks.

The scores' first column is the background; they are probabilities unless ``softmax: true``. A prior is a square of each
of the level's ``min_sizes`` (pixels) about the centre of each cell of each of the ``steps``, cell by cell, row by row;
a step that does not divide a side has one more cell there. With ``variances`` v: centre = prior's centre + xy * v0 *
prior's size, size = prior's size * exp(wh * v1). Defaults are those of RetinaFace with MobileNet 0.25. After
``PriorBox`` and ``decode`` (github.com/biubug6/Pytorch_Retinaface, ``layers/functions/prior_box.py``,
``utils/box_utils.py``).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from agent.errors import ModelError
from agent.infer.decoders.base import (
    Candidates,
    Expected,
    Output,
    Params,
    Size,
    cells,
    check_names,
    flag,
    numbers_of,
)
from agent.infer.decoders.boxes import from_centres
from agent.infer.decoders.boxes_scores import best_classes

MIN_SIZES = ((16, 32), (64, 128), (256, 512))
STEPS = (8, 16, 32)
VARIANCES = (0.1, 0.2)

Levels = tuple[tuple[int, tuple[float, ...]], ...]


def expect_retinaface(*, input_size: Size, params: Params, num_classes: int) -> tuple[Expected, ...]:
    """Return the outputs. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("min_sizes", "steps", "variances", "softmax"))
    flag(params, "softmax")
    numbers_of(params, "variances", VARIANCES, count=2)
    if any(not step.is_integer() for step in numbers_of(params, "steps", STEPS)):
        raise ModelError(f"decoder.steps {params['steps']!r}: whole numbers are needed", field="decoder.steps")
    sizes = params.get("min_sizes", MIN_SIZES)
    if not isinstance(sizes, list | tuple) or len(sizes) != len(params.get("steps", STEPS)):
        raise ModelError(
            f"decoder.min_sizes {sizes!r}: a list of sizes is needed for each of the "
            f"{len(params.get('steps', STEPS))} steps",
            field="decoder.min_sizes",
        )
    for level in sizes:
        numbers_of({"min_sizes": level}, "min_sizes", None)
    count = len(priors(input_size, _levels(params)))
    return (
        Output(((1, count, 4),), "boxes", ("loc", "bbox", "boxes", "box")),
        Output(((1, count, 1 + num_classes),), "scores", ("conf", "scores", "score", "cls", "class")),
    )


def _levels(params: Params) -> Levels:
    sizes = params.get("min_sizes", MIN_SIZES)
    return tuple((int(step), tuple(level)) for step, level in zip(params.get("steps", STEPS), sizes, strict=True))


@lru_cache(maxsize=4)
def priors(input_size: Size, levels: Levels) -> np.ndarray:
    """Return ``(n, 3)`` float32 rows: centre x, centre y and side in pixels of every prior; read-only."""
    parts = []
    for step, sizes in levels:
        cell = cells(input_size, (step,))
        centres = np.repeat((cell[:, 0:2] + np.float32(0.5)) * cell[:, 2:3], len(sizes), axis=0)
        sides = np.tile(np.array(sizes, np.float32), len(cell))
        parts.append(np.concatenate([centres, sides[:, np.newaxis]], axis=1))
    every: np.ndarray = np.concatenate(parts)
    every.setflags(write=False)
    return every


def decode_retinaface(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: offsets are read only there."""
    del num_classes
    activation = "softmax" if params.get("softmax", False) else "none"
    kept, scores, class_ids = best_classes(outputs[1][0], activation, "first", score_floor)
    offsets, prior = outputs[0][0][kept], priors(input_size, _levels(params))[kept]
    near, far = params.get("variances", VARIANCES)
    centres = prior[:, 0:2] + offsets[:, 0:2] * near * prior[:, 2:3]
    with np.errstate(over="ignore"):  # an infinite box is refused by the caller, in words
        sizes = prior[:, 2:3] * np.exp(offsets[:, 2:4] * far)
    return Candidates(from_centres(np.concatenate([centres, sizes], axis=1)), scores, class_ids)
