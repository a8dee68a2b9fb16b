"""Zones as people write them: what is taken, and what is said of what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.config.layers import Loaded, load
from agent.config.polygons import complaints
from agent.config.problems import validate
from agent.errors import ConfigError
from agent.settings import seeing_settings

SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
ZONE = {"camera": "front", "polygon": SQUARE}


def tree(zone: Any = None, **pipeline: Any) -> dict[str, Any]:
    found = {
        "cameras": {"front": {"source": {"kind": "device", "device": 0}}},
        "pipelines": {"main": {"cameras": ["front"], **pipeline}},
    }
    return found if zone is None else {**found, "zones": {"gate": zone}}


def problems(zone: Any = None, **pipeline: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(tree(zone, **pipeline))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "zone",
    [
        ZONE,
        {**ZONE, "labels": ["person"], "limits": {"person": {"score": 0.5, "min_area": 0.01}}, "loiter_s": 30},
        {**ZONE, "ignore": True},
        {"camera": "front", "polygon": [[0, 0], [640, 0], [640, 480]]},
        {"camera": "front", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "inertia": 1},
        {"camera": "front", "line": [[0.5, 0], [0.5, 1]]},
        {"camera": "front", "line": [[10, 20], [300, 20]]},
    ],
)
def test_what_is_natural_to_write_is_taken(zone):
    config = validate(tree(zone))
    settings = seeing_settings(config, "main")
    assert [spec.name for spec in settings.zones["front"]] == ["gate"]


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ({"camera": "front"}, ["zones.gate", "neither polygon nor line", "write polygon:"]),
        ({**ZONE, "line": [[0, 0], [1, 1]]}, ["zones.gate.line", "beside polygon", "two zones"]),
        ({**ZONE, "camera": "frnt"}, ["zones.gate.camera", "'frnt'", "no such camera", "did you mean front?"]),
        ({"polygon": SQUARE}, ["zones.gate.camera", "is missing"]),
        ({**ZONE, "polygon": SQUARE[:2]}, ["zones.gate.polygon", "at least 3 entries"]),
        ({**ZONE, "polygon": [*SQUARE[:3], [0.1]]}, ["zones.gate.polygon[3]"]),
        ({**ZONE, "polygon": [*SQUARE[:3], [0.1, "0.9"]]}, ["zones.gate.polygon[3][1]", "should be a number"]),
        ({**ZONE, "polygon": [*SQUARE[:3], [-0.1, 0.9]]}, ["zones.gate.polygon[3][0]", "-0.1", "at least 0"]),
        (
            {**ZONE, "polygon": [*SQUARE[:2], [1.9, 0.9], SQUARE[3]]},
            ["zones.gate.polygon[2]", "[1.9, 0.9] lies outside the picture", "0 to 1"],
        ),
        (
            {**ZONE, "polygon": [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]]},
            ["zones.gate.polygon", "crosses itself", "from point 0", "from point 2", "in their order"],
        ),
        ({**ZONE, "polygon": [[0, 0], [0.5, 0.5], [1, 1]]}, ["zones.gate.polygon", "holds no area"]),
        ({**ZONE, "polygon": [[0, 0], [1.2, 0], [1, 1]]}, ["zones.gate.polygon", "holds no area", "pixels"]),
        ({"camera": "front", "line": SQUARE}, ["zones.gate.line", "at most 2 entries"]),
        ({"camera": "front", "line": [[0.5, 0.5], [0.5, 0.5]]}, ["zones.gate.line", "both ends in one place"]),
        ({"camera": "front", "line": [[0, 0], [1, 1]], "ignore": True}, ["zones.gate.ignore", "a line"]),
        ({"camera": "front", "line": [[0, 0], [1, 1]], "loiter_s": 5}, ["zones.gate.loiter_s", "crossed"]),
        ({**ZONE, "ignore": True, "loiter_s": 5}, ["zones.gate.loiter_s", "ignored"]),
        ({**ZONE, "inertia": 0}, ["zones.gate.inertia", "0", "at least 1"]),
        ({**ZONE, "limits": {"person": {"scor": 0.5}}}, ["zones.gate.limits.person.scor", "did you mean score?"]),
        ({**ZONE, "polygn": []}, ["zones.gate.polygn", "did you mean polygon?"]),
        ("everywhere", ["zones.gate", "a section of keys"]),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_value_and_a_remedy(zone, words):
    found = problems(zone)
    assert any(all(word in problem for word in words) for problem in found), found


def test_zones_need_tracks_but_ignored_ones_do_not():
    (found,) = problems(ZONE, tracking={"enabled": False})
    assert "zones.gate" in found
    assert "pipelines.main.tracking.enabled" in found
    validate(tree({**ZONE, "ignore": True}, tracking={"enabled": False}))


@pytest.mark.parametrize(
    ("zone", "pipeline", "where"),
    [
        (None, {"labels": ["car"]}, "pipelines.main.labels[0]"),
        (None, {"scores": {"car": 0.5}}, "pipelines.main.scores.car"),
        (None, {"shapes": {"car": {"max_area": 0.5}}}, "pipelines.main.shapes.car"),
        ({**ZONE, "labels": ["truck", "car"]}, {}, "zones.gate.labels[1]"),
        ({**ZONE, "limits": {"car": {}}}, {}, "zones.gate.limits.car"),
    ],
)
def test_whoever_asks_for_a_label_that_remap_takes_away_is_told_the_one_in_its_place(zone, pipeline, where):
    (found,) = problems(zone, remap={"car": "vehicle"}, **pipeline)
    assert where in found
    assert "write vehicle" in found


def test_a_zone_cannot_wait_for_a_label_that_its_pipeline_leaves_out():
    (found,) = problems({**ZONE, "labels": ["person", "persom"]}, labels=["person", "dog"])
    assert "zones.gate.labels[1]" in found
    assert "'persom'" in found
    assert "did you mean person?" in found


@pytest.mark.parametrize(
    "pipeline",
    [
        {"scores": {"person": 0.05}},
        {"scores": {"person": 1.5}},
        {"scores": {"person": "high"}},
        {"tracking": {"min_hits": 1}},
        {"tracking": {"max_age_s": 0}},
        {"remap": {"car": ""}},
    ],
)
def test_a_pipelines_seeing_is_bounded(pipeline):
    assert len(problems(**pipeline)) == 1


def test_what_is_written_reaches_the_part_that_needs_it(tmp_path):
    file = tmp_path / "agent.yaml"
    file.write_text(
        """
cameras: {front: {source: {kind: device, device: 0}}, back: {source: {kind: device, device: 1}}}
pipelines:
  main:
    cameras: [front, back]
    remap: {car: vehicle}
    scores: {person: 0.5}
    shapes: {person: {max_ratio: 1}}
    tracking: {min_hits: 5, max_age_s: 1.5, high_score: 0.6}
zones:
  gate:
    {camera: front, polygon: [[0, 0], [1, 0], [1, 1]], labels: [person], limits: {person: {score: 0.7}}, loiter_s: 9}
  door: {camera: front, line: [[0, 0], [1, 0]]}
  tree: {camera: back, polygon: [[0, 0], [1, 0], [1, 1]], ignore: true}
report: {events: [track], event_update_s: 2}
"""
    )
    loaded: Loaded = load(file, {})
    found = seeing_settings(loaded.config, "main")
    assert (found.remap, found.scores, found.update_s, found.kinds) == (
        {"car": "vehicle"},
        {"person": 0.5},
        2.0,
        {"track"},
    )
    assert (found.tracking.min_hits, found.tracking.max_age_s, found.high_score) == (5, 1.5, 0.6)
    assert found.shapes["person"].max_ratio == 1
    gate, door = found.zones["front"]
    assert (gate.labels, gate.limits["person"].score, gate.loiter_s, gate.is_line) == ({"person"}, 0.7, 9.0, False)
    assert (door.is_line, [spec.mask for spec in found.zones["back"]]) == (True, [True])


numbers = st.one_of(st.integers(-2, 3), st.floats(0, 2), st.just("x"), st.none())


@given(st.one_of(st.none(), st.lists(st.one_of(numbers, st.lists(numbers, max_size=3)), max_size=6)), st.booleans())
def test_any_value_is_judged_or_passed_over(value, closed):
    for index, message, hint in complaints(value, closed=closed):
        assert index is None or 0 <= index < len(value)
        assert message
        assert hint


def test_the_documentations_example_is_right():
    text = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    example = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    example["cameras"] = {"front": {"source": {"kind": "device", "device": 0}}}
    config = validate(example)
    assert len(config.zones) == 3
