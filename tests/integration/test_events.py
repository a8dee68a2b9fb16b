"""A real agent and broker: a cell walks through the picture, and what happens there arrives once and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from . import shelf
from .device import CAMERA, PIPELINE, Device
from .person import Person

CELL = 8
ZONES = {
    "right": {"camera": CAMERA, "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], "inertia": 2},
    "door": {"camera": CAMERA, "line": [[0.5, 1], [0.5, 0]], "inertia": 2},
    "roof": {"camera": CAMERA, "polygon": [[0, 0], [1, 0], [1, 0.2], [0, 0.2]], "ignore": True},
}
"""A cell that walks to the right goes through the door and is then on the right; one always lies on the roof."""

TRACKING = {"max_age_s": 0.5, "match_iou": 0.1, "stationary_s": 60}


def walk(folder: Path, *, frames_a_cell: int = 4, empty: int = 14) -> None:
    """Write pictures of a red cell that walks along the fourth row, and is then gone."""
    folder.mkdir(parents=True)
    columns = [column for column in range(1, 7) for _ in range(frames_a_cell)] + [None] * empty
    for number, column in enumerate(columns):
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[:CELL, :CELL, 2] = 255
        if column is not None:
            frame[3 * CELL : 4 * CELL, column * CELL : (column + 1) * CELL, 2] = 255
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame)


def test_why_a_camera_reports_nothing_can_be_asked(at_work):
    device, person = at_work()
    person.sees(shelf.TINY)
    answer = person.command("device/diagnose")
    assert answer["ok"], answer
    assert answer["result"]["cameras"][CAMERA]["code"] == "reporting"
    wrong = person.command("device/diagnose", camera="cellar")
    assert (wrong["error"]["code"], wrong["error"]["field"]) == ("bad_command", "args.camera")
    assert device.wait_status(lambda seen: seen.cameras[0].seeing == "reporting")
    device.stop()
    device.config["pipelines"][PIPELINE]["labels"] = ["blue"]
    device.start()
    device.wait_status(lambda seen: seen.cameras[0].seeing == "unwanted")
    answer = person.command("device/diagnose", camera=CAMERA)
    assert "labels that the pipeline does not report" in answer["result"]["cameras"][CAMERA]["message"]
    shown = device.run("status", "-c", str(device.file))
    assert f"camera {CAMERA} reports nothing: " in shown.stdout


@pytest.fixture(scope="module")
def watched(shared_world, veteran, broker) -> tuple[Device, Person]:
    """A device for three tests; the last of them starts it anew."""
    device = shared_world.device(
        port=broker.port,
        state=veteran,
        start=False,
        zones=ZONES,
        cameras={CAMERA: {"source": {"kind": "images", "path": "walk", "loop": True, "fps": 10}}},
        pipelines={PIPELINE: {"tracking": TRACKING}},
    )
    walk(device.folder / "walk")
    person = shared_world.person(broker.port, device)
    device.start()
    return device, person


def lives(events: list[Any]) -> list[list[Any]]:
    """The events of each track that has ended."""
    by_track: dict[int, list[Any]] = {}
    for event in events:
        by_track.setdefault(event["track"]["id"], []).append(event)
    return [life for life in by_track.values() if life[-1]["kind"] == "track" and life[-1]["type"] == "end"]


def news(life: list[Any]) -> list[str]:
    return [f"{event['kind']} {event['type']}" for event in life]


def test_a_track_that_enters_a_zone_is_told_whole_once_and_in_order(watched):
    _, person = watched
    topic = f"events/{CAMERA}"

    def whole() -> list[Any]:
        return [life for life in lives(person.said(topic)) if "zone new" in news(life)]

    person.wait(lambda: len(whole()) >= 2, 60)
    events = person.said(topic)
    ids = [event["id"] for event in events]
    boots = {identity.split("-")[0] for identity in ids}
    numbers = [int(identity.split("-")[1]) for identity in ids]
    assert numbers == list(range(1, len(numbers) + 1)), "each once, none left out, in order"
    assert boots == {str(person.said("info")[-1]["boot"])}
    for life in whole():
        told = [one for one in news(life) if one != "track update"]
        assert told == ["track new", "zone new", "line new", "zone end", "track end"]
    life = whole()[0]
    new, end = life[0], life[-1]
    entered = next(event for event in life if event["kind"] == "zone" and event["type"] == "new")
    left = next(event for event in life if event["kind"] == "zone" and event["type"] == "end")
    crossing = next(event for event in life if event["kind"] == "line")
    assert (new["camera"], new["model"], new["v"]) == (CAMERA, shelf.TINY, 1)
    assert new["track"]["label"] == "red"
    assert new["track"]["entered"] == []
    assert (entered["place"], entered["track"]["zones"], entered["track"]["entered"]) == ("right", ["right"], ["right"])
    assert (crossing["place"], crossing["direction"]) == ("door", "in")
    assert left["dwell_s"] > entered["dwell_s"]
    assert "place" not in end
    assert end["track"]["entered"] == ["right"]
    assert end["track"]["last_seen"] > new["track"]["last_seen"]
    assert any(event["type"] == "update" and event["track"]["zones"] == ["right"] for event in life)

    boxes = [box for frame in person.frames() for box in frame["detections"]]
    assert end["track"]["id"] in {box["track"] for box in boxes}
    assert {box["box"][1] for box in boxes} == {3.0 * CELL}, "nothing is told of the roof"

    def crossed() -> Any:
        states = [state for state in person.said(f"state/{CAMERA}") if state["lines"]]
        return states if states and states[-1]["lines"]["door"]["in"] >= 2 else None

    states = person.wait(crossed)
    assert states[-1]["lines"]["door"]["out"] == 0
    zones = [state["zones"]["right"] for state in states]
    assert {"counts": {"red": 1}, "occupancy": True} in zones
    assert {"counts": {}, "occupancy": False} in zones


def test_a_snapshot_with_boxes_shows_the_zones(watched):
    _, person = watched
    person.wait(lambda: person.said(f"events/{CAMERA}"), 60)
    assert person.command("camera/snapshot", boxes=False)["ok"]
    plain = person.wait_for(person.topic(f"snapshots/{CAMERA}"))[0]
    person.wait(lambda: person.command("camera/snapshot")["ok"])
    drawn = person.wait_for(person.topic(f"snapshots/{CAMERA}"), 2)[1]
    blue = [
        int(cv2.imdecode(np.frombuffer(one.payload, np.uint8), cv2.IMREAD_COLOR)[20:, ..., 0].max())
        for one in (plain, drawn)
    ]
    assert blue[0] < 80
    assert blue[1] > 150, "the border of a zone is light blue, and nothing else is"


def test_the_best_picture_of_a_track_can_be_had_after_its_end_and_comes_by_itself_if_asked_for(watched):
    device, person = watched
    ended = person.wait(lambda: lives(person.said(f"events/{CAMERA}")), 60)[0]
    track = ended[-1]["track"]
    topic = person.topic(f"snapshots/{CAMERA}")
    before = len(person.on(topic))
    answer = person.command("camera/snapshot", track=track["id"])
    assert answer["ok"], answer
    assert (answer["result"]["track"], answer["result"]["label"]) == (track["id"], track["label"])
    picture = person.wait_for(topic, before + 1)[-1]
    shown = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[0] < 64, "the part of the frame around it"
    assert shown[..., 2].max() > 200
    unknown = person.command("camera/snapshot", track=999_999)
    assert (unknown["error"]["code"], unknown["error"]["field"]) == ("camera", "args.track")

    device.stop()
    device.config["report"]["snapshots"] = True
    device.start()
    person.wait_for(topic, before + 2, timeout_s=60)
