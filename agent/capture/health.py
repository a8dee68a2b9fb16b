"""What a camera's pictures say about the camera: frozen, dark, overexposed, blurred, moved, stale. Pure.

:class:`Watch` is shown every frame that is written (:meth:`Watch.look`) and told of every frame that came
(:meth:`Watch.came`); time comes in. A frame costs a sample of some 2,000 pixels: it counts as changed where any of them
moved by more than what noise in a repeated picture does. Twice a second a thumbnail and sixteen small tiles at full
resolution are looked at more closely. Nothing is judged on a single look: a condition must hold for a while to begin
and be gone for a while to end (:class:`Latch`). Sharpness is judged against the camera's own baseline, and a shift of
the scene against its own background; both learn slowly, not while something is wrong, and anew after a long time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.process.messages import Condition

NS_PER_S = 1_000_000_000
ORDER: tuple[Condition, ...] = ("stale", "frozen", "dark", "overexposed", "blurred", "moved")

SAME_LOOKS = 3
"""So many times in a row the picture must be the same one, however rarely it is looked at."""

LEAST_SIDE = 16
"""Smaller pictures are not looked at closely."""

Grey = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Limits:
    """From when on something is wrong. Grey levels are 0..255, shares and shifts 0..1 of the picture."""

    changed_levels: int = 3
    frozen_s: float = 10.0
    stale_s: float = 2.0
    dark_level: float = 25.0
    bright_level: float = 250.0
    bright_share: float = 0.5
    blur_ratio: float = 0.3
    least_detail: float = 0.01
    shift: float = 0.04
    least_response: float = 0.12
    on_s: float = 3.0
    moved_on_s: float = 5.0
    off_s: float = 3.0
    learn_s: float = 20.0
    anew_s: float = 600.0
    look_s: float = 0.5


class Latch:
    """A condition with hysteresis: on after ``on_s`` of yes without a no, off after ``off_s`` of no without a yes."""

    def __init__(self, on_s: float, off_s: float) -> None:
        self.on = False
        self._on_ns, self._off_ns = int(on_s * NS_PER_S), int(off_s * NS_PER_S)
        self._since_ns: int | None = None

    def update(self, yes: bool, at_ns: int) -> bool:
        """Take a look's verdict; return whether the condition holds."""
        if yes == self.on:
            self._since_ns = None
            return self.on
        if self._since_ns is None:
            self._since_ns = at_ns
        if at_ns - self._since_ns >= (self._off_ns if self.on else self._on_ns):
            self.on, self._since_ns = yes, None
        return self.on


class Verdict(NamedTuple):
    """What is wrong now, and pictures that changed a second (None: not measured yet)."""

    conditions: tuple[Condition, ...]
    changed_fps: float | None


class Rate:
    """Events a second over the last ``window_s``; at most 512 are remembered."""

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_ns = int(window_s * NS_PER_S)
        self._times: deque[int] = deque(maxlen=512)

    def add(self, at_ns: int) -> None:
        """Count one."""
        self._times.append(at_ns)

    def per_second(self, since_ns: int, now_ns: int) -> float:
        """Return the rate in the window, or since ``since_ns`` where that is nearer."""
        start = max(now_ns - self._window_ns, since_ns)
        if len(self._times) == self._times.maxlen:
            start = max(start, self._times[0])
        count = sum(at > start for at in self._times)
        return count * NS_PER_S / (now_ns - start) if now_ns > start else 0.0


@dataclass
class Watch:
    """One camera's pictures. Not thread-safe."""

    limits: Limits = Limits()
    _first_ns: int | None = None
    _came_ns: int | None = None
    _interval_ns: float = 0.0
    _changed: Rate = field(default_factory=Rate)
    _changed_ns: int = 0
    _seen_ns: int = 0
    _same: int = 0
    _looked_ns: int | None = None
    _sample: NDArray[np.int16] | None = None
    _shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        limits = self.limits
        self._light = Light(limits)
        self._focus = Focus(limits)
        self._scene = Scene(limits)
        self._stale = Latch(0.0, 0.0)

    def came(self, at_ns: int) -> None:
        """Take note that a frame came in, whether or not it is shown."""
        if self._first_ns is None:
            self._first_ns = self._changed_ns = self._seen_ns = at_ns
            self._same = 0
        elif self._came_ns is not None:
            self._interval_ns += 0.1 * (at_ns - self._came_ns - self._interval_ns)
        self._came_ns = at_ns

    def reopened(self) -> None:
        """Begin to count time anew: the camera was away. Baseline and background stay."""
        self._first_ns = self._came_ns = self._looked_ns = None
        self._interval_ns = 0.0
        self._changed, self._stale = Rate(), Latch(0.0, 0.0)

    def look(self, picture: Picture, at_ns: int) -> None:
        """Look at a frame: (height, width, 3) BGR."""
        if self._first_ns is None:
            self.came(at_ns)
        sample = _sample(picture)
        before, self._sample = self._sample, sample
        if picture.shape != self._shape:  # nothing of before can be compared
            self._shape, before = picture.shape, None
            self._focus, self._scene = Focus(self.limits), Scene(self.limits)
        changed = before is None or int(np.abs(sample - before).max()) > self.limits.changed_levels
        self._seen_ns = at_ns
        self._same += 1
        if changed:
            self._changed.add(at_ns)
            self._changed_ns, self._same = at_ns, 0
        if min(picture.shape[:2]) < LEAST_SIDE:
            return
        if self._looked_ns is None or at_ns - self._looked_ns >= self.limits.look_s * NS_PER_S:
            self._looked_ns = at_ns
            self._look_closely(picture, at_ns)

    def verdict(self, now_ns: int) -> Verdict:
        """Return what is wrong; nothing before the first frame."""
        if self._first_ns is None or self._came_ns is None:
            return Verdict((), None)
        limits = self.limits
        patience_ns = max(limits.stale_s * NS_PER_S, 3 * self._interval_ns)
        stale = self._stale.update(now_ns - self._came_ns > patience_ns, now_ns)
        # Between looks, not frames: where few frames are asked for, few are looked at.
        same_ns = self._seen_ns - self._changed_ns
        frozen = not stale and self._same >= SAME_LOOKS and same_ns > limits.frozen_s * NS_PER_S
        holds = {
            "stale": stale,
            "frozen": frozen,
            "dark": self._light.dark.on,
            "overexposed": self._light.bright.on,
            "blurred": self._focus.blurred.on,
            "moved": self._scene.moved.on,
        }
        measured = now_ns - self._first_ns >= NS_PER_S
        fps = self._changed.per_second(self._first_ns, now_ns) if measured else None
        return Verdict(tuple(name for name in ORDER if holds[name]), fps)

    def _look_closely(self, picture: Picture, at_ns: int) -> None:
        grey = thumbnail(picture)
        seen = self._light.look(grey, at_ns)
        if not seen:  # at night, or against the sun, sharpness and place cannot be told
            return
        if self._scene.look(grey, at_ns):
            self._focus.forget()
        self._focus.look(detail(picture), at_ns)


class Light:
    """Too little or too much of it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.dark = Latch(limits.on_s, limits.off_s)
        self.bright = Latch(limits.on_s, limits.off_s)

    def look(self, grey: Grey, at_ns: int) -> bool:
        """Look at a thumbnail; False where there is nothing to be seen in it."""
        limits = self._limits
        level = float(np.percentile(grey, 90))
        share = float((grey >= limits.bright_level).mean())
        # Once on it takes clearly more (less) light to be off again.
        dark = level < limits.dark_level * (1.4 if self.dark.on else 1.0)
        bright = share > limits.bright_share * (0.7 if self.bright.on else 1.0)
        self.dark.update(dark, at_ns)
        self.bright.update(bright, at_ns)
        return not dark and not bright and not self.dark.on and not self.bright.on


class Focus:
    """Sharpness against its own baseline."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.blurred = Latch(limits.on_s, limits.off_s)
        self.baseline: float | None = None
        self._began_ns = 0
        self._looked_ns = 0

    def forget(self) -> None:
        """Begin anew: it is another scene."""
        self.baseline = None
        self.blurred = Latch(self._limits.on_s, self._limits.off_s)

    def look(self, sharpness: float, at_ns: int) -> None:
        """Take a measure of sharpness."""
        limits = self._limits
        if self.baseline is None:
            self.baseline, self._began_ns, self._looked_ns = sharpness, at_ns, at_ns
            return
        ratio = limits.blur_ratio * (1.5 if self.blurred.on else 1.0)
        low = self.baseline >= limits.least_detail and sharpness < ratio * self.baseline
        self.blurred.update(low, at_ns)
        if not low:
            self.baseline += _share(at_ns - self._looked_ns, limits.learn_s) * (sharpness - self.baseline)
            self._began_ns = at_ns
        elif at_ns - self._began_ns > limits.anew_s * NS_PER_S:
            self.forget()
        self._looked_ns = at_ns


class Scene:
    """Whether the camera still looks where it looked: the shift of a thumbnail against a slow background."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.moved = Latch(limits.moved_on_s, limits.off_s)
        self._background: Grey | None = None
        self._window: Grey | None = None
        self._last: Grey | None = None
        self._looked_ns = 0
        self._well_ns = 0

    def look(self, grey: Grey, at_ns: int) -> bool:
        """Look at a thumbnail; True where the camera's new place is taken for its place from now on."""
        limits = self._limits
        if self._background is None or self._window is None or self._last is None:
            self._background, self._last = grey.copy(), grey
            self._window = cast("Grey", cv2.createHanningWindow((grey.shape[1], grey.shape[0]), cv2.CV_32F))
            self._looked_ns = self._well_ns = at_ns
            return False
        off = self._is_off(grey, self._background, self._last, self._window)
        self._last = grey
        self.moved.update(off, at_ns)
        if not off:
            share = _share(at_ns - self._looked_ns, limits.learn_s)
            cv2.accumulateWeighted(grey, self._background, share)
            self._well_ns = at_ns
        self._looked_ns = at_ns
        if at_ns - self._well_ns > limits.anew_s * NS_PER_S:
            self._background = None
            self.moved = Latch(limits.moved_on_s, limits.off_s)
            return True
        return False

    def _is_off(self, grey: Grey, background: Grey, last: Grey, fade: Grey) -> bool:
        """Tell whether the scene is shifted, or has nothing of the background left while it stands still itself."""
        limits = self._limits
        shift, response = _shift(background, grey, fade)
        if response >= limits.least_response:
            return shift > limits.shift
        steady, alike = _shift(last, grey, fade)
        return alike >= 2 * limits.least_response and steady < limits.shift


def _shift(one: Grey, other: Grey, fade: Grey) -> tuple[float, float]:
    """Return by how much of its size a picture is shifted against another, and how sure that is (0..1)."""
    (x, y), response = cv2.phaseCorrelate(one, other, fade)
    return max(abs(x) / other.shape[1], abs(y) / other.shape[0]), float(response)


def thumbnail(picture: Picture) -> Grey:
    """Return a small grey picture, about 160 pixels wide, from every n-th pixel."""
    step = max(1, picture.shape[1] // 160)
    grey = cv2.cvtColor(np.ascontiguousarray(picture[::step, ::step]), cv2.COLOR_BGR2GRAY)
    return cast("Grey", cv2.blur(grey, (3, 3)).astype(np.float32))


def detail(picture: Picture, tiles: int = 4, side: int = 64) -> float:
    """Return how sharp a picture is, whatever its light and contrast: variance of the Laplacian over that of grey.

    Measured on ``tiles`` x ``tiles`` small squares at full resolution, where lost focus shows first.
    """
    height, width = picture.shape[:2]
    side = min(side, height // tiles, width // tiles)
    edges = contrast = 0.0
    for row in range(tiles):
        for column in range(tiles):
            top, left = _place(row, tiles, height, side), _place(column, tiles, width, side)
            tile = np.ascontiguousarray(picture[top : top + side, left : left + side, 1])
            edges += float(cv2.Laplacian(tile, cv2.CV_32F).var())
            contrast += float(tile.var())
    return edges / (contrast + 10.0 * tiles * tiles)


def _place(number: int, tiles: int, length: int, side: int) -> int:
    return round((number + 0.5) * length / tiles - side / 2)


def _sample(picture: Picture) -> NDArray[np.int16]:
    """Return every n-th pixel's green, about 64 a row."""
    step = max(1, picture.shape[1] // 64)
    return cast("NDArray[np.int16]", picture[step // 2 :: step, step // 2 :: step, 1].astype(np.int16))


def _share(passed_ns: int, time_s: float) -> float:
    """Return the part of the new in a slow mean, for looks that are ``passed_ns`` apart."""
    return min(1.0, max(0, passed_ns) / NS_PER_S / time_s)
