"""Compare candidates with rows that a slow reference found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.infer.decoders.base import Candidates


def assert_same(found: Candidates, rows: Sequence[tuple[float, ...]], *, tolerance: float = 1e-4) -> None:
    """``rows``: ``x1 y1 x2 y2 score class_id``, in the order of the cells; types and shapes are checked as well."""
    assert found.boxes.shape == (len(rows), 4)
    assert found.scores.shape == found.class_ids.shape == (len(rows),)
    assert (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)
    if rows:
        expected = np.array(rows)
        np.testing.assert_allclose(found.boxes, expected[:, :4], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found.scores, expected[:, 4], rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(found.class_ids, expected[:, 5])
