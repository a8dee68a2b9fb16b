"""The real models beside the checkout, as their manifests would describe them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.process.messages import Load
from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId, RunOptions

LABELS = tuple(f"class-{number}" for number in range(80))
"""Stand-ins: a benchmark reads no labels."""

SCORE = 0.35
SCORE_FLOOR = 0.1


@dataclass(frozen=True)
class BenchModel:
    """A model file below the shared folder, and its spec."""

    file: str
    spec: ModelSpec

    def load(self, shared: Path, *, threads: int = 1) -> Load:
        """Return the order that loads it on the CPU."""
        path = shared / "models" / self.file
        return Load(
            spec=self.spec,
            path=str(path),
            providers=("CPUExecutionProvider",),
            options=RunOptions(threads),
            score_floor=SCORE_FLOOR,
        )


YOLOX_NANO = BenchModel(
    "yolox_nano.onnx",
    ModelSpec(
        release=ReleaseId(ModelName("yolox-nano"), "1.0.0", Digest("0" * 64)),
        task="detect",
        input=InputSpec(name="images", shape=(1, 3, 416, 416)),
        decoder=DecoderSpec(kind="yolox", params={"strides": [8, 16, 32]}),
        num_classes=80,
    ),
)

NANODET_M = BenchModel(
    "nanodet_m_320.onnx",
    ModelSpec(
        release=ReleaseId(ModelName("nanodet-m"), "1.0.0", Digest("1" * 64)),
        task="detect",
        input=InputSpec(
            name="input.1",
            shape=(1, 3, 320, 320),
            resize="stretch",
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
        ),
        decoder=DecoderSpec(kind="nanodet", params={"strides": [8, 16, 32], "reg_max": 7}),
        num_classes=80,
    ),
)
