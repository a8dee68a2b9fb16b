"""What the page is told of cameras, history and the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.layers import load
from agent.loop.records import CameraStatistics, PipelineStatistics
from agent.telemetry.histogram import Histogram
from agent.types import CameraName, PipelineName
from agent.web import views
from agent.web.history import EVERY_S, POINTS, History

TEXT = b"""
schema: 1
cameras:
  yard:
    source: {kind: url, url: "rtsp://admin:hunter2@192.0.2.1/1"}
    masks: [[[0, 0], [320, 0], [320, 240]]]
  gate: {source: {kind: pattern}}
pipelines: {watch: {cameras: [yard, gate]}}
zones:
  door: {camera: yard, polygon: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]], labels: [person]}
  kerb: {camera: yard, line: [[64, 48], [640, 480]]}
mqtt: {host: 192.0.2.2, username: u, password: hunter3}
logs: {parts: {web: debug}}
"""


@pytest.fixture
def loaded(tmp_path: Path):
    return load(tmp_path / "agent.yaml", {"LOOKOUT__MQTT__PORT": "1884"}, remote={"report": {"all": True}}, text=TEXT)


def statistics(**stages) -> PipelineStatistics:
    yard = CameraStatistics(CameraName("yard"), "streaming", "", (640, 480), 9.96, 1, 1, 0, 0, 0, 0)
    return PipelineStatistics(
        pipeline=PipelineName("watch"), captured=1, answered=1, failed=0, lost=0, skipped=0, gated=0, in_flight=0,
        resent=0, swaps=0, workers_lost=0, fps=9.96, cameras={CameraName("yard"): yard}, stages=stages,
        current=None, previous=None, serving=None,
    )  # fmt: skip


def test_a_camera_is_told_with_what_is_drawn_on_it_as_parts_of_its_picture(loaded):
    yard, gate = views.cameras(loaded.config, [statistics()])
    assert (yard["name"], yard["pipeline"], yard["size"], yard["health"]) == ("yard", "watch", (640, 480), "streaming")
    assert yard["fps"] == 10.0
    assert yard["zones"] == {
        "door": {"polygon": [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)], "ignore": False, "labels": ("person",)}
    }
    assert yard["lines"] == {"kerb": {"line": [(0.1, 0.1), (1.0, 1.0)], "ignore": False, "labels": None}}
    assert yard["mask"] == [[(0.0, 0.0), (0.5, 0.0), (0.5, 0.5)]]
    assert (gate["health"], gate["size"], gate["zones"], gate["mask"]) == ("opening", None, {}, [])


def test_what_is_in_pixels_of_a_picture_nobody_saw_yet_is_left_open(loaded):
    yard, _ = views.cameras(loaded.config, [])
    assert yard["lines"]["kerb"]["line"] is None
    assert yard["mask"] == [None]
    assert yard["zones"]["door"]["polygon"] is not None


def test_every_key_is_told_with_where_it_comes_from_and_without_secrets(loaded):
    keys = {row["key"]: row for row in views.config_keys(loaded)}
    assert (keys["mqtt.port"]["source"], keys["mqtt.port"]["where"]) == ("environment", "LOOKOUT__MQTT__PORT")
    assert (keys["report.all"]["value"], keys["report.all"]["source"]) == (True, "remote")
    assert keys["zones.door.polygon"]["where"] == "agent.yaml, line 10"
    assert keys["logs.parts"]["value"] == {"web": "debug"}
    assert keys["logs.parts"]["source"] == "file"
    assert keys["web.port"] == {
        "key": "web.port", "value": 8088, "source": "default", "where": "", "default": "8088", "applies": "agent",
        "remote": False, "description": "Port to serve at.",
    }  # fmt: skip
    assert keys["web.tls"]["value"] is None
    assert keys["cameras.gate.source.kind"]["value"] == "pattern"
    assert all(row["description"] for row in keys.values())
    assert "hunter" not in str(keys)


def test_the_history_knows_the_last_hour_and_what_is_unknown():
    history = History()
    latencies = Histogram()
    for number in range(POINTS + 5):
        if number % 2:
            latencies.add(100.0 + number)
        history.take(number * EVERY_S * 1000, [statistics(latency=latencies.snapshot())], None, {"agent": 40.0})
    told = history.series()
    assert (told.every_s, len(told.at)) == (EVERY_S, POINTS)
    assert told.at[0] == "1970-01-01T00:00:50.000Z"
    assert set(told.series) == {"fps.yard", "latency_p95_ms.watch", "temperature_c", "cpu_percent", "memory_mb"}
    p95 = told.series["latency_p95_ms.watch"]
    assert p95[-1] is None, "no frame came since the point before"
    assert p95[-2] == pytest.approx(100 + POINTS + 3, rel=0.05)
    assert told.series["memory_mb"][0] == 40.0
    assert told.series["temperature_c"][0] is None
    assert all(len(values) == POINTS for values in told.series.values())
