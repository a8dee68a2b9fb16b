"""A still scene is gated without hiding what stands in it, and a device under strain says so and takes fewer frames."""

from __future__ import annotations

from . import shelf
from .device import CAMERA

GATED = {"motion": {"enabled": True, "hold_s": 0.2, "every_s": 30, "recheck_s": 0.3}}


def test_a_still_scene_is_gated_what_stands_in_it_stays_reported_and_no_deployment_waits(at_work):
    device, person = at_work(cameras={CAMERA: GATED})
    person.wait(lambda: device.status().cameras[0].gated > 20, 20)
    before = len(person.said(f"detections/{CAMERA}"))
    person.wait(lambda: len(person.said(f"detections/{CAMERA}")) >= before + 3, 10)
    assert person.said(f"detections/{CAMERA}")[-1]["detections"][0]["label"] == "red"
    assert person.command("model/deploy", reference=shelf.NEWER)["ok"]
    person.wait(lambda: person.deployments()[-1]["state"] == "committed", 30)
    told = person.said("telemetry")[-1]["cameras"][CAMERA]["counters"]
    assert told["gated"] > 20
    assert told["lost"] == 0
    assert device.status().degraded == ()


def test_a_device_under_strain_lowers_its_frame_rate_and_says_why(at_work):
    strained = {"load": 0.001, "temperature_c": None, "throttling": False, "steps_fps": [3.0, 1.0], "settle_s": 3600}
    device, person = at_work(governor=strained)
    told = person.wait(
        lambda: (said := person.said("telemetry")) and (said[-1].get("governor") or {}).get("level") and said[-1], 20
    )
    assert told["governor"]["max_fps"] == 3.0
    assert "the load is" in told["governor"]["reason"]
    person.wait(lambda: any("at most 3 frames a second" in line for line in person.said("info")[-1]["warnings"]), 10)
    assert any("governor" in line for line in device.status().degraded)
    person.wait(lambda: device.status().cameras[0].fps < 5, 20)
    assert device.status().cameras[0].lost == 0
