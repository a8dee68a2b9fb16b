"""``camera/snapshot`` from an operator's command to the JPEG at the broker, through real processes."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from .device import CAMERA

LEFT_HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


@pytest.mark.parametrize("process", ["shared", "per_camera"])
def test_a_snapshot_comes_with_the_privacy_masks_and_what_was_seen(world, veteran, broker, process):
    device = world.device(port=broker.port, state=veteran, start=False)
    device.config["cameras"][CAMERA] |= {"masks": [LEFT_HALF], "rotate": 90}
    device.config["capture"] = {"process": process}
    person = world.person(broker.port, device)
    device.start()
    person.wait(lambda: person.frames())

    answer = person.command("camera/snapshot", boxes=False)
    assert answer["ok"], answer
    assert (answer["result"]["camera"], answer["result"]["size"]) == (CAMERA, [64, 64])
    (message,) = person.wait_for(person.topic(f"snapshots/{CAMERA}"))
    assert len(message.payload) == answer["result"]["bytes"]
    assert not message.retain
    shown = cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR)
    assert shown[:, :28].max() < 60
    assert np.median(shown[:7, 57:, 2]) > 150  # the red cell, top left before it was turned

    again = person.command("camera/snapshot")
    assert again["error"]["code"] == "camera", "not more than one a second"
    time.sleep(1.1)
    assert person.command("camera/snapshot")["result"]["boxes"] == 1
    boxed = person.wait_for(person.topic(f"snapshots/{CAMERA}"), 2)[1]
    shown = cv2.imdecode(np.frombuffer(boxed.payload, np.uint8), cv2.IMREAD_COLOR)
    assert shown[:, :28].max() < 60
    unknown = person.command("camera/snapshot", camera="cellar")
    assert unknown["error"]["field"] == "args.camera"
    state = person.said(f"state/{CAMERA}")[-1]
    assert state["conditions"] == []
