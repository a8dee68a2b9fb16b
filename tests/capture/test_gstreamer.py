"""GStreamer pipelines, with the real GStreamer where this machine has its bindings.

They belong to the system's Python and to no virtual environment, so the source runs there, on this environment's
packages, where both are of one version: ``tests/capture/pipelines.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from agent.capture.gstreamer import SINK, GstreamerSource, whole
from agent.errors import CameraError
from agent.process.messages import SourceSpec

SYSTEM_PYTHON = "/usr/bin/python3"
ROOT = Path(__file__).parents[2]
NEEDS = "apt-get install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-{base,good}"


def test_a_pipeline_gets_a_sink_that_keeps_only_the_newest_unless_it_has_one():
    assert whole("videotestsrc ! ") == f"videotestsrc ! videoconvert ! {SINK}"
    assert whole("videotestsrc ! appsink") == "videotestsrc ! appsink"


def test_without_the_bindings_the_camera_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(CameraError, match=r"apt-get install python3-gi .*--system-site-packages"):
        GstreamerSource(SourceSpec("gstreamer", "nvarguscamerasrc ! nvvidconv")).open(0)


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What became of each pipeline, by its name in ``pipelines.py``."""
    about = "import sys, gi; gi.require_version('GstApp', '1.0'); print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", about], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        pytest.skip(f"no {SYSTEM_PYTHON}")
    if found.returncode:
        pytest.skip(f"no GStreamer bindings: {NEEDS}")
    mine = "{}.{}".format(*sys.version_info[:2])
    if found.stdout.strip() != mine:
        pytest.skip(f"the system's Python is {found.stdout.strip()}, this environment's {mine}")
    paths = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    told = subprocess.run(
        [SYSTEM_PYTHON, "-m", "tests.capture.pipelines"],
        env=os.environ | {"PYTHONPATH": paths}, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout))


def test_frames_come_whole_into_the_slot_whatever_the_rows_are_filled_up_to(seen):
    smpte = seen["odd"]
    assert (smpte["shape"], smpte["into"], smpte["fps"]) == ([241, 321, 3], True, 30.0)
    white, blue = smpte["left_top"], smpte["right_top"]
    assert min(white) > 150
    assert blue[0] > 150 > 80 > blue[2], "BGR, and no row is shifted"
    assert smpte["indices"] == [5, 6, 7]


def test_a_size_that_does_not_fit_the_slot_comes_as_another_array(seen):
    assert seen["odd"]["other"] is True


def test_a_pipeline_with_a_sink_of_its_own_works_and_one_that_is_not_bgr_is_refused_in_words(seen):
    assert seen["own_sink"]["shape"] == [48, 64, 3]
    assert "delivers I420; put videoconvert" in seen["not_bgr"]["error"]


def test_what_is_no_pipeline_ends_breaks_or_stalls_is_told_in_words_and_in_time(seen):
    assert "is no pipeline" in seen["nonsense"]["error"]
    assert "came to its end" in seen["short"]["error"]
    assert "No such file" in seen["absent"]["error"]
    assert "gave no frame for 0.5 s" in seen["silent"]["error"]


def test_it_can_be_opened_again_after_it_was_closed(seen):
    assert seen["again"]["shape"] == [48, 64, 3]
