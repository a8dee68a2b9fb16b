"""Where boxes will be: a Kalman filter of constant velocity for many boxes at once, over uneven times. Pure.

Centre, width and height of a box are four independent values, each with its velocity, so that the filter needs no
matrices: position, velocity and the three numbers of their covariance are arrays (n, 4). All noise is a share of the
box' size. Velocities fade (a walker stops, a box does not grow for ever), which keeps a prediction over a gap of a
second near what was seen.
"""

from __future__ import annotations

import numpy as np

FADE_S = np.array([1.5, 1.5, 0.3, 0.3])
"""After this time without a sighting about a third of a velocity is left: centre x, y, width, height."""
MEASURED = 0.06
"""Spread of a detector's box, share of the box' size."""
RESTLESS = 1.2
"""How much a velocity may change within a second, sizes a second."""
FIRST_SPEED = 2.0
"""Spread of the velocity of a box seen once, sizes a second."""
LONGEST_STEP_S = 10.0
LEAST_SIZE = 1.0


def centred(boxes: np.ndarray) -> np.ndarray:
    """Turn ``xyxy`` into centre x, centre y, width, height; sides are never negative."""
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)), axis=1)


class Motion:
    """The state of n boxes; the position in the arrays is the caller's handle until :meth:`keep`.

    ``_state`` is (5, n, 4): value, speed, variance of the value, covariance of both, variance of the speed.
    """

    def __init__(self) -> None:
        self._state = np.zeros((5, 0, 4))

    @property
    def values(self) -> np.ndarray:
        """Centre x, centre y, width, height (n, 4), a view."""
        return np.asarray(self._state[0])

    @property
    def speeds(self) -> np.ndarray:
        """Their change a second (n, 4), a view."""
        return np.asarray(self._state[1])

    def sizes(self) -> np.ndarray:
        """Return each box' size: the root of its area, at least a pixel."""
        return _sizes(self.values)

    def boxes(self) -> np.ndarray:
        """Return the boxes ``xyxy`` as they are believed to be now."""
        centres, half = self.values[:, :2], self.values[:, 2:] / 2
        return np.concatenate((centres - half, centres + half), axis=1)

    def advance(self, step_s: float) -> None:
        """Let ``step_s`` seconds pass."""
        step = min(step_s, LONGEST_STEP_S)
        fade = np.exp(-step / FADE_S)
        reach = FADE_S * (1.0 - fade)
        values, speeds, variance, shared, speed_variance = self._state
        noise = (RESTLESS * _sizes(values)[:, None]) ** 2
        drift = reach * speed_variance
        values += reach * speeds
        np.maximum(values[:, 2:], 0.0, out=values[:, 2:])
        speeds *= fade
        variance += reach * (2 * shared + drift) + noise * (step**3 / 3)
        shared += drift
        shared *= fade
        shared += noise * (step**2 / 2)
        speed_variance *= fade**2
        speed_variance += noise * step

    def correct(self, which: np.ndarray, boxes: np.ndarray) -> None:
        """Take in what was seen: ``boxes`` (k, 4) ``xyxy`` of the positions ``which`` (k,), each at most once."""
        seen = centred(boxes)
        values, speeds, variance, shared, speed_variance = state = self._state[:, which]
        total = variance + (MEASURED * _sizes(seen)[:, None]) ** 2
        gain, speed_gain = variance / total, shared / total
        off = seen - values
        values += gain * off
        np.maximum(values[:, 2:], 0.0, out=values[:, 2:])
        speeds += speed_gain * off
        speed_variance -= speed_gain * shared
        rest = 1.0 - gain
        variance *= rest
        shared *= rest
        self._state[:, which] = state

    def halt(self, which: np.ndarray) -> None:
        """Nothing moves at ``which`` (a mask)."""
        self.speeds[which] = 0.0

    def add(self, boxes: np.ndarray) -> None:
        """Append boxes seen for the first time."""
        new = np.zeros((5, len(boxes), 4))
        new[0] = centred(boxes)
        size = _sizes(new[0])[:, None]
        new[2] = (MEASURED * size) ** 2
        new[4] = (FIRST_SPEED * size) ** 2
        self._state = np.concatenate((self._state, new), axis=1)

    def keep(self, mask: np.ndarray) -> None:
        """Forget the boxes where ``mask`` is False; the others close ranks."""
        self._state = self._state[:, mask]


def _sizes(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(values[:, 2] * values[:, 3], LEAST_SIZE)))
