"""Where a camera's tracks are: in which polygons, across which lines, under which masks. Pure; numpy only.

:mod:`agent.vision.places` says what it means to be in a place or to cross it. Places may be redrawn while tracks are in
them. Owned by one thread: the pipeline's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agent.vision.filters import Vocabulary
from agent.vision.places import Change, Line, Place, Polygon, Sighting, ZoneSpec


class Zones:
    """All places of one camera. ``specs`` have names of their own; ``counted``: a line's crossings before this."""

    def __init__(
        self,
        specs: Sequence[ZoneSpec],
        vocabulary: Vocabulary,
        counted: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        counted = counted or {}
        self._vocabulary = vocabulary
        self._masks = [Polygon(spec) for spec in specs if spec.mask]
        self._polygons = [Polygon(spec) for spec in specs if not spec.mask and not spec.is_line]
        self._lines = [Line(spec, counted.get(spec.name, (0, 0))) for spec in specs if not spec.mask and spec.is_line]
        self._places: tuple[Place, ...] = (*self._polygons, *self._lines)
        self._entered: dict[int, list[str]] = {}
        self._size: tuple[int, int] | None = None

    def redraw(self, specs: Sequence[ZoneSpec]) -> list[Change]:
        """Have these places from now on; return the ends of the stays in polygons that are gone or moved.

        Places that are as they were go on. A polygon whose points are keeps who is in it; such a line counts on, one
        that was moved begins at 0.
        """
        polygons = {polygon.spec.name: polygon for polygon in self._polygons}
        lines = {line.spec.name: line for line in self._lines}
        found: list[Change] = []
        kept = {spec.name: spec.points for spec in specs if not spec.mask and not spec.is_line}
        for name, polygon in polygons.items():
            if kept.get(name) != polygon.spec.points:
                found += polygon.close()
        self._masks = [Polygon(spec) for spec in specs if spec.mask]
        self._polygons = [
            _goes_on(spec, polygons.get(spec.name)) for spec in specs if not spec.mask and not spec.is_line
        ]
        self._lines = [_counts_on(spec, lines.get(spec.name)) for spec in specs if not spec.mask and spec.is_line]
        self._places = (*self._polygons, *self._lines)
        known: tuple[object, ...] = (*polygons.values(), *lines.values())
        for place in (*self._masks, *self._places):
            if self._size is not None and place not in known:  # a line laid anew would forget who is on its way across
                place.resize(self._size)
        return found

    def present(self) -> list[Change]:
        """Return the stays that go on, told as if they began."""
        return [change for polygon in self._polygons for change in polygon.present()]

    def masked(self, seen: Sighting) -> np.ndarray:
        """Return who stands under a mask: bool (n,). ``ids`` are not looked at."""
        self._fit(seen.size)
        found = np.zeros(len(seen.label_ids), bool)
        if len(found) and self._masks:
            points = seen.anchors
            for mask in self._masks:
                found |= mask.holds(self._vocabulary, seen, points)
        return found

    def update(self, seen: Sighting) -> list[Change]:
        """Take the tracks that were seen in one frame, and return what changed, in the order of the places' names."""
        self._fit(seen.size)
        found: list[Change] = []
        if len(seen.ids) and self._places:
            points = seen.anchors
            for place in self._places:
                found += place.update(self._vocabulary, seen, points)
        for change in found:
            if change.kind == "zone" and change.type == "new":
                self._enter(change)
        return found + self.tick(seen.at_ns)

    def tick(self, at_ns: int) -> list[Change]:
        """Return who loiters by now: for frames that were left out as well."""
        return [change for polygon in self._polygons for change in polygon.tick(at_ns)]

    def forget(self, track: int) -> list[Change]:
        """End all that concerns a track that ended; ask for what it had entered before."""
        found = [change for place in self._places for change in place.forget(track)]
        self._entered.pop(track, None)
        return found

    def zones_of(self, track: int) -> tuple[str, ...]:
        """Return the zones in which a track is now."""
        return tuple(polygon.spec.name for polygon in self._polygons if polygon.has(track))

    def entered_by(self, track: int) -> tuple[str, ...]:
        """Return the zones that a track was ever in, in that order."""
        return tuple(self._entered.get(track, ()))

    def inside(self) -> dict[str, list[int]]:
        """Return each zone (a mask is none) with the tracks that are in it."""
        return {polygon.spec.name: list(polygon.inside()) for polygon in self._polygons}

    @property
    def crossings(self) -> Mapping[str, tuple[int, int]]:
        """Line → how often it was crossed ``in`` and ``out``."""
        return {line.spec.name: (line.counts["in"], line.counts["out"]) for line in self._lines}

    def _enter(self, change: Change) -> None:
        entered = self._entered.setdefault(change.track, [])
        if change.place not in entered:
            entered.append(change.place)

    def _fit(self, size: tuple[int, int]) -> None:
        if size != self._size:
            self._size = size
            for place in (*self._masks, *self._places):
                place.resize(size)


def _goes_on(spec: ZoneSpec, before: Polygon | None) -> Polygon:
    if before is None:
        return Polygon(spec)
    return before if before.spec == spec else before.redrawn(spec)


def _counts_on(spec: ZoneSpec, before: Line | None) -> Line:
    if before is None or before.spec.points != spec.points:
        return Line(spec)
    return before if before.spec == spec else Line(spec, (before.counts["in"], before.counts["out"]))
