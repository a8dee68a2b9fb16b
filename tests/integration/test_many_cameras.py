"""More cameras than the host can look at: frames are skipped, none is lost or queued, and each camera has its share."""

from __future__ import annotations

from typing import Any

import pytest

from . import shelf
from .device import PIPELINE

CAMERAS, IN_FLIGHT = 8, 3
NAMES = [f"camera-{number}" for number in range(CAMERAS)]
ENOUGH = 240
"""Answers over which shares are counted."""


@pytest.fixture
def swamped(world, broker):
    """A device that is given four times as many frames as its model can look at, and who watches it."""
    source = {"kind": "images", "path": "pictures", "loop": True, "fps": 25}
    device = world.device(port=broker.port, start=False, inference={"threads": 1})
    device.config["cameras"] = {name: {"source": source} for name in NAMES}
    device.config["pipelines"] = {PIPELINE: {"cameras": NAMES, "model": shelf.STEADY, "in_flight": IN_FLIGHT}}
    person = world.person(broker.port, device)
    device.start()
    device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 90)
    return device, person


def answered(message: dict[str, Any]) -> dict[str, int]:
    return {name: message["cameras"][name]["counters"]["answered"] for name in NAMES}


def test_frames_are_skipped_and_never_queued_and_each_camera_has_its_share(swamped) -> None:
    _, person = swamped
    began = len(person.said("telemetry"))

    def looked_long_enough() -> list[dict[str, Any]]:
        said = person.said("telemetry")[began:]
        return said if len(said) > 2 and _more(said[0], said[-1]) >= ENOUGH else []

    said = person.wait(looked_long_enough, 90)
    first, last = said[0], said[-1]
    assert all(message["loop"][PIPELINE]["in_flight"] <= IN_FLIGHT for message in said)
    counters = last["counters"]
    assert counters["lost"] == 0
    assert counters["skipped"] > first["counters"]["skipped"], "more came than could be looked at"
    shares = [answered(last)[name] - answered(first)[name] for name in NAMES]
    fair = sum(shares) / CAMERAS
    assert min(shares) >= 0.6 * fair, shares
    assert max(shares) <= 1.5 * fair, shares
    assert last["link"]["dropped"] == 0


def _more(first: dict[str, Any], last: dict[str, Any]) -> int:
    return int(last["counters"]["answered"] - first["counters"]["answered"])
