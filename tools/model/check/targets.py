"""A verdict per target: fine, works with doubts, or will not run, each with its reasons. Pure.

A target is a row; a rule is a function that yields reasons. ``blocks``: it will not run; ``doubt``: it runs, but
slower, larger or elsewhere than hoped; ``note``: worth knowing, and no doubt. No latency is made up: a time is told
only where it was measured on a machine of that architecture, and says which.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from agent.types import MB
from tools.model.check.facts import Facts
from tools.model.check.fusion import Pattern
from tools.model.check.support import CPU, Support
from tools.model.check.trial import Trial

Weight = Literal["blocks", "doubt", "note"]
Verdict = Literal["fine", "works with doubts", "will not run"]
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@dataclass(frozen=True)
class Target:
    """A kind of device. ``memory_mb``: what a worker may hold on the smallest model of it, half of its memory.

    ``dot_product``: its processor multiplies and adds four INT8 in one instruction. ``prefers``: type of INT8
    activations that its kernels are fastest with.
    """

    name: str
    processor: str
    architecture: str
    providers: tuple[str, ...]
    dot_product: bool
    prefers: Literal["uint8", "int8"]
    memory_mb: int


TARGETS = {
    target.name: target
    for target in (
        Target("raspberry-pi-4", "four Cortex-A72", "aarch64", (CPU,), False, "int8", 512),
        Target("raspberry-pi-5", "four Cortex-A76", "aarch64", (CPU,), True, "int8", 1000),
        Target(
            "jetson-orin-nano", "six Cortex-A78AE, Ampere GPU", "aarch64", (TENSORRT, CUDA, CPU), True, "int8", 2000
        ),
        Target("x86", "a 64-bit PC", "x86_64", (CPU,), True, "uint8", 2000),
    )
}


class Reason(msgspec.Struct, frozen=True):
    """One sentence of a verdict."""

    weight: Weight
    words: str


class Judged(msgspec.Struct, frozen=True):
    """The verdict for one target. ``measured_ms``: only where this machine is of its architecture."""

    target: str
    processor: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    measured_ms: float | None


@dataclass(frozen=True)
class Evidence:
    """All that rules look at."""

    facts: Facts
    support: Mapping[str, Support]
    patterns: tuple[Pattern, ...]
    trial: Trial


Rule = Callable[[Evidence, Target], Iterator[Reason]]


def judge(evidence: Evidence, target: Target) -> Judged:
    """Apply every rule, the worst reasons first."""
    found = [reason for rule in _RULES for reason in rule(evidence, target)]
    order: list[Weight] = ["blocks", "doubt", "note"]
    reasons = tuple(sorted(dict.fromkeys(found), key=lambda reason: order.index(reason.weight)))
    worst = reasons[0].weight if reasons else "note"
    verdict: Verdict = "will not run" if worst == "blocks" else "works with doubts" if worst == "doubt" else "fine"
    same = platform.machine() == target.architecture and target.architecture == "x86_64"
    return Judged(target.name, target.processor, verdict, reasons, evidence.trial.median_ms if same else None)


def _refused(evidence: Evidence, target: Target) -> Iterator[Reason]:
    del target
    for words in evidence.facts.refusals:
        yield Reason("blocks", f"the device's inspection refuses it: {words}")


def _loads(evidence: Evidence, target: Target) -> Iterator[Reason]:
    del target
    trial = evidence.trial
    if trial.problem is None:
        if not trial.finite:
            yield Reason(
                "doubt", "its answer to a grey picture is not finite: look at its weights and its input's range"
            )
    elif evidence.facts.open_shapes and trial.loaded:
        yield Reason("doubt", f"with open shapes tried as {trial.shapes} it did not run: {trial.problem}")
    else:
        yield Reason("blocks", f"ONNX Runtime on this machine does not run it: {trial.problem}")


def _shapes(evidence: Evidence, target: Target) -> Iterator[Reason]:
    opened = evidence.facts.open_shapes
    if opened:
        engine = "; TensorRT builds an engine for every shape it meets" if TENSORRT in target.providers else ""
        yield Reason(
            "doubt", f"shapes are open: {', '.join(opened)}: memory cannot be planned{engine}; export them static"
        )


def _leftovers(evidence: Evidence, target: Target) -> Iterator[Reason]:
    del target
    facts = evidence.facts
    if facts.initializer_inputs:
        yield Reason(
            "doubt",
            f"{facts.initializer_inputs} weights are listed as inputs, so that nothing is folded into them; "
            "`lookout model optimize` mends it",
        )
    for words in facts.wide:
        yield Reason("doubt" if words.startswith("float64") else "note", f"64-bit numbers: {words}")
    for words in facts.control_flow:
        yield Reason("doubt", words)
    if facts.precision in {"int8", "dynamic int8"} and 0 < facts.opset < 13:
        yield Reason("doubt", f"opset {facts.opset} has no quantization per channel (13 does)")


def _unfused(evidence: Evidence, target: Target) -> Iterator[Reason]:
    del target
    for pattern in evidence.patterns:
        left = pattern.found if pattern.left is None else pattern.left
        if left and pattern.name.startswith(("Conv + Batch", "HardSwish", "GELU", "LayerNorm")):
            yield Reason("doubt", f"{left} of {pattern.name} left by ONNX Runtime's own optimisation: {pattern.advice}")


def _eight_bits(evidence: Evidence, target: Target) -> Iterator[Reason]:
    facts = evidence.facts
    if facts.precision not in {"int8", "dynamic int8"}:
        return
    if TENSORRT not in target.providers and not target.dot_product:
        yield Reason(
            "doubt",
            f"the processor ({target.processor}) has no INT8 dot product: INT8 may be slower than float; measure there",
        )
    if facts.rounded_silu and TENSORRT not in target.providers:
        yield Reason(
            "doubt",
            f"{facts.rounded_silu} SiLU are computed in INT8, which costs more than the float model's fused one: "
            "compare with the cleaned float model",
        )
    if target.prefers == "uint8" and facts.activations == "int8":
        yield Reason("doubt", "INT8 activations are signed: x86 has been 2.7 times slower with them than unsigned")
    elif target.prefers == "int8" and facts.activations == "uint8" and TENSORRT not in target.providers:
        yield Reason("note", "INT8 activations are unsigned: ARM prefers signed; measure both there")
    if TENSORRT in target.providers and facts.zero_points:
        yield Reason("doubt", "zero points other than 0: TensorRT refuses them; quantize symmetrically (signed) for it")


def _half(evidence: Evidence, target: Target) -> Iterator[Reason]:
    if evidence.facts.precision == "float16" and target.providers == (CPU,):
        yield Reason(
            "doubt", "16-bit floats: the CPU provider casts most of them to 32 bits and back; publish float32 here"
        )
    if evidence.facts.precision == "float32" and target.providers[0] == TENSORRT:
        yield Reason(
            "note", "a 16-bit variant (`lookout model optimize --fp16`) is usually faster on this GPU; measure it"
        )


def _operators(evidence: Evidence, target: Target) -> Iterator[Reason]:
    cpu = evidence.support[CPU]
    if cpu.missing:
        yield Reason("blocks", f"no implementation on the CPU for {_list(cpu)}")
    accelerators = [evidence.support[name] for name in target.providers if name != CPU]
    for support in accelerators:
        for words in support.notes:
            if words.startswith("opset "):
                yield Reason("doubt", f"{support.provider}: {words}")
        if support.missing:
            yield Reason(
                "doubt",
                f"{support.provider} takes {support.share:.0%} of the nodes, the rest goes elsewhere: {_list(support)}",
            )


def _list(support: Support) -> str:
    return ", ".join(f"{name} ({count})" for name, count in support.missing.items())


def _memory(evidence: Evidence, target: Target) -> Iterator[Reason]:
    facts = evidence.facts
    if facts.peak_bytes is None:
        return
    need = (facts.weight_bytes + facts.peak_bytes) / MB
    if need > target.memory_mb:
        yield Reason(
            "doubt",
            f"weights and activations take up to {need:.0f} MB, a worker there should hold {target.memory_mb} MB",
        )


_RULES: tuple[Rule, ...] = (
    _refused,
    _loads,
    _operators,
    _shapes,
    _leftovers,
    _unfused,
    _eight_bits,
    _half,
    _memory,
)
