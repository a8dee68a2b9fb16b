"""A real agent whose broker goes away and which is killed meanwhile: what it told arrives, in order, with its ids."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3

from . import shelf
from .device import CAMERA, PIPELINE, Device
from .processes import until
from .test_events import TRACKING, lives, walk

TOPIC = f"events/{CAMERA}"


def waiting(device: Device) -> list[str]:
    """The ids of the events in the device's file, in order. The device has the file for itself: a copy is read."""
    copy = device.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(device.state / name, copy / name)
    with contextlib.closing(sqlite3.connect(copy / "outbox.db")) as db:
        rows = db.execute("SELECT payload FROM letters WHERE stream = ? ORDER BY id", (TOPIC,)).fetchall()
    return [json.loads(payload)["id"] for (payload,) in rows]


def order(identity: str) -> tuple[int, int]:
    start, number = identity.split("-")
    return int(start), int(number)


def test_events_survive_an_outage_and_a_kill_and_what_is_seen_ends_with_the_agent(world, veteran, mosquitto):
    broker = mosquitto()
    device = world.device(
        port=broker.port,
        state=veteran,
        start=False,
        cameras={CAMERA: {"source": {"kind": "images", "path": "walk", "loop": True, "fps": 10}}},
        pipelines={PIPELINE: {"tracking": TRACKING}},
        deploy={"safe_mode_after": 0},
        report={"event_update_s": 0.5},
    )
    walk(device.folder / "walk")
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    person.wait(lambda: len(person.said(TOPIC)) >= 3)
    before = [event["id"] for event in person.said(TOPIC)]
    broker.kill()
    until(lambda: len(waiting(device)) >= 10, 30)
    device.kill_all()
    owed = waiting(device)
    assert owed == sorted(owed, key=order)

    broker.restart()
    again = world.person(broker.port, device)
    device.start()
    again.wait(lambda: len(again.said(TOPIC)) >= len(owed) + 3, 60)
    events = again.said(TOPIC)
    ids = [event["id"] for event in events]
    assert ids[: len(owed)] == owed, "those of the life before first, in their order"
    assert ids == sorted(set(ids), key=order)
    assert set(ids) & set(before) <= set(before[-20:]), "what was acknowledged does not come again"
    starts = [order(identity)[0] for identity in ids]
    assert starts[-1] > starts[0] == order(before[0])[0]

    told = again.wait(lambda: [one for one in again.said("telemetry") if one["link"]["waiting"] == 0], 60)[-1]
    assert told["link"]["dropped"] == told["link"]["unsaved"] == 0

    # A track is open; the agent is asked to stop.
    again.wait(lambda: again.said(TOPIC)[-1]["type"] != "end")
    assert device.stop() == 0
    last = order(again.said(TOPIC)[-1]["id"])[0]
    told_now = [event for event in again.said(TOPIC) if order(event["id"])[0] == last]
    tracks = {event["track"]["id"] for event in told_now}
    assert len(lives(told_now)) == len(tracks), "each track that began has an end"
    assert waiting(device) == []
