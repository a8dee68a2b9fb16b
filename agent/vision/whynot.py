"""Why a camera reports nothing: from facts to one reason, the first that holds, in words with a remedy. Pure.

The order is that of a frame's way: no frames, nobody to look, nothing on them, not looked at, not said aloud. What
holds is of the last seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Code = Literal[
    "reporting",
    "no_frames",
    "ended",
    "stale",
    "frozen",
    "dark",
    "overexposed",
    "blurred",
    "moved",
    "model_absent",
    "gated",
    "not_answered",
    "unwanted",
    "below_threshold",
    "misshapen",
    "masked",
    "nothing_there",
]

STALE_S = 5.0
"""A camera whose newest frame is older gives none."""


class Sights(msgspec.Struct, frozen=True):
    """What became of a camera's boxes in the last seconds (5 to 10): each counts once, by what first spoke against it.

    ``unwanted``: of a label that is not reported; ``below``: under its label's threshold; ``misshapen``: of the wrong
    area or ratio; ``masked``: under a mask. The rest of ``boxes`` was reported. ``best`` is of the wanted labels,
    ``threshold`` that of ``best_label``. ``frames`` were answered, ``gated`` left out by the motion gate.
    """

    frames: int = 0
    gated: int = 0
    boxes: int = 0
    unwanted: int = 0
    below: int = 0
    misshapen: int = 0
    masked: int = 0
    best_score: float = 0.0
    best_label: str = ""
    threshold: float = 0.0

    @property
    def reported(self) -> int:
        """Boxes that nothing spoke against."""
        return self.boxes - self.unwanted - self.below - self.misshapen - self.masked


class Facts(msgspec.Struct, frozen=True):
    """What is known of a camera. ``health`` and ``reason`` are capture's, ``conditions`` of its pictures.

    ``idle_s``: how long a frame has been due, None before the first. ``model``: who serves, None: nobody.
    """

    health: str
    reason: str = ""
    conditions: tuple[str, ...] = ()
    idle_s: float | None = None
    model: str | None = None
    sights: Sights | None = None


class WhyNot(msgspec.Struct, frozen=True):
    """``code`` is for programs, ``message`` for people; ``reporting``: nothing is wrong, objects are reported."""

    code: Code
    message: str


def why_not(facts: Facts) -> WhyNot:
    """Return the first thing that keeps detections from being reported."""
    return _no_frames(facts) or _nobody_looks(facts) or _not_said(facts, facts.sights or Sights())


def _no_frames(facts: Facts) -> WhyNot | None:
    if facts.health == "ended":
        return WhyNot("ended", "its file or folder came to its end; loop: true begins it again")
    if facts.health not in ("streaming", "stalled") or facts.idle_s is None:
        why = f" ({facts.reason})" if facts.reason else ""
        return WhyNot("no_frames", f"the camera gives no frames: it is {facts.health}{why}")
    if facts.health == "stalled" or facts.idle_s > STALE_S or "stale" in facts.conditions:
        return WhyNot("stale", f"the newest frame is {facts.idle_s:.0f} s old: the camera or its network stands still")
    if "frozen" in facts.conditions:
        return WhyNot("frozen", "the camera gives the same picture again and again: restart it")
    return None


def _nobody_looks(facts: Facts) -> WhyNot | None:
    if facts.model is None:
        return WhyNot("model_absent", "no model serves its pipeline: see the deployment's state and reason")
    sights = facts.sights
    if sights is not None and sights.frames:
        return None
    if sights is not None and sights.gated:
        message = f"nothing moves: the motion gate left out the last {sights.gated} frames"
        return _bad_picture(facts) or WhyNot("gated", message)
    return WhyNot("not_answered", "frames come, and none was answered of late: the device may be overloaded")


def _not_said(facts: Facts, sights: Sights) -> WhyNot:
    if sights.reported:
        return WhyNot("reporting", f"{sights.reported} sightings were reported of late")
    if sights.boxes == 0:
        return _nothing_there(facts, sights)
    most = max(
        (sights.masked, "masked"),
        (sights.misshapen, "misshapen"),
        (sights.below, "below"),
        (sights.unwanted, "unwanted"),
    )[1]
    if most == "unwanted" and sights.below:
        most = "below"  # what is wanted says more than what is not
    match most:
        case "masked":
            return WhyNot("masked", f"{sights.masked} boxes of late stood in a zone with ignore: true")
        case "misshapen":
            message = f"{sights.misshapen} boxes of late were too large, too small or of the wrong ratio: see shapes"
            return WhyNot("misshapen", message)
        case "unwanted":
            return WhyNot("unwanted", f"{sights.unwanted} boxes of late had labels that the pipeline does not report")
    if bad := _bad_picture(facts):
        return bad
    best = f"{sights.best_label} {sights.best_score:.2f}"
    return WhyNot("below_threshold", f"the best of late, {best}, is below its threshold of {sights.threshold:.2f}")


def _nothing_there(facts: Facts, sights: Sights) -> WhyNot:
    gated = f"; the motion gate left out {sights.gated} more" if sights.gated else ""
    message = f"the model saw nothing at all in the last {sights.frames} frames it was shown{gated}"
    return _bad_picture(facts) or WhyNot("nothing_there", message)


def _bad_picture(facts: Facts) -> WhyNot | None:
    if "dark" in facts.conditions:
        return WhyNot("dark", "the picture is dark: give it light, or uncover the lens")
    if "overexposed" in facts.conditions:
        return WhyNot("overexposed", "the picture is overexposed: turn the camera from the light, or set its exposure")
    if "blurred" in facts.conditions:
        return WhyNot("blurred", "the picture is blurred: clean the lens, or focus it")
    if "moved" in facts.conditions:
        return WhyNot("moved", "the camera was moved: turn it back, or draw its zones anew")
    return None
