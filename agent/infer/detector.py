"""From a frame to an answer in three steps, each of which may run in a thread of its own on a buffer of its own.

Whether file and manifest fit is decided here, once, when a detector is made: everything after trusts shapes and types.
What a model answers is never trusted: an output that is not finite, a box at infinity or a score that is none is an
:class:`OutputError`, not a missing detection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.errors import ModelError, OutputError
from agent.infer.decoders.base import Candidates, Decoder
from agent.infer.decoders.table import DECODERS
from agent.infer.fit import check_input, check_outputs
from agent.infer.nms import suppress
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

    ``preprocess``, ``run`` and ``postprocess`` may be called from three threads at once, each with another buffer;
    ``run`` from one thread at a time. Only what scores at least ``score_floor`` is answered. Raises
    :class:`ModelError` when file and manifest contradict one another.
    """

    def __init__(self, spec: ModelSpec, session: Session, *, score_floor: float) -> None:
        self.spec = spec
        self.session = session
        self.score_floor = score_floor
        self._preprocessor = Preprocessor(spec.input)
        self._decoder = _find_decoder(spec)
        self._input_size = (spec.input.width, spec.input.height)
        check_input(spec.input, session.inputs)
        expected = self._decoder.expect(
            input_size=self._input_size, params=spec.decoder.params, num_classes=spec.num_classes
        )
        check_outputs(spec, expected, session.outputs)
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
        _check_candidates(found)
        if self._decoder.task == "classify":
            return Answer(None, np.stack([np.minimum(found.scores, 1), found.class_ids], axis=1, dtype=np.float32))
        return Answer(self._select(found, buffer.geometry), None)

    def __call__(self, frame: np.ndarray) -> Answer:
        """Answer one BGR frame with a buffer of its own: for golden images and tools, not for a loop."""
        buffer = self.buffer()
        self.preprocess(frame, buffer)
        return self.postprocess(self.run(buffer), buffer)

    def _checked(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs as float32, after making sure that every number in them is finite."""
        for info, output in zip(self.session.outputs, outputs, strict=True):
            if not np.isfinite(output).all():
                raise OutputError(
                    f"output {info.name}: {int(np.count_nonzero(~np.isfinite(output)))} of {output.size} "
                    "numbers are not finite: the model's file or its quantization is broken"
                )
        return [np.asarray(output, np.float32) for output in outputs]

    def _select(self, found: Candidates, geometry: Geometry) -> np.ndarray:
        """Return the rows of an answer: in pixels of the frame, clipped to it, without overlaps, best first."""
        boxes = geometry.inverse(found.boxes).astype(np.float32)
        inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        kept = inside[
            suppress(
                boxes[inside],
                found.scores[inside],
                found.class_ids[inside],
                iou=self.spec.nms_iou,
                most=self.spec.max_detections,
            )
        ]
        rows = np.empty((len(kept), 6), np.float32)
        rows[:, :4] = boxes[kept]
        rows[:, 4] = np.minimum(found.scores[kept], 1)
        rows[:, 5] = found.class_ids[kept]
        return rows


def _find_decoder(spec: ModelSpec) -> Decoder:
    decoder = DECODERS.get(spec.decoder.kind)
    if decoder is None:
        raise ModelError(
            f"decoder.kind {spec.decoder.kind!r}: this agent has {', '.join(sorted(DECODERS))}", field="decoder.kind"
        )
    if decoder.task != spec.task:
        raise ModelError(
            f"decoder.kind {spec.decoder.kind!r}: it reads models that {decoder.task}, the manifest's task is "
            f"{spec.task}",
            field="decoder.kind",
        )
    return decoder


def _check_candidates(found: Candidates) -> None:
    """Refuse boxes and scores that no output could mean. Scores of candidates lie above the floor already."""
    if not np.isfinite(found.boxes).all():
        raise OutputError(
            "a box is infinitely large: the outputs are not what the manifest's decoder reads, or the model is broken"
        )
    if len(found.scores) and (most := float(found.scores.max())) > _MOST_SCORE:
        raise OutputError(
            f"a score is {most:.3g}, scores are 0 to 1: the outputs are not what the manifest's decoder reads "
            "(raw where it expects a sigmoid or softmax?)"
        )
