"""Rows are told what concerns them, in order, once, and again where something went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.announce import Announcer, standing_topics
from agent.config.layers import Loaded, load
from agent.config.schema import Report
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus
from agent.errors import CameraError
from agent.loop.sinks import CameraSummary
from agent.process.messages import SourceSpec, View
from agent.steer.apply import Applier, Row
from agent.steer.frames import goes_on, shows_the_same
from agent.steer.rows import names
from agent.steer.standing import Standing
from agent.types import CameraName, Outgoing, PipelineName

FILE = """
schema: 1
cameras: {yard: {source: {kind: pattern}}}
pipelines: {watch: {cameras: [yard]}}
"""


def loaded(folder: Path, more: str = "") -> Loaded:
    path = folder / "agent.yaml"
    path.write_text(FILE + more)
    return load(path, {})


class Bench:
    """Two rows and what they were told; ``refuses`` makes the second one raise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[str, object]] = []
        self.refuses = False
        self.settled = 0
        self.booted = loaded(folder)
        table = (
            Row("first", lambda it: it.config.report.telemetry_s, lambda s: self.told.append(("first", s))),
            Row("second", lambda it: it.config.report.detections_hz, self.second),
            Row("third", lambda it: it.config.device.groups, lambda groups: self.told.append(("third", groups))),
        )
        self.applier = Applier(self.booted, table, settled=self.settle)

    def second(self, hz: float) -> None:
        if self.refuses:
            raise CameraError("the second part refuses")
        self.told.append(("second", hz))

    def settle(self) -> None:
        self.settled += 1

    def take_up(self, more: str = "") -> tuple[str, ...]:
        self.told.clear()
        return self.applier.apply(self.booted, loaded(self.folder, more))


def test_a_row_is_told_only_where_its_record_differs_and_the_order_is_the_tables(tmp_path):
    bench = Bench(tmp_path)
    assert bench.take_up("device: {groups: [a]}\nreport: {telemetry_s: 5}\n") == ()
    assert bench.told == [("first", 5.0), ("third", ("a",))]
    bench.take_up("device: {groups: [a]}\nreport: {telemetry_s: 5}\n")
    assert (bench.told, bench.settled) == ([], 1)
    bench.take_up()
    assert bench.told == [("first", 10.0), ("third", ())]


def test_after_a_refusal_every_row_is_told_what_holds_again(tmp_path):
    bench = Bench(tmp_path)
    bench.refuses = True
    with pytest.raises(CameraError, match="refuses"):
        bench.take_up("report: {telemetry_s: 5, detections_hz: 1}\n")
    assert bench.told == [("first", 5.0)]
    bench.refuses = False
    bench.take_up()
    assert bench.told == [("first", 10.0), ("second", 5.0), ("third", ())]
    bench.take_up()
    assert bench.told == []


def test_keys_that_wait_for_a_restart_are_named_until_they_are_as_they_were(tmp_path):
    bench = Bench(tmp_path)
    assert bench.take_up("device: {class: pi, groups: [a]}\n") == ("device.class",)
    assert bench.take_up("device: {class: pi}\nreport: {telemetry_s: 5}\n") == ("device.class",)
    assert bench.take_up() == ()


# --- sources ---------------------------------------------------------------------------------------------------------

FILM = SourceSpec("file", "/film.mp4", pace="lossless")


@pytest.mark.parametrize(
    ("after", "same", "on"),
    [
        (SourceSpec("file", "/film.mp4", pace="realtime", loop=True), True, True),
        (SourceSpec("file", "/film.mp4", view=View(masks=(((0, 0), (1, 0), (1, 1)),))), True, True),
        (SourceSpec("file", "/film.mp4", view=View(rotate=90)), False, True),
        (SourceSpec("file", "/film.mp4", view=View(crop=(0, 0, 0.5, 1))), False, True),
        (SourceSpec("file", "/other.mp4"), False, False),
        (SourceSpec("images", "/film.mp4"), False, False),
    ],
)
def test_what_is_seen_goes_on_where_the_picture_is_the_same_and_a_film_where_it_is_the_same_film(after, same, on):
    assert (shows_the_same(FILM, after), goes_on(FILM, after)) == (same, on)


# --- what stands at the broker ---------------------------------------------------------------------------------------


def test_what_is_told_of_a_camera_and_a_pipeline_that_went_is_taken_back_and_not_told_again(tmp_path):
    sent: list[Outgoing] = []
    announcer = Announcer(sent.append, Report())
    announcer.expect(standing_topics(("yard", "gate"), ("watch", "count")))
    status = DeploymentStatus(PipelineName("count"), State.IDLE, None)
    announcer.deployment(status)
    announcer._tell(CameraSummary(CameraName("gate"), {}, "streaming", "", 5.0))
    assert {one.topic for one in sent} == {"deploy/count", "update/count", "state/gate"}
    sent.clear()
    announcer.expect(standing_topics(*names(loaded(tmp_path))))
    assert {(one.topic, one.payload, one.retain) for one in sent} == {
        (topic, b"", True) for topic in ("deploy/count", "update/count", "state/gate")
    }
    sent.clear()
    announcer.deployment(status)
    announcer._tell(CameraSummary(CameraName("gate"), {}, "streaming", "", 5.0))
    assert sent == [], "a straggler is not told any more"
    announcer.expect(standing_topics(("yard", "gate"), ("watch", "count")))
    announcer.deployment(status)
    assert {one.topic for one in sent} == {"deploy/count", "update/count"}


def test_what_a_former_start_left_at_the_broker_is_taken_back_at_the_next_two(tmp_path):
    file = tmp_path / "standing.json"
    yard, gate = standing_topics(("yard",), ()), standing_topics(("gate",), ())
    assert Standing(file).begin(yard | gate) == frozenset()
    Standing(file).change(yard)  # and the agent is killed before the broker has heard it
    assert Standing(file).begin(yard) == gate
    assert Standing(file).begin(yard) == frozenset()
    assert Standing(file).begin(gate) == yard, "it went while the agent was off"
    file.write_text("no json")
    assert Standing(file).begin(yard) == frozenset()
