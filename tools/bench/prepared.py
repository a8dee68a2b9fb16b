"""Model files that a case needs and nobody ships: cleaned, and quantized by us. Made once, kept in the cache.

Cleaning alone makes NanoDet-m a quarter faster, and is what the product does with every model; so the cleaned file is
the float model of every runner here, peers included. A quantized file is made by one recipe of our quantizer, the same
on every host, so that hosts can be compared; what a search under a budget finds is for ``lookout bench int8``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from agent.types import ModelSpec
from tools.bench.case import Bench
from tools.bench.models import NANODET_M, YOLOX_NANO, BenchModel

PICTURES = "data/coco128"
STEM = ("Conv_41", "Sigmoid_42", "Mul_43", "Conv_44", "Sigmoid_45", "Mul_46")
"""YOLOX-Nano's two most sensitive blocks: with them in float, percentile ranges lose 1.5 points of mAP, not 10."""

RECIPES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    YOLOX_NANO.file: ({"ranges": "percentile", "percentile": 99.99}, STEM),
    NANODET_M.file: ({"ranges": "minmax"}, ()),
}
"""How each is quantized, and which nodes stay float besides the decode tail."""


def float_of(bench: Bench, model: BenchModel) -> Path:
    """Return the cleaned float file."""
    source = bench.need(f"models/{model.file}")
    target = bench.cache / f"{Path(model.file).stem}.{_digest(source)}.fp32.onnx"
    if not target.is_file():
        from tools.model.clean import clean  # loads onnx

        bench.progress(f"cleaning {model.file}, once")
        clean(source, target, input_shape=model.spec.input.shape)
    return target


def int8_of(bench: Bench, model: BenchModel) -> Path:
    """Return the INT8 file. Raises :class:`~agent.errors.LookoutError` where it cannot be made."""
    cleaned = float_of(bench, model)
    target = cleaned.with_name(cleaned.name.replace(".fp32.", ".int8."))
    if target.is_file():
        return target
    from tools.model.datasets.read import read_dataset  # the workshop's, like the search: not needed once it is there
    from tools.model.quantize import search
    from tools.model.quantize.static import PLAIN

    draft = target.with_suffix(".draft.onnx")
    ranges, floats = RECIPES[model.file]

    def tell(what: str, share: float, _: float | None) -> None:
        bench.progress(f"INT8 of {model.file}, once: {share:.0%} {what}")

    search.plain(
        cleaned,
        judged_spec(model),
        read_dataset(bench.need(PICTURES)),
        dataclasses.replace(PLAIN, **ranges),
        draft,
        cache=bench.cache / "quantize",
        on_progress=tell,
        always_float=floats,
    )
    draft.replace(target)
    return target


def judged_spec(model: BenchModel) -> ModelSpec:
    """Return the spec under which a model is judged: with the aspect ratio kept, since stretching costs mAP."""
    spec = model.spec
    return msgspec.structs.replace(spec, input=msgspec.structs.replace(spec.input, resize="letterbox"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
