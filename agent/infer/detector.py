"""From a frame to an answer in three steps, each of which may run in a thread of its own on a buffer of its own.

Whether file and manifest fit is decided here, once, when a detector is made: everything after trusts shapes and types.
What a model answers is never trusted: an output that is not finite, a box at infinity or a score that is none is an
:class:`OutputError`, not a missing detection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.errors import ModelError, OutputError
from agent.infer.decoders.base import Candidates, Decoder, overlaps_of
from agent.infer.families import find_decoder
from agent.infer.fit import check_input, check_outputs, has_shape
from agent.infer.nms import prepare, suppress
from agent.infer.preprocess import Buffer, Geometry, Preprocessor
from agent.infer.session import Session
from agent.types import ModelSpec

_MOST_SCORE = 1.05  # quantized outputs may overshoot 1 by a step; further off they are no scores


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model saw in one frame; exactly one of the two is not None.

    ``detections``: float32 ``(n, 6)`` rows ``x1 y1 x2 y2 score class_id``, pixels of the frame, best first.
    ``classes``: float32 ``(k, 2)`` rows ``score class_id``, best first.
    """

    detections: np.ndarray | None
    classes: np.ndarray | None


class Detector:
    """A session and the manifest that it fits. Also serves classifiers.

    ``preprocess``, ``run`` and ``postprocess`` may be called from several threads at once, each with another buffer.
    Only what scores at least ``score_floor`` is answered. Raises :class:`ModelError` when file and manifest contradict
    one another.
    """

    def __init__(self, spec: ModelSpec, session: Session, *, score_floor: float) -> None:
        self.spec = spec
        self.session = session
        self.score_floor = score_floor
        self._preprocessor = Preprocessor(spec.input)
        self._decoder = _decoder_of(spec)
        self._input_size = (spec.input.width, spec.input.height)
        check_input(spec.input, session.inputs)
        expected = self._decoder.expect(
            input_size=self._input_size, params=spec.decoder.params, num_classes=spec.num_classes
        )
        self._expected = tuple(zip(check_outputs(spec, expected, session.outputs), expected, strict=False))
        """Which of the file's outputs is read, and what it should look like, in the decoder's order."""
        self._overlaps = overlaps_of(spec.decoder.params, self._decoder.overlaps)
        if self._overlaps != "none":
            prepare()
        if session.first_run_ms is None:
            session.warm_up(spec.input.shape)

    def buffer(self) -> Buffer:
        """Return a new buffer for one frame in flight."""
        return self._preprocessor.buffer()

    def preprocess(self, frame: np.ndarray, into: Buffer) -> None:
        """Write a BGR frame into a buffer. Raises :class:`~agent.errors.InputError` for what is no frame."""
        self._preprocessor(frame, into)

    def run(self, buffer: Buffer) -> list[np.ndarray]:
        """Return the model's outputs for this buffer. Raises :class:`ModelError`."""
        return self.session.run(buffer.tensor)

    def postprocess(self, outputs: list[np.ndarray], buffer: Buffer) -> Answer:
        """Return what these outputs mean in the frame that ``buffer`` was filled with. Raises :class:`OutputError`."""
        numbers = self._checked(outputs)
        found = self._decoder(
            numbers,
            input_size=self._input_size,
            params=self.spec.decoder.params,
            num_classes=self.spec.num_classes,
            score_floor=self.score_floor,
        )
        _check_candidates(found, self.spec.num_classes)
        if self._decoder.task == "classify":
            return Answer(None, np.stack([np.minimum(found.scores, 1), found.class_ids], axis=1, dtype=np.float32))
        return Answer(self._select(found, buffer.geometry), None)

    def __call__(self, frame: np.ndarray) -> Answer:
        """Answer one BGR frame with a buffer of its own: for golden images and tools, not for a loop."""
        buffer = self.buffer()
        self.preprocess(frame, buffer)
        return self.postprocess(self.run(buffer), buffer)

    def _checked(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs that are read, in the decoder's order, as float32 of the right shape, all finite."""
        read = []
        for position, wanted in self._expected:
            name, output = self.session.outputs[position].name, outputs[position]
            if not has_shape(output, wanted):
                raise OutputError(
                    f"output {name}: has shape {list(output.shape)}, which decoder {self.spec.decoder.kind} "
                    "cannot read: the file does not fit its manifest"
                )
            if not _all_finite(output):
                raise OutputError(
                    f"output {name}: {int(np.count_nonzero(~np.isfinite(output)))} of {output.size} "
                    "numbers are not finite: the model's file or its quantization is broken"
                )
            read.append(np.asarray(output, np.float32))
        return read

    def _select(self, found: Candidates, geometry: Geometry) -> np.ndarray:
        """Return the rows of an answer: without overlaps, in pixels of the frame, clipped to it, best first.

        Overlaps are those of whole boxes, before what lies outside the frame is cut off, as the families' own
        post-processing has it; a resize changes none of them.
        """
        kept = self._merged(found)
        boxes = geometry.inverse(found.boxes[kept])
        rows = np.empty((len(kept), 6), np.float32)
        rows[:, :4] = boxes
        rows[:, 4] = np.minimum(found.scores[kept], 1)
        rows[:, 5] = found.class_ids[kept]
        inside = _with_area(boxes)
        return rows if inside.all() else rows[inside]

    def _merged(self, found: Candidates) -> np.ndarray:
        """Return the indices of the boxes that stay, best first."""
        most = self.spec.max_detections
        if self._overlaps == "none":
            return np.argsort(-found.scores, kind="stable")[:most]
        boxes, scores, class_ids = found
        if self._overlaps == "class_agnostic":
            class_ids = np.zeros(len(scores), np.int32)
        real = _with_area(boxes)
        if real.all():
            return suppress(boxes, scores, class_ids, iou=self.spec.nms_iou, most=most)
        of = real.nonzero()[0]
        kept: np.ndarray = of[suppress(boxes[of], scores[of], class_ids[of], iou=self.spec.nms_iou, most=most)]
        return kept


def _decoder_of(spec: ModelSpec) -> Decoder:
    decoder = find_decoder(spec.decoder.kind)
    if decoder.task != spec.task:
        raise ModelError(
            f"decoder.kind {spec.decoder.kind!r}: it reads models that {decoder.task}, the manifest's task is "
            f"{spec.task}",
            field="decoder.kind",
        )
    return decoder


def _with_area(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes ``(n, 4)`` xyxy have an area, bool ``(n,)``."""
    wide: np.ndarray = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return wide


def _all_finite(output: np.ndarray) -> bool:
    """Return whether every number is finite; where the sum of their squares is, all are, and it is told sooner."""
    if output.dtype == np.float32 and output.flags.c_contiguous:
        flat = output.reshape(-1)
        if np.isfinite(flat @ flat):
            return True
    return bool(np.isfinite(output).all())


def _check_candidates(found: Candidates, num_classes: int) -> None:
    """Refuse boxes, scores and classes that no output could mean. Scores of candidates lie above the floor already."""
    if not len(found.scores):
        return
    if not np.isfinite(found.boxes).all():
        raise OutputError(
            "a box is infinitely large: the outputs are not what the manifest's decoder reads, or the model is broken"
        )
    if (most := float(found.scores.max())) > _MOST_SCORE:
        raise OutputError(
            f"a score is {most:.3g}, scores are 0 to 1: the outputs are not what the manifest's decoder reads "
            "(raw where it expects a sigmoid or softmax?)"
        )
    if (least := int(found.class_ids.min())) < 0 or (last := int(found.class_ids.max())) >= num_classes:
        wrong = least if least < 0 else last
        raise OutputError(
            f"a class is number {wrong}, the manifest has labels 0 to {num_classes - 1}: correct the labels, or "
            "decoder.class_offset where the family has it"
        )
