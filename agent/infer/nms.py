"""Class-aware non-maximum suppression. Pure.

OpenCV's batched NMS does the work: stable by score, float boxes, suppressed above (not at) the threshold, and only by
a better box of the same class. It slows with the square of the number of boxes, so that only the best
:data:`MAX_CANDIDATES` take part: a model that answers a million boxes costs 30 ms, not minutes. OpenCV's own ``top_k``
is not used: it cuts before suppression, not after.
"""

from __future__ import annotations

import cv2
import numpy as np

MAX_CANDIDATES = 3000


def suppress(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, *, iou: float, most: int) -> np.ndarray:
    """Return the indices of at most ``most`` boxes to keep, best first (the earlier one where scores are equal).

    ``boxes``: ``(n, 4)`` xyxy, finite; ``scores``: ``(n,)``; ``class_ids``: ``(n,)`` whole numbers from 0. A box goes
    when a better one of its class overlaps it by more than ``iou`` (intersection over union).
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    if len(order) == 0:
        return order
    best = boxes[order].astype(np.float32)
    best[:, 2:] -= best[:, :2]  # OpenCV wants x y width height
    # Lists: of an array OpenCV's binding makes an array a row first, which takes longer than all the comparing.
    kept = cv2.dnn.NMSBoxesBatched(best.tolist(), scores[order].tolist(), class_ids[order].tolist(), -1.0, iou)
    chosen: np.ndarray = order[np.asarray(kept, np.intp)[:most]]
    return chosen
