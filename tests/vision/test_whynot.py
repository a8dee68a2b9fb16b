from __future__ import annotations

import msgspec
import pytest

from agent.vision.whynot import Facts, Sights, why_not

FINE = Facts(health="streaming", idle_s=0.1, model="yolox", sights=Sights(frames=100, boxes=5))


def code(**changes) -> str:
    return why_not(msgspec.structs.replace(FINE, **changes)).code


def sights(**changes) -> Sights:
    return Sights(frames=100, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "reporting"),
        ({"health": "failed", "reason": "no such file"}, "no_frames"),
        ({"health": "opening", "idle_s": None}, "no_frames"),
        ({"health": "lost"}, "no_frames"),
        ({"health": "ended"}, "ended"),
        ({"health": "stalled"}, "stale"),
        ({"idle_s": 60.0}, "stale"),
        ({"conditions": ("stale",)}, "stale"),
        ({"conditions": ("frozen",)}, "frozen"),
        ({"model": None}, "model_absent"),
        ({"sights": None}, "not_answered"),
        ({"sights": Sights()}, "not_answered"),
        ({"sights": Sights(gated=50)}, "gated"),
        ({"sights": Sights(gated=50), "conditions": ("dark",)}, "dark"),
        ({"sights": sights(gated=50)}, "nothing_there"),
        ({"sights": sights()}, "nothing_there"),
        ({"sights": sights(), "conditions": ("dark",)}, "dark"),
        ({"sights": sights(), "conditions": ("overexposed",)}, "overexposed"),
        ({"sights": sights(), "conditions": ("blurred",)}, "blurred"),
        ({"sights": sights(), "conditions": ("moved",)}, "moved"),
        ({"sights": sights(), "conditions": ("dark", "blurred", "moved")}, "dark"),
        ({"sights": sights(boxes=9, below=9, best_score=0.3, best_label="cat", threshold=0.5)}, "below_threshold"),
        ({"sights": sights(boxes=9, below=9), "conditions": ("dark",)}, "dark"),
        ({"sights": sights(boxes=9, below=1, unwanted=8)}, "below_threshold"),
        ({"sights": sights(boxes=9, unwanted=9)}, "unwanted"),
        ({"sights": sights(boxes=9, masked=5, below=4)}, "masked"),
        ({"sights": sights(boxes=9, misshapen=9)}, "misshapen"),
        ({"sights": sights(boxes=9, masked=8), "conditions": ("dark",)}, "reporting"),
    ],
)
def test_the_first_thing_on_a_frames_way_that_keeps_it_from_being_reported_is_named(changes, expected):
    assert code(**changes) == expected


def test_the_reason_names_what_it_speaks_of():
    low = msgspec.structs.replace(
        FINE, sights=sights(boxes=9, below=9, best_score=0.312, best_label="cat", threshold=0.5)
    )
    assert why_not(low).message == "the best of late, cat 0.31, is below its threshold of 0.50"
    failed = msgspec.structs.replace(FINE, health="failed", reason="no route to host")
    assert "no route to host" in why_not(failed).message
