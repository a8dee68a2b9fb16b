"""The log of a real device: followed from afar and at its socket, louder for a while, in its file; and the bundle."""

from __future__ import annotations

import json
import subprocess
import time

from . import shelf
from .device import CAMERA, LOOKOUT, PIPELINE
from .processes import until

SECRET = "horse-battery-staple"


def test_the_log_is_followed_from_afar_and_made_louder_for_a_while(at_work):
    _, person = at_work(logs={"fold_s": 0})
    answer = person.command("logs/tail", level="debug", lines=500, seconds=30, per_second=100)
    assert answer["ok"], answer
    assert answer["result"]["lines"] >= 3
    first = person.wait(lambda: len(said := person.said("logs")) >= answer["result"]["lines"] and said)
    assert {"mqtt.connected", "agent.started"} <= {line["event"] for line in first}
    assert all(line["v"] == 1 and line["at"].endswith("Z") for line in first)

    louder = person.command("logs/level", level="debug", part="serve", seconds=1)
    assert louder["result"]["level"] == "debug"
    person.wait(lambda: {"logs.level_set", "logs.level_returned"} <= {line["event"] for line in person.said("logs")})

    person.deployed(shelf.NEWER)
    person.wait(lambda: [line for line in person.said("logs") if line["part"] == "deploy" and line["fields"]])
    ended = person.command("logs/tail", seconds=0)
    assert ended["result"] == {"until": None, "lines": 0}
    assert person.wait(lambda: [line for line in person.said("logs") if line["event"] == "logs.tail_ended"])

    count = len(person.said("logs"))
    assert person.command("model/cancel")["ok"] is False
    assert len(person.said("logs")) == count
    wrong = person.command("logs/tail", part="deplyo")
    assert (wrong["ok"], wrong["error"]["field"]) == (False, "args.part")


def test_a_tail_at_debug_does_not_feed_itself(at_work):
    _, person = at_work(logs={"level": "debug", "fold_s": 0})
    person.command("logs/tail", level="debug", lines=0, seconds=30, per_second=100)
    time.sleep(3)
    assert len(person.said("logs")) < 30, person.said("logs")[-5:]


def test_the_log_is_shown_at_the_device_and_kept_in_its_file(at_work):
    device, person = at_work(logs={"file": "log/agent.log", "parts": {"link": "warning"}})
    shown = device.run("logs", "-c", str(device.file), "--level", "info")
    assert shown.returncode == 0, shown.stderr
    assert "agent.started" in shown.stdout
    assert "mqtt.connected" not in shown.stdout, "link logs from warning up"
    (line,) = device.run("logs", "-c", str(device.file), "--grep", "agent.STARTED", "--json").stdout.splitlines()
    assert json.loads(line)["part"] == "agent"
    wrong = device.run("logs", "-c", str(device.file), "--part", "deplyo")
    assert wrong.returncode == 1
    assert "deploy" in wrong.stderr

    command = [str(LOOKOUT), "logs", "-f", "--json", "--socket", str(device.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        while "agent.started" not in follower.stdout.readline():
            pass
        person.command("logs/level", level="info", seconds=60)
        while "logs.level_set" not in follower.stdout.readline():
            pass
        device.stop()
        assert follower.wait(20) == 1
        assert follower.stderr is not None
        assert "ended" in follower.stderr.read()
    kept = [json.loads(line)["event"] for line in (device.folder / "log/agent.log").read_text().splitlines()]
    assert kept[-1] == "agent.stopped"
    assert "agent.started" in kept
    assert "mqtt.connected" not in kept


def test_an_idle_device_has_nothing_to_say(at_work):
    """1 MB a day is 115 bytes in 10 s: one short line."""
    device, _ = at_work(report={"telemetry_s": 1}, logs={"fold_s": 0})
    device.wait_serving(shelf.TINY)
    before = device.log.stat().st_size
    time.sleep(10)
    said = device.log.read_bytes()[before:].splitlines()
    said = [line for line in said if b'"notify.failed"' not in line]  # nobody plays systemd here once it is ready
    assert sum(len(line) + 1 for line in said) <= 115, said


def test_one_command_tells_how_a_device_does_and_no_secret_with_it(at_work):
    device, person = at_work(mqtt={"username": "someone", "password": SECRET})
    answer = person.command("device/diagnose", snapshot=True, logs=50)
    assert answer["ok"], answer
    found = answer["result"]
    sections = found["sections"]
    assert found["cameras"][CAMERA]["code"] == "reporting"
    assert found["snapshots"] == {CAMERA: f"snapshots/{CAMERA}"}
    assert person.on(person.topic(f"snapshots/{CAMERA}"))[0].payload.startswith(b"\xff\xd8")
    assert sections["problems"] == []
    assert sections["device"]["device"] == device.name
    assert sections["device"]["clock"]["doubt"] is None
    assert sections["device"]["trust"]["state"] == "ok"
    assert sections["history"][PIPELINE][0]["state"] == "committed"
    assert sections["pipelines"][PIPELINE]["answered"] > 0
    assert sections["pipelines"][PIPELINE]["stages"]["run"]["count"] > 0
    assert sections["link"]["session"]["state"] == "connected"
    assert {"lookout-logs", "lookout-mqtt"} <= set(sections["process"]["threads"])
    assert sections["process"]["open_files"] > 10
    assert sections["reported"]["state"] == "committed"
    assert sections["config"]["mqtt"]["password"] == "(hidden)"
    assert sections["config"]["mqtt"]["username"] == "someone"
    assert "agent.started" in {record["event"] for record in sections["logs"]}
    raw = person.on(person.topic("result/device/diagnose"))[0].payload
    assert len(raw) < 128 * 1024
    assert SECRET.encode() not in raw
    until(lambda: SECRET not in device.log.read_text(), 1, lambda: "the secret is in the log")


def test_children_follow_the_level(at_work):
    device, person = at_work()
    assert person.command("logs/level", level="error", seconds=300)["ok"]
    assert person.command("logs/level", level="error", part="capture", seconds=300)["ok"]
    before = len(device.log.read_text().splitlines())
    person.deployed(shelf.NEWER)
    after = device.log.read_text().splitlines()[before:]
    assert not [line for line in after if json.loads(line)["level"] == "info"], after
