"""Messages have the documented form, rounded floats and a schema each."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus, Receipt
from agent.errors import CommandError
from agent.link.messages import (
    CameraState,
    Detections,
    LineState,
    Update,
    ZoneState,
    deploy_message,
    detections_message,
    encode,
    event_message,
    failure,
    success,
)
from agent.link.schemas import MESSAGES, json_schemas
from agent.telemetry.histogram import Histogram
from agent.telemetry.rows import latency_row
from agent.types import (
    CameraName,
    Classification,
    Detection,
    Digest,
    Event,
    FrameRef,
    ModelName,
    PipelineName,
    ReleaseId,
    Result,
    Timings,
    Track,
)

RELEASE = ReleaseId(ModelName("yolox"), "1.2.0", Digest("ab" * 32))


def result(detections: tuple[Detection, ...] | None = (), classes: tuple[Classification, ...] | None = None) -> Result:
    frame = FrameRef(CameraName("front"), 1, 2, 17, 3, 5, 1_790_000_000_123, 640, 480)
    return Result(frame, RELEASE, detections, classes, Timings(0, 1, 2, 3), 12.34567)


def test_a_detectors_message_is_as_documented() -> None:
    seen = Detection(2, "car", 0.87654, (1.04, 2.06, 3.0, 4.123))
    assert msgspec.json.decode(encode(detections_message(result((seen,)), config=7))) == {
        "v": 1,
        "camera": "front",
        "frame": 17,
        "index": 3,
        "at": "2026-09-21T14:13:20.123Z",
        "size": [640, 480],
        "model": "yolox:1.2.0",
        "digest": "ab" * 32,
        "config": 7,
        "latency_ms": 12.35,
        "detections": [{"track": None, "class_id": 2, "label": "car", "score": 0.877, "box": [1.0, 2.1, 3.0, 4.1]}],
    }


def test_a_classifiers_message_has_classes_and_no_detections() -> None:
    told = msgspec.json.decode(encode(detections_message(result(None, (Classification(1, "open", 0.98765),)))))
    assert told["classes"] == [{"class_id": 1, "label": "open", "score": 0.988}]
    assert "detections" not in told


@given(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4), st.floats(0, 1, width=32))
def test_rounding_moves_a_box_by_less_than_a_tenth_of_a_pixel(
    box: tuple[float, float, float, float], score: float
) -> None:
    told = detections_message(result((Detection(0, "x", score, box),)))
    back = msgspec.json.decode(encode(told), type=Detections)
    assert back == told
    assert isinstance(back.detections, tuple)
    assert back.detections[0].box == pytest.approx(box, abs=0.0501)
    assert back.detections[0].score == pytest.approx(score, abs=0.000501)


def test_a_deployments_message_is_its_status_with_a_version_and_rounded_floats() -> None:
    status = DeploymentStatus(
        PipelineName("main"), State.COMMITTED, "yolox:1.2.0", receipt=Receipt(None, RELEASE, 1.23456789, 0, 0, "")
    )
    told = msgspec.json.decode(encode(deploy_message(status)))
    assert told["v"] == 1
    assert told["state"] == "committed"
    assert told["receipt"]["gap_ms"] == 1.235
    assert told["receipt"]["to"]["model"] == "yolox"


def test_update_leaves_out_what_is_unknown_and_has_no_version() -> None:
    assert encode(Update(installed_version="1.0.0", in_progress=False)) == (
        b'{"installed_version":"1.0.0","in_progress":false}'
    )


def test_a_number_that_is_not_finite_becomes_null_and_not_bad_json() -> None:
    assert b'"fps":null' in encode(CameraState(health="streaming", fps=math.nan))


def test_answers_have_a_result_or_an_error() -> None:
    good = msgspec.json.decode(encode(success("a", CameraState(health="x", fps=1 / 3))))
    assert good["result"]["fps"] == 0.333
    assert "error" not in good
    assert msgspec.json.decode(encode(failure(None, CommandError("no", field="args.x")))) == {
        "v": 1,
        "id": None,
        "ok": False,
        "error": {"code": "bad_command", "message": "no", "field": "args.x"},
    }


def test_latency_rows_are_rounded() -> None:
    histogram = Histogram()
    histogram.add(1 / 3)
    assert latency_row(histogram.snapshot()).mean_ms == 0.33


TRACK = Track(3, "person", 0.71234, 0.78, (1.04, 2.06, 3.0, 4.123), 5, 9, 1_790_000_000_123, 1_790_000_001_500)


def test_an_events_message_is_as_documented() -> None:
    event = Event(
        "7-41", "new", 1_790_000_001_500, CameraName("front"), RELEASE, TRACK, zones=("garden",), entered=("garden",)
    )
    told = msgspec.json.decode(encode(event_message(event)))
    assert told == {
        "v": 1,
        "id": "7-41",
        "type": "new",
        "kind": "track",
        "at": "2026-09-21T14:13:21.500Z",
        "camera": "front",
        "model": "yolox:1.2.0",
        "digest": "ab" * 32,
        "track": {
            "id": 3,
            "label": "person",
            "score": 0.712,
            "top_score": 0.78,
            "box": [1.0, 2.1, 3.0, 4.1],
            "first_seen": "2026-09-21T14:13:20.123Z",
            "last_seen": "2026-09-21T14:13:21.500Z",
            "zones": ["garden"],
            "entered": ["garden"],
            "stationary": False,
            "velocity": [0.0, 0.0],
        },
    }


def test_only_a_stay_has_a_dwell_and_only_a_crossing_a_direction() -> None:
    event = Event("7-1", "end", 0, CameraName("front"), RELEASE, TRACK)
    stay = msgspec.structs.replace(event, kind="zone", place="garden", dwell_s=1.23456, loitering=True)
    crossing = msgspec.structs.replace(event, kind="line", place="gate", direction="out")
    beside = {"v", "id", "type", "kind", "at", "camera", "model", "digest", "track"}
    told = [msgspec.json.decode(encode(event_message(one))) for one in (stay, crossing)]
    assert [{key: one[key] for key in one.keys() - beside} for one in told] == [
        {"place": "garden", "dwell_s": 1.235, "loitering": True},
        {"place": "gate", "direction": "out"},
    ]


def test_a_camera_tells_its_zones_and_lines() -> None:
    state = CameraState(
        health="streaming", zones={"garden": ZoneState({"person": 1}, True)}, lines={"gate": LineState(3, 2)}
    )
    told = msgspec.json.decode(encode(state))
    assert told["zones"] == {"garden": {"counts": {"person": 1}, "occupancy": True}}
    assert told["lines"] == {"gate": {"in": 3, "out": 2}}


def test_every_message_has_a_schema_and_a_version() -> None:
    schemas = json_schemas()
    assert set(schemas) == set(MESSAGES)
    for name, schema in schemas.items():
        [(_, top)] = [item for item in schema["$defs"].items() if schema["$ref"].endswith("/" + item[0])]
        versioned = name != "update" and not name.startswith("cmd/")
        assert ("v" in top["properties"]) == versioned, name
        assert top["description"], name
