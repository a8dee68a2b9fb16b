"""ONNX Runtime's errors in a person's words. Pure text work, apart from knowing its exception classes.

They share no base class, and their messages carry C++ signatures and build paths: what is left here is one line that
says what is wrong with the file and what to do, and quotes the part of the original that helps.
"""

from __future__ import annotations

import re

from onnxruntime.capi import onnxruntime_pybind11_state as state

_NAMES = (
    "DeviceReset", "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
    "ModelLoadCanceled", "ModelLoaded", "ModelRequiresCompilation", "NoModel", "NoSuchFile", "NotFound",
    "NotImplemented", "RuntimeException",
)  # fmt: skip

ORT_ERRORS: tuple[type[Exception], ...] = (
    *(getattr(state, name) for name in _NAMES if hasattr(state, name)),
    RuntimeError,  # what the binding raises for C++ exceptions that it does not know
    ValueError,  # what ONNX Runtime's Python layer raises for arguments and providers
)

_CAUSES = (
    ("protobuf parsing failed", "it is not a whole ONNX file (truncated, or of another format): fetch it again"),
    ("no graph was found", "it holds no graph: it is empty or not an ONNX file"),
    ("unsupported model ir version", "its IR version is newer than this ONNX Runtime: export an older one or update"),
    ("current official support for domain", "its opset is newer than this ONNX Runtime: export an older one or update"),
    ("no op registered for", "it uses an operator that this ONNX Runtime does not have"),
    ("no opset import for domain", "it uses operators of a domain that it does not import"),
    ("is not a registered function/op", "it uses an operator that this ONNX Runtime does not have"),
    ("filesystem error", "its weights lie in another file that is missing or cut short: save it as one file"),
    ("external", "its weights lie in another file that is missing or cut short: save it as one file"),
    ("could not find an implementation", "it uses an operator on a type that this ONNX Runtime cannot compute"),
)  # fmt: skip

_NOISE = (
    re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_ ]+ : "),
    re.compile(r"^Load model from .*? failed:\s*"),
    re.compile(r"^Exception during \w+:\s*"),
    re.compile(r"\S*/(?:onnxruntime|onnxruntime_src)/\S+:\d+ .*?\)(?: const)? "),
    re.compile(r"ONNX Runtime only \*guarantees\* support .*? versions\. "),
    re.compile(r"is under development and .*?(?=Current official support)"),
)
_MOST = 300


def explain(error: Exception) -> str:
    """Return one line: the cause in words where it is known, and ONNX Runtime's own words without the noise."""
    text = " ".join(str(error).split())
    lowered = text.lower()
    cause = next((words for needle, words in _CAUSES if needle in lowered), None)
    for noise in _NOISE:
        text = noise.sub("", text)
    if len(text) > _MOST:
        text = text[: _MOST - 1] + "…"
    return f"{cause} ({text})" if cause else text
