"""A model as ONNX Runtime optimised it on this very host, kept for the next start: bit by bit the same answers, sooner.

The format is ONNX Runtime's own (``.ort``): it loads in a quarter of the time, and is good only for the version,
provider and processor that it was made with. Whether a file is that one is the agent's to know (it remembers its
digest); here, one that cannot be loaded is a warning, and the model's own file is loaded. Nor is it an error when the
file cannot be written: the next start then takes a little longer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime

from agent.infer import reasons
from agent.infer.providers import CPU

Options = Callable[[], onnxruntime.SessionOptions]


def create(
    path: Path, optimized: Path | None, optimize_to: Path | None, options: Options
) -> tuple[onnxruntime.InferenceSession | None, list[str]]:
    """Return a session from ``optimized``, or from ``path`` while writing ``optimize_to``; None where neither works.

    Warnings say in words what did not.
    """
    warnings: list[str] = []
    if optimized is not None:
        wanted = options()
        wanted.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it was done before
        wanted.add_session_config_entry("session.load_model_format", "ORT")
        try:
            return _session(optimized, wanted), warnings
        except reasons.ORT_ERRORS as error:
            warnings.append(f"the optimised copy of {path.name} cannot be loaded: {reasons.explain(error)}")
    if optimize_to is not None:
        wanted = options()
        wanted.optimized_model_filepath = str(optimize_to)
        wanted.add_session_config_entry("session.save_model_format", "ORT")
        try:
            return _session(path, wanted), warnings
        except reasons.ORT_ERRORS:
            pass  # the model itself is at fault, which its plain loading says better, or the copy cannot be written
    return None, warnings


def _session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), options, providers=[CPU], enable_fallback=0)
