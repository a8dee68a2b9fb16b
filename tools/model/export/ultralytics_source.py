"""An Ultralytics checkpoint (``.pt``), through its own exporter, if the package is installed.

Ultralytics is AGPL-3.0 and pulls the OpenCV build with a screen, so it is no extra of Lookout's. Loading a checkpoint
runs what its pickle says: take only files you trust. Its exporter writes beside the checkpoint and may install
packages by itself: it gets a copy in a folder that goes away, and is told to stay offline.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["YOLO_OFFLINE"] = "true"  # all three are read when ultralytics is imported: keep them above the imports
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ.setdefault("YOLO_VERBOSE", "false")

import numpy as np
import onnx
import torch
import ultralytics

from agent.errors import InputError
from tools.model.export.source import Asked, Exported, Port
from tools.model.export.troubles import CannotExport, foreign

_OPSET = 17
_SIDE = 640


class UltralyticsSource:
    """A checkpoint's model, with boxes not yet merged: the first output is what the graph answers."""

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._named = path, asked.text
        with foreign(f"{path}: Ultralytics cannot load it"), _quiet():
            self._model: Any = ultralytics.YOLO(os.fspath(path))
        shapes = asked.input_shapes or ((1, 3, _SIDE, _SIDE),)
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3:
            raise InputError(f"--input-shape {list(shapes)}: a checkpoint takes one input, such as 1,3,640,640")
        self.inputs = (Port("images", shapes[0]),)
        self.framework = f"Ultralytics {ultralytics.__version__} on PyTorch {torch.__version__}"
        self.example = None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the fused model's prediction, as the exported graph has it."""
        model = self._model.model
        with foreign(f"{self._named}: PyTorch cannot run the model"), torch.inference_mode():
            answer = model.float().eval()(torch.from_numpy(np.array(inputs[0])))
        first = answer[0] if isinstance(answer, (tuple, list)) else answer
        tensors = first if isinstance(first, (tuple, list)) else (first,)
        return [tensor.numpy() for tensor in tensors]

    def export(self, asked: Asked) -> Exported:
        """Return the graph that Ultralytics writes."""
        if asked.exporter != "auto":
            raise InputError(f"--exporter {asked.exporter}: Ultralytics brings its own exporter")
        batch, _, height, width = self.inputs[0].shape
        with tempfile.TemporaryDirectory(prefix="lookout-export-") as folder:
            copy = Path(folder) / "checkpoint.pt"
            shutil.copyfile(self._path, copy)
            with foreign(f"{self._named}: Ultralytics cannot export it"), _quiet():
                written = ultralytics.YOLO(os.fspath(copy)).export(
                    format="onnx",
                    imgsz=(height, width),
                    batch=batch,
                    opset=asked.opset or _OPSET,
                    dynamic=asked.dynamic,
                    simplify=False,
                    nms=False,
                    device="cpu",
                    verbose=False,
                )
            if not written or not Path(written).is_file():
                raise CannotExport(f"{self._named}: Ultralytics' exporter wrote no file")
            model = onnx.load(written)
        return Exported(
            model, f"Ultralytics {ultralytics.__version__}", ("Ultralytics is AGPL-3.0: so may be the model",)
        )


@contextlib.contextmanager
def _quiet() -> Any:
    logging.getLogger("ultralytics").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
