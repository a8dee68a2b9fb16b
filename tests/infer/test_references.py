"""Every family says what its own reference says, on what real networks put out for real pictures.

The recordings under ``references`` hold outputs and the reference's detections; how each was made, and with which
reference, stands in the script beside it. Here the detector reads them: decoder, merging, and the way back to pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.infer.decoders.table import DECODERS
from agent.infer.detector import Detector
from agent.types import TensorInfo
from tests.infer.references import recording

FOLDER = Path(__file__).parent / "references"
RECORDINGS = sorted(path.stem for path in FOLDER.glob("*.npz"))
LEAST_PICTURES, LEAST_DETECTIONS = 20, 50
IOU, SCORE = 0.99, 1e-3


class Replayed:
    """A session that has run already: what it says of itself is what the file said."""

    def __init__(self, found: recording.Recording) -> None:
        spec = found.spec
        dtypes = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
        self.inputs = (TensorInfo(spec.input.name, dtypes[spec.input.dtype], spec.input.shape),)
        first = found.cases[0].outputs
        same = all([out.shape for out in case.outputs] == [out.shape for out in first] for case in found.cases)
        self.outputs = tuple(
            TensorInfo(name, dtype, output.shape if same else (-1,) * output.ndim)
            for (name, dtype), output in zip(found.outputs, first, strict=True)
        )
        self.first_run_ms = 1.0


def answer(found: recording.Recording, detector: Detector, case: recording.Case, order: list[int]) -> np.ndarray:
    buffer = detector.buffer()
    detector.preprocess(np.zeros((case.size[1], case.size[0], 3), np.uint8), buffer)
    rows = detector.postprocess([case.outputs[position] for position in order], buffer).detections
    assert rows is not None
    return rows


def iou(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    one, many = one.astype(np.float64), many.astype(np.float64)
    sides = np.minimum(one[2:4], many[:, 2:4]) - np.maximum(one[0:2], many[:, 0:2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    return shared / (np.prod(one[2:4] - one[0:2]) + np.prod(many[:, 2:4] - many[:, 0:2], axis=1) - shared)


def assert_same_set(rows: np.ndarray, expected: np.ndarray) -> None:
    assert len(rows) == len(expected)
    left = rows.copy()
    for wanted in expected:
        close = (iou(wanted[:4], left[:, :4]) >= IOU) & (left[:, 5] == wanted[5])
        close &= np.abs(left[:, 4] - wanted[4]) <= SCORE
        assert close.any(), f"{wanted} is missing"
        left = np.delete(left, close.argmax(), axis=0)


@pytest.mark.parametrize("reverse", [False, True], ids=["as exported", "outputs in another order"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_the_detections_are_those_of_the_familys_reference(name: str, reverse: bool) -> None:
    found = recording.load(FOLDER / f"{name}.npz")
    session = Replayed(found)
    order = list(range(len(session.outputs)))
    if reverse:
        if len(order) == 1 or found.spec.decoder.kind == "centerface":
            pytest.skip("one output, or two of one shape and without telling names, of which the first is meant first")
        order.reverse()
        session.outputs = session.outputs[::-1]
    above = float(
        np.nextafter(np.float32(found.score), np.float32(1))
    )  # every reference asks for more than its threshold
    detector = Detector(found.spec, session, score_floor=above)
    for case in found.cases:
        assert_same_set(answer(found, detector, case, order), case.expected)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_worth_the_name(name: str) -> None:
    found = recording.load(FOLDER / f"{name}.npz")
    assert found.reference
    assert len(found.cases) >= LEAST_PICTURES
    assert sum(len(case.expected) for case in found.cases) >= LEAST_DETECTIONS
    assert sum(len(case.expected) > 0 for case in found.cases) >= LEAST_PICTURES
    assert (FOLDER / f"{name}.npz").stat().st_size <= recording.MOST_BYTES


def test_every_family_that_finds_boxes_has_a_recording() -> None:
    kinds = {recording.load(FOLDER / f"{name}.npz").spec.decoder.kind for name in RECORDINGS}
    assert kinds == {kind for kind, decoder in DECODERS.items() if decoder.task == "detect"}
