"""What a probation is shown of the device."""

from __future__ import annotations

import pytest

from agent.link.messages import Failure
from agent.link.standing import SessionStatistics
from agent.loop.records import CameraStatistics, PipelineStatistics
from agent.steer.vitals import vitals
from agent.types import CameraName, PipelineName

YARD = CameraName("yard")


def pipeline(**counts: int) -> PipelineStatistics:
    camera = CameraStatistics(
        YARD, "streaming", "", (64, 64), 4.5, **{"captured": 0, "answered": 0, "failed": 0, "lost": 0, "skipped": 0,
                                                  "replaced": 0, **counts},
    )  # fmt: skip
    return PipelineStatistics(
        PipelineName("watch"), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, {YARD: camera}, {}, None, None, None
    )


def test_frames_count_as_seen_whatever_became_of_them() -> None:
    counts = {"captured": 100, "answered": 60, "skipped": 50, "replaced": 30, "gated": 10}
    found = vitals(7, SessionStatistics(state="connected", session=3), [pipeline(**counts)], {YARD: 5.0})
    camera = found.cameras["yard"]
    assert (camera.seen, camera.answered, camera.fps, camera.limit_fps) == (120, 60, 4.5, 5.0)
    assert (found.at_ns, found.connected, found.session, found.trouble) == (7, True, 3, "")


@pytest.mark.parametrize("state", ["connecting", "waiting", "off", "stopped"])
def test_only_a_standing_connection_counts(state) -> None:
    session = SessionStatistics(
        state=state, last_error=Failure("broker_unreachable", "refused; is the broker running?")
    )
    found = vitals(0, session, [], {})
    assert not found.connected
    assert "is the broker running" in found.trouble
