"""Class-aware non-maximum suppression. No I/O; any thread.

ONNX Runtime's own ``NonMaxSuppression`` does the work, as a graph of one operator: float boxes, suppressed above (not
at) the threshold, only by a better box of the same class, the earlier one first where scores are equal. OpenCV's takes
more than twice as long, since its binding wants a Python list of every box. It slows with the square of the number of
boxes, so that only the best :data:`MAX_CANDIDATES` take part: a model that answers a million boxes costs 30 ms, not
minutes.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np

from agent.infer.session import Operator, operator

MAX_CANDIDATES = 3000

MOST_CELLS = 1 << 18
"""Classes times boxes that are given to the operator at once (a MiB of scores); beyond it class after class."""

GRAPH = (
    "CAg6yAEKOgoFYm94ZXMKBnNjb3JlcwoEbW9zdAoDaW91CgVmbG9vchIEa2VwdCIRTm9uTWF4U3VwcHJlc3Npb24SA25tc1oZCgVi"
    "b3hlcxIQCg4IARIKCgIIAQoACgIIBFoYCgZzY29yZXMSDgoMCAESCAoCCAEKAAoAWhIKBG1vc3QSCgoICAcSBAoCCAFaEQoDaW91"
    "EgoKCAgBEgQKAggBWhMKBWZsb29yEgoKCAgBEgQKAggBYhQKBGtlcHQSDAoKCAcSBgoACgIIA0IECgAQCw=="
)
"""The operator's graph; ``tests/infer/test_nms.py`` builds it anew and compares."""

_NOBODY = np.float32(-np.inf)
_ANY = np.array([np.finfo(np.float32).min], np.float32)
"""Every score is above it but :data:`_NOBODY`, that of a box in another box' class."""


@cache
def prepare() -> Operator:
    """Load the operator, once a process: whoever suppresses in a loop does it before, so that no frame waits."""
    return operator(base64.b64decode(GRAPH))


def suppress(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, *, iou: float, most: int) -> np.ndarray:
    """Return the indices of at most ``most`` boxes to keep, best first (the earlier one where scores are equal).

    ``boxes``: ``(n, 4)`` xyxy, finite; ``scores``: ``(n,)``, finite; ``class_ids``: ``(n,)`` whole numbers from 0. A
    box goes when a better one of its class overlaps it by more than ``iou`` (intersection over union).
    """
    count = len(scores)
    if count == 0:
        return np.zeros(0, np.intp)
    if count > MAX_CANDIDATES:
        best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
        among: np.ndarray = best[suppress(boxes[best], scores[best], class_ids[best], iou=iou, most=most)]
        return among
    boxes, scores = boxes.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)
    present = np.bincount(class_ids).nonzero()[0]
    if len(present) == 1:
        kept = _kept(boxes, scores[None], iou, most)
    elif len(present) * count <= MOST_CELLS:
        table = np.full((len(present), count), _NOBODY)
        table[present.searchsorted(class_ids), np.arange(count)] = scores
        kept = _kept(boxes, table, iou, most)
    else:
        groups = [(class_ids == class_id).nonzero()[0] for class_id in present]
        kept = np.concatenate([group[_kept(boxes[group], scores[None, group], iou, most)] for group in groups])
    order = np.lexsort((kept, -scores[kept]))
    chosen: np.ndarray = kept[order[:most]]
    return chosen


def _kept(boxes: np.ndarray, scores: np.ndarray, iou: float, most: int) -> np.ndarray:
    """Return the indices that stay, class by class; ``scores``: ``(classes, n)``, :data:`_NOBODY` for other boxes."""
    (kept,) = prepare()(
        {
            "boxes": boxes[None],
            "scores": scores[None],
            "most": np.array([most]),
            "iou": np.array([iou], np.float32),
            "floor": _ANY,
        }
    )
    return kept[:, 2]
