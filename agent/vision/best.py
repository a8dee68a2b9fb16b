"""Which moment of a track makes its best picture. Pure.

A moment is the better the surer the detector is, the larger the object is (as far as a person needs it to recognise
something) and the less it is cut off by the edge of the frame. A picture is worth making for a track that has none, and
for one that is seen clearly better than in the picture it has; pictures of one camera are at least ``every_ns`` apart,
and a track that has none comes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from agent.types import Box, Detection

BETTER = 1.15
"""How much better a moment must be than the one of the kept picture."""

PLAIN_PX = 128.0
"""Shorter side of a box from which on a person sees enough; larger ones are no better."""

CUT_OFF = 0.6
"""What is left of the worth of an object that the edge of the frame cuts."""

MARGIN = 0.3
"""What is shown around a box, as part of its sides."""

MOST_TRACKS = 512


def quality(score: float, box: Box, size: tuple[int, int]) -> float:
    """Return how good a moment is, 0..1; ``size`` is the frame's, pixels."""
    x1, y1, x2, y2 = box
    side = max(0.0, min(x2 - x1, y2 - y1))
    whole = x1 > 1 and y1 > 1 and x2 < size[0] - 1 and y2 < size[1] - 1
    return score * min(1.0, side / PLAIN_PX) * (1.0 if whole else CUT_OFF)


def surroundings(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of the frame that is shown of an object: its box and a margin, inside the frame."""
    x1, y1, x2, y2 = box
    across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    return max(0.0, x1 - across), max(0.0, y1 - down), min(float(size[0]), x2 + across), min(float(size[1]), y2 + down)


class BestMoments:
    """One camera's tracks and how good their pictures are. Owned by one thread."""

    def __init__(self, *, every_ns: int) -> None:
        self._every_ns = every_ns
        self._kept: OrderedDict[int, float] = OrderedDict()
        self._last_ns: int | None = None

    def due(self, at_ns: int) -> bool:
        """Tell whether a frame of this moment may become a picture at all."""
        return self._last_ns is None or at_ns - self._last_ns >= self._every_ns

    def choose(self, detections: Iterable[Detection], size: tuple[int, int], at_ns: int) -> Detection | None:
        """Return the detection that a picture should be made of now, and count it as made; None: none is worth it."""
        if not self.due(at_ns):
            return None
        best: tuple[bool, float, Detection] | None = None
        for one in detections:
            if one.track is None:
                continue
            good, kept = quality(one.score, one.box, size), self._kept.get(one.track)
            if good <= 0 or (kept is not None and good < BETTER * kept):
                continue
            rank = (kept is None, good if kept is None else good / kept, one)
            if best is None or rank[:2] > best[:2]:
                best = rank
        if best is None:
            return None
        chosen = best[2]
        assert chosen.track is not None
        self._note(chosen.track, quality(chosen.score, chosen.box, size))
        self._last_ns = at_ns
        return chosen

    def failed(self, track: int) -> None:
        """Take note that the picture could not be made: the track's next good moment is worth another attempt."""
        self._kept.pop(track, None)

    def _note(self, track: int, good: float) -> None:
        self._kept.pop(track, None)
        self._kept[track] = good
        if len(self._kept) > MOST_TRACKS:
            self._kept.popitem(last=False)
