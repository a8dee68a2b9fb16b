"""Where boxes will be: a Kalman filter of constant velocity for many boxes at once, over uneven times. Pure.

Centre, width and height of a box are four independent values, each with its velocity, so that the filter inverts no
matrices: position, velocity and the three numbers of their covariance are arrays (4, n), a column a box, since numpy
runs fastest along the last axis. All noise is a share of the box' size. Velocities fade (a walker stops, a box does not
grow for ever), which keeps a prediction over a gap of a second near what was seen.
"""

from __future__ import annotations

import math

import numpy as np

FADE_CENTRE_S, FADE_SIDES_S = 1.5, 0.3
"""After this time without a sighting about a third of a velocity is left."""
MEASURED = 0.06
"""Spread of a detector's box, share of the box' size."""
RESTLESS = 1.2
"""How much a velocity may change within a second, sizes a second."""
FIRST_SPEED = 2.0
"""Spread of the velocity of a box seen once, sizes a second."""
LONGEST_STEP_S = 10.0
LEAST_AREA = 1.0


_CENTRED = np.array([[0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5], [-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]])
_CORNERS = np.array([[1.0, 0.0, -0.5, 0.0], [0.0, 1.0, 0.0, -0.5], [1.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.5]])


def centred(boxes: np.ndarray) -> np.ndarray:
    """Turn ``xyxy`` (4, n) into centre x, centre y, width, height; sides are never negative."""
    values: np.ndarray = _CENTRED.dot(boxes)
    sides = values[2:]
    np.maximum(sides, 0.0, out=sides)
    return values


class Motion:
    """The state of n boxes; the position in the arrays is the caller's handle until :meth:`keep`.

    ``values`` (4, n): centre x, centre y, width, height; ``speeds`` (4, n): their change a second. Both are views, good
    until the next call.
    """

    def __init__(self) -> None:
        self._set(np.zeros((21, 0)))

    def _set(self, lines: np.ndarray) -> None:
        """Take over a state: five times four lines and one more, each box' area, of which noise is a share."""
        self._lines = lines
        self._state = lines[:20].reshape(5, 4, -1)
        self.values: np.ndarray = self._state[0]
        self.speeds: np.ndarray = self._state[1]

    def areas(self) -> np.ndarray:
        """Return each box' area, at least a pixel."""
        return _areas(self.values)

    def boxes(self) -> np.ndarray:
        """Return the boxes ``xyxy`` (4, n) as they are believed to be now."""
        return np.asarray(_CORNERS.dot(self.values))

    def advance(self, step_s: float) -> None:
        """Let ``step_s`` seconds pass."""
        _areas(self.values, out=self._lines[20])
        self._set(_passing(min(step_s, LONGEST_STEP_S)).dot(self._lines))
        sides = self.values[2:]
        np.maximum(sides, 0.0, out=sides)

    def correct(self, which: np.ndarray, boxes: np.ndarray) -> None:
        """Take in what was seen: ``boxes`` (4, n) ``xyxy`` where the mask ``which`` (n,) is True.

        The others' columns are any finite boxes, measured with endless noise: nothing is learnt from them. That costs
        less than to pick out those that were seen, the more so since nearly all are.
        """
        seen = centred(boxes)
        values, speeds, variance, shared, speed_variance = self._state
        noise = MEASURED**2 * _areas(seen)
        noise[~which] = np.inf
        total = variance + noise
        gain, speed_gain = variance / total, shared / total
        seen -= values
        values += gain * seen
        sides = values[2:]
        np.maximum(sides, 0.0, out=sides)
        speeds += speed_gain * seen
        speed_variance -= speed_gain * shared
        rest = 1.0 - gain
        variance *= rest
        shared *= rest

    def halt(self, which: np.ndarray) -> None:
        """Nothing moves at ``which`` (a mask)."""
        self.speeds[:, which] = 0.0

    def add(self, boxes: np.ndarray) -> None:
        """Append boxes ``xyxy`` (4, k) seen for the first time."""
        new = np.zeros((21, boxes.shape[1]))
        state = new[:20].reshape(5, 4, -1)
        state[0] = centred(boxes)
        area = _areas(state[0])
        state[2] = MEASURED**2 * area
        state[4] = FIRST_SPEED**2 * area
        self._set(np.concatenate((self._lines, new), axis=1))

    def keep(self, mask: np.ndarray) -> None:
        """Forget the boxes where ``mask`` is False; the others close ranks."""
        self._set(self._lines.compress(mask, axis=1))


def _areas(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    area = np.multiply(values[2], values[3], out=out)
    return np.asarray(np.maximum(area, LEAST_AREA, out=area))


def _passing(step: float) -> np.ndarray:
    """Return what ``step`` seconds do to a state's lines as a matrix (21, 21).

    One product takes a fraction of what numpy's calls line by line take, and so does looking up where each of the few
    different numbers in it stands.
    """
    numbers = [0.0, 1.0]
    for fade_s in (FADE_CENTRE_S, FADE_SIDES_S):
        fade = math.exp(-step / fade_s)
        reach = fade_s * (1.0 - fade)
        numbers += [reach, fade, 2.0 * reach, reach * reach, fade * reach, fade * fade]
    noise = RESTLESS**2 * step
    numbers += [noise * step**2 / 3, noise * step / 2, noise]
    return np.array(numbers).take(_PLACES)


def _places() -> np.ndarray:
    """Return which of the numbers of :func:`_passing` stands where."""
    places = np.eye(21, dtype=np.intp)
    value, speed, variance, shared, speed_variance = range(5)
    for measure in range(4):
        at = np.arange(measure, 20, 4)
        reach, fade, twice, squared, both, fade_squared = range(2 + measure // 2 * 6, 8 + measure // 2 * 6)
        places[at[value], at[speed]] = reach
        places[at[speed], at[speed]] = places[at[shared], at[shared]] = fade
        places[at[variance], at[shared]] = twice
        places[at[variance], at[speed_variance]] = squared
        places[at[shared], at[speed_variance]] = both
        places[at[speed_variance], at[speed_variance]] = fade_squared
        places[at[variance:], 20] = 14, 15, 16
    return places


_PLACES = _places()
