"""Which execution providers a session is asked for. Pure: what is available comes in as an argument.

The config's order is kept, what this ONNX Runtime lacks is left out with a warning that says what would bring it, and
the CPU comes last, always: a device with a broken accelerator is slow, not blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CPU = "CPUExecutionProvider"

ALIASES = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "trt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""Short names that a config may use, case ignored."""

_REMEDIES = {
    "CUDAExecutionProvider": "install onnxruntime-gpu (on a Jetson: NVIDIA's build for its JetPack) in its place",
    "TensorrtExecutionProvider": "install onnxruntime-gpu (on a Jetson: NVIDIA's build for its JetPack) and TensorRT",
    "OpenVINOExecutionProvider": "install onnxruntime-openvino in its place",
    "QNNExecutionProvider": "install onnxruntime-qnn in its place",
}
_ANY_REMEDY = "install a build of ONNX Runtime that has it, or take it out of inference.providers"


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ask ONNX Runtime for, the CPU last, and in words what was wished for and is not there."""

    providers: tuple[str, ...]
    warnings: tuple[str, ...]


def full_name(provider: str) -> str:
    """Return ONNX Runtime's name for a provider; an unknown word is returned as it is."""
    return ALIASES.get(provider.lower(), provider)


def choose_providers(wanted: Sequence[str], available: Sequence[str]) -> Choice:
    """Return those of ``wanted`` (names or aliases) that are ``available``, in order, without doubles, the CPU last."""
    names = list(dict.fromkeys(full_name(provider) for provider in wanted))
    accelerators = [name for name in names if name != CPU]
    providers = (*(name for name in accelerators if name in available), CPU)
    missing = [name for name in accelerators if name not in available]
    return Choice(providers, tuple(_warn(name, available, providers) for name in missing))


def _warn(name: str, available: Sequence[str], providers: Sequence[str]) -> str:
    return (
        f"{name} is not in this ONNX Runtime (available: {', '.join(available)}): "
        f"running on {providers[0]}; {_REMEDIES.get(name, _ANY_REMEDY)}"
    )
