"""The gate with real processes: a still scene costs nearly nothing, and whoever comes in is seen. No timings here."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.loop.plan import CameraPlan
from agent.process.messages import Load, MotionSpec, SourceSpec
from agent.types import RunOptions
from agent.vision.gate import GateSettings
from tests.fakes.models import TINY_LABELS, tiny_detector, tiny_spec
from tools.bench.rig import Rig
from tools.bench.scene import Scene, Tempo

GATE = GateSettings(hold_s=0.2, every_s=30.0, recheck_s=0.3)
RED = np.full((16, 16, 3), (20, 20, 240), np.uint8)
TEMPO = Tempo(come=6, stay=40, leave=6, rest=40)


def room() -> np.ndarray:
    """A dark, textured room in which the model sees nothing."""
    blocks = np.random.default_rng(3).integers(20, 70, (8, 8, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)


def run(model: Path, source: SourceSpec, gate: GateSettings = GATE) -> Rig:
    with Rig({"room": source}, plans={"room": CameraPlan(gate=gate)}) as rig:
        load = Load(tiny_spec(), str(model), ("CPUExecutionProvider",), RunOptions(1), 0.1)
        rig.swap(rig.start_worker(load), TINY_LABELS)
        rig.open_cameras()
        rig.wait_ended()
        rig.counts = rig.pipeline.statistics()
    return rig


def test_nobody_who_comes_in_is_missed_and_still_frames_are_counted_as_gated(tmp_path):
    scene = Scene(tmp_path / "frames", room(), sigma=2.0)
    scene.rest(40)
    visits = [scene.visit(RED, top=top, reach=40, tempo=TEMPO) for top in (8, 24, 40)]
    source = SourceSpec("images", str(tmp_path / "frames"), fps=50.0, motion=MotionSpec())
    rig = run(tiny_detector(tmp_path / "tiny.onnx"), source)
    seen = {result.frame.source_index for result in rig.results if result.detections}
    assert [bool(seen & visit.boxes.keys()) for visit in visits] == [True, True, True]
    counts = rig.counts
    assert counts.gated > 30
    assert counts.lost == 0
    assert counts.captured == counts.answered + counts.gated + counts.cameras["room"].replaced
    assert counts.answered < scene.frames * 0.75


def test_a_lossless_scene_is_gated_where_that_was_asked_and_loses_nothing(tmp_path):
    scene = Scene(tmp_path / "frames", room(), sigma=2.0)
    scene.rest(120)
    spec = SourceSpec("images", str(tmp_path / "frames"), pace="lossless", motion=MotionSpec())
    rig = run(tiny_detector(tmp_path / "tiny.onnx"), spec, GateSettings(hold_s=0.0))
    counts = rig.counts
    assert counts.captured == 120
    assert counts.gated + counts.answered == 120
    assert counts.gated > 0
    assert counts.skipped == 0


def test_a_source_whose_motion_is_not_measured_is_never_gated(tmp_path):
    scene = Scene(tmp_path / "frames", room(), sigma=2.0)
    scene.rest(40)
    spec = SourceSpec("images", str(tmp_path / "frames"), pace="lossless")
    rig = run(tiny_detector(tmp_path / "tiny.onnx"), spec)
    assert (rig.counts.answered, rig.counts.gated) == (40, 0)
