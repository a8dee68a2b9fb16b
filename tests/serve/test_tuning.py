"""Tuning as a real process, on a tiny real model."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import LookoutError, ModelError
from agent.process.child import Spawner
from agent.serve.tuner import TuneClient, TuningCancelled
from agent.types import RunCost, RunOptions
from tests.fakes.models import tiny_detector
from tests.serve.conftest import load_of

OPTIONS = (RunOptions(1), RunOptions(2), RunOptions(2, spin=True), RunOptions(1, concurrency=2))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 127, np.uint8))
    return path


def measure(spawner: Spawner, model: Path, picture: Path, *, cancel: threading.Event | None = None, **changes):
    seen: list[tuple[RunCost, ...]] = []

    def then(costs: tuple[RunCost, ...]) -> tuple[RunOptions, ...]:
        seen.append(costs)
        return (RunOptions(1, arena=False),)

    costs = TuneClient(spawner).measure(
        load_of(model, **changes), picture, OPTIONS, seconds_each=0.1, then=then, cancel=cancel or threading.Event()
    )
    assert seen == [costs[: len(OPTIONS)]]
    return costs


def test_each_of_the_options_is_measured_and_the_optimised_copy_is_left_behind(
    spawner: Spawner, tmp_path: Path, picture: Path
) -> None:
    copy = tmp_path / "copy.ort"
    costs = measure(spawner, tiny_detector(tmp_path / "tiny.onnx"), picture, optimize_to=str(copy))
    assert [cost.options for cost in costs] == [*OPTIONS, RunOptions(1, arena=False)]
    assert all(cost.run_ms > 0 and cost.cpu_ms > 0 and cost.runs >= 3 for cost in costs)
    assert copy.stat().st_size > 0


def test_a_model_that_cannot_be_loaded_is_said_and_nothing_is_left_running(
    spawner: Spawner, tmp_path: Path, picture: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        measure(spawner, broken, picture)


def test_a_picture_that_is_none_is_said(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(LookoutError, match="absent"):
        measure(spawner, tiny_detector(tmp_path / "tiny.onnx"), tmp_path / "nothing.png")


def test_it_can_be_cancelled(spawner: Spawner, tmp_path: Path, picture: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    began = time.monotonic()
    with pytest.raises(TuningCancelled):
        measure(spawner, tiny_detector(tmp_path / "tiny.onnx"), picture, cancel=cancel)
    assert time.monotonic() - began < 10
