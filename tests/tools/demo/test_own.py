from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tests.fakes.colours import picture
from tests.fakes.models import TINY_LABELS, tiny_classifier, tiny_conv_detector
from tools.demo import own, releases
from tools.demo.clip import FEWEST_SAMPLES, open_clip
from tools.registry.check import check_release
from tools.registry.draft import load_draft

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames: a coloured cell wanders over black."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (128, 128))
    for number in range(40):
        writer.write(picture({(number % 8, number // 8): number % 3}))
    writer.release()
    return path


def labels(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(TINY_LABELS))
    return path


def test_a_clip_is_looked_through_in_order(video: Path) -> None:
    clip = open_clip(video)
    assert (clip.frames, clip.width, clip.height, clip.fps) == (40, 128, 128, 12.0)
    samples = clip.sample()
    assert [index for index, _ in samples] == list(range(40))
    assert sorted(clip.at([39, 3, 99])) == [3, 39]
    np.testing.assert_array_equal(clip.at([3])[3], samples[3][1])


@pytest.mark.parametrize("content", [None, b"", b"no film"])
def test_what_is_no_film_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="VIDEO"):
        open_clip(path)


def test_a_short_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 64))
    for _ in range(FEWEST_SAMPLES - 1):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    with pytest.raises(InputError, match=f"at least {FEWEST_SAMPLES}"):
        open_clip(path)


def test_ones_own_model_becomes_five_releases_that_say_whose_they_are(tmp_path: Path, video: Path) -> None:
    model = tiny_conv_detector(tmp_path / "My Model.onnx")
    clip = open_clip(video)
    described = own.describe_guest(model, labels(tmp_path), None)
    subject = own.subject_of(model, described, clip)
    said: list[str] = []
    made = own.make_models(model, subject, clip.sample(), tmp_path / "models", rounds=1, tell=said.append)
    assert made.workshop.agreement.f1 > 0.9
    assert made.workshop.compared == 20
    assert any("minmax" in line for line in said)
    drafts = releases.drafts(tmp_path / "out", made.workshop, made.golden, subject)
    for version in (releases.FLOAT, releases.INT8):
        draft = load_draft(drafts[version].folder / "manifest.json")
        assert (draft.manifest.model, draft.manifest.labels) == ("my-model", TINY_LABELS)
        assert len(draft.manifest.golden) == own.GOLDEN_IMAGES
        check_release(draft, golden=True)


def test_a_classifier_draws_no_boxes(tmp_path: Path, video: Path) -> None:
    model = tiny_classifier(tmp_path / "c.onnx")
    with pytest.raises(InputError, match="classifier"):
        own.subject_of(model, own.describe_guest(model, labels(tmp_path), None), open_clip(video))


def test_a_clip_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dark.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 64))
    for _ in range(20):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    model = tiny_conv_detector(tmp_path / "m.onnx")
    clip = open_clip(path)
    subject = own.subject_of(model, own.describe_guest(model, labels(tmp_path), None), clip)
    with pytest.raises(InputError, match="see nothing clearly"):
        own.make_models(model, subject, clip.sample(), tmp_path / "models", rounds=1, tell=lambda _: None)


def test_the_demos_extra_suffices_for_ones_own_model() -> None:
    """Neither the evaluation's packages nor plots nor pages are loaded: they come with another extra."""
    code = (
        "import sys, tools.demo.show; heavy = {'faster_coco_eval', 'matplotlib', 'jinja2', 'scipy', 'onnxslim'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--model", "--video"])
def test_model_and_video_belong_together(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", option, "x"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert "belong together" in done.stderr
