"""Opens pipelines under the system's Python and prints as JSON what came of each; for ``test_gstreamer``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from agent.capture.gstreamer import GstreamerSource
from agent.errors import CameraError
from agent.process.messages import SourceSpec

SMALL = "videotestsrc is-live=true ! video/x-raw,width=64,height=48"
PIPELINES = {
    "own_sink": f"{SMALL} ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1",
    "not_bgr": f"{SMALL},format=I420 ! appsink",
    "nonsense": "nosuchelement ! videoconvert",
    "short": "videotestsrc num-buffers=2 ! video/x-raw,width=64,height=48",
    "absent": "filesrc location=/no/such/file.mp4 ! decodebin",
    "silent": "appsrc ! video/x-raw,format=BGR,width=64,height=48,framerate=15/1",
}


def source_of(pipeline: str) -> GstreamerSource:
    return GstreamerSource(SourceSpec("gstreamer", pipeline, open_timeout_ms=500, read_timeout_ms=500))


def frames(pipeline: str, count: int = 4) -> dict[str, Any]:
    source = source_of(pipeline)
    try:
        source.open(0)
        for _ in range(count):
            source.grab()
            picture = source.retrieve(None)
        return {"shape": list(picture.shape)}
    except CameraError as error:
        return {"error": error.message}
    finally:
        source.close()


def odd() -> dict[str, Any]:
    """A picture whose rows are filled up, written into a slot."""
    source = source_of("videotestsrc pattern=smpte ! video/x-raw,width=321,height=241,framerate=30/1")
    source.open(5)
    slot = np.zeros((241, 321, 3), np.uint8)
    indices = [source.grab()]
    into = source.retrieve(slot) is slot
    indices.append(source.grab())
    other = source.retrieve(np.zeros((2, 2, 3), np.uint8)).shape == slot.shape
    indices.append(source.grab())
    source.close()
    return {
        "shape": list(slot.shape), "into": into, "other": other, "fps": source.fps, "indices": indices,
        "left_top": slot[2, 5].tolist(), "right_top": slot[2, 315].tolist(),
    }  # fmt: skip


def again() -> dict[str, Any]:
    source = source_of(SMALL)
    for _ in range(2):
        source.open(0)
        source.grab()
        shape = list(source.retrieve(None).shape)
        source.close()
    return {"shape": shape}


def main() -> None:
    found = {name: frames(pipeline) for name, pipeline in PIPELINES.items()}
    print(json.dumps(found | {"odd": odd(), "again": again()}))


if __name__ == "__main__":
    main()
