"""Agreement: how far one model's detections are those of another, in the measure that detectors are judged by.

It is COCO's mAP 50-95 of the one against the other's own detections above 0.3 as if they were the truth: it needs no
labels, and is steadier than mAP on few images. (The device's shadow counts pairs instead, see
:mod:`tools.model.agreement`: that is called matched F1.) Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.model.evaluate.detection import mean_average_precision

SCORE = 0.3


def map_agreement(
    reference: Sequence[np.ndarray], other: Sequence[np.ndarray], num_classes: int, *, score: float = SCORE
) -> float:
    """Return the agreement 0..1 of ``other`` with ``reference``: rows ``x1 y1 x2 y2 score class_id`` for each picture.

    ``other`` is wanted down to low scores, as :func:`~tools.model.evaluate.predict.predict` gives them. Where the
    reference sees nothing above ``score``, it is 1 if the other sees nothing either, else 0.
    """
    truths = [rows[rows[:, 4] >= score][:, [0, 1, 2, 3, 5]] for rows in reference]
    if not any(len(rows) for rows in truths):
        return 0.0 if any((rows[:, 4] >= score).any() for rows in other) else 1.0
    return mean_average_precision(truths, other, num_classes)[0]
