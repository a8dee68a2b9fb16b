"""What a model is fed with to compare its answers: pictures through the device's own preprocessing, or seeded noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from agent.infer.preprocess import Preprocessor
from agent.types import InputSpec

_SEED = 20240229
NOISE_COUNT = 4


def input_tensors(spec: InputSpec, frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return the input tensor that the device would make of each BGR frame.

    Raises :class:`~agent.errors.InputError` for what is no frame, :class:`~agent.errors.ModelError` for a spec that no
    tensor can follow.
    """
    preprocess = Preprocessor(spec)
    tensors = []
    for frame in frames:
        buffer = preprocess.buffer()
        preprocess(frame, buffer)
        tensors.append(buffer.tensor)
    return tensors


def noise_frames(width: int, height: int, count: int = NOISE_COUNT) -> list[np.ndarray]:
    """Return blurred random pictures, always the same: flat noise would drive most networks to one answer."""
    generator = np.random.default_rng(_SEED)
    frames = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
        fine = generator.integers(-20, 21, (height, width, 3), dtype=np.int16)
        large = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width].astype(np.int16)
        frames.append(np.clip(large + fine, 0, 255).astype(np.uint8))
    return frames


def noise_tensors(shape: Sequence[int], count: int = NOISE_COUNT) -> list[np.ndarray]:
    """Return random float32 tensors of mean 0 and deviation 1, always the same."""
    generator = np.random.default_rng(_SEED)
    return [generator.standard_normal(tuple(shape)).astype(np.float32) for _ in range(count)]
