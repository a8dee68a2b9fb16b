"""What a source may be. ``KINDS`` is the table: how each is recognised, what it needs installed, and who loads it.

The first row that fits is taken. Recognising reads names and a few bytes, never a pickle; loaders are imported when
their kind was recognised, because each brings its framework with it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import InputError
from tools.model.export import callables
from tools.model.export.native import hushed
from tools.model.export.source import Asked, Source
from tools.model.export.troubles import require

TORCHVISION = "torchvision:"
_TORCH = ("torch", "onnxscript")
_TENSORFLOW = ("tensorflow", "tf2onnx")


class Kind(NamedTuple):
    """A row: its name for people, what it looks like, the modules it needs, its loader."""

    name: str
    fits: Callable[[str, Path], bool]
    needs: tuple[str, ...]
    load: Callable[[Path, Asked], Source]


def open_source(asked: Asked) -> Source:
    """Load what ``asked.text`` names. Raises :class:`InputError`."""
    kind = kind_of(asked.text)
    require(*kind.needs)
    for name in asked.imports:
        callables.import_module(name)
    if kind.name != "torchvision model":
        _refuse_torchvision_options(asked)
    return kind.load(Path(asked.text), asked)


def kind_of(text: str) -> Kind:
    """Return the row of the table. Raises :class:`InputError` naming all kinds."""
    path = Path(text)
    for kind in KINDS:
        if kind.fits(text, path):
            return kind
    if path.exists():
        raise InputError(f"{text}: is not a kind of model that can be exported ({_names()})")
    raise InputError(f"{text}: there is no such file, and it is not torchvision:NAME or module:callable")


def _names() -> str:
    return "; ".join(kind.name for kind in KINDS)


def _refuse_torchvision_options(asked: Asked) -> None:
    if asked.weights is not None:
        raise InputError("--weights: is for torchvision:NAME; other sources bring their weights")
    if asked.options:
        raise InputError("--option: is for torchvision:NAME; other sources are built already")


# --- recognising -----------------------------------------------------------------------------------------------------


def _file(*suffixes: str) -> Callable[[str, Path], bool]:
    return lambda _, path: path.is_file() and path.suffix.lower() in suffixes


def _saved_model(_: str, path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _is_torch_file(_: str, path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".pt", ".pth", ".ts", ".torchscript", ".jit")


# --- loading ---------------------------------------------------------------------------------------------------------


def _load_torchvision(_: Path, asked: Asked) -> Source:
    from tools.model.export import torchvision_source

    return torchvision_source.load(asked)


def _load_program(path: Path, asked: Asked) -> Source:
    from tools.model.export import torch_source

    return torch_source.from_program(path, asked)


def _load_torch_file(path: Path, asked: Asked) -> Source:
    """Tell a TorchScript file, an Ultralytics checkpoint and bare weights apart by what lies in the archive."""
    names, pickled = _archive(path)
    if any(name.endswith("/constants.pkl") for name in names):
        from tools.model.export import torch_source

        return torch_source.from_torchscript(path, asked)
    if b"ultralytics" in pickled:
        require("ultralytics")
        from tools.model.export.ultralytics_source import UltralyticsSource

        return UltralyticsSource(path, asked)
    if b"torch.nn.modules" in pickled or b"torchvision.models" in pickled:
        raise InputError(
            f"{path}: is a pickled module, which runs whatever it says when it is loaded; write module:callable that "
            "builds the model and loads its state dict"
        )
    raise InputError(
        f"{path}: holds weights and no model; use torchvision:NAME --weights {path}, or module:callable that loads them"
    )


def _archive(path: Path) -> tuple[list[str], bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.endswith("/data.pkl")]
            return names, archive.read(pickles[0]) if pickles else b""
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: is not a file that PyTorch wrote (no archive), or it is cut off") from error


def _load_keras(path: Path, asked: Asked) -> Source:
    with hushed():
        from tools.model.export import keras_source

    return keras_source.from_file(path, asked)


def _load_saved_model(path: Path, asked: Asked) -> Source:
    with hushed():
        from tools.model.export import keras_source

    return keras_source.from_saved_model(path, asked)


def _load_tflite(path: Path, asked: Asked) -> Source:
    with hushed():
        from tools.model.export.tflite_source import TfliteSource

    return TfliteSource(path, asked)


def _load_callable(_: Path, asked: Asked) -> Source:
    built = callables.build(asked.text)
    model = built[0] if isinstance(built, tuple) and built else built
    if _made_by(model, "torch"):
        require(*_TORCH)
        from tools.model.export import torch_source

        return torch_source.from_object(built, asked)
    if _made_by(model, "keras", "tensorflow"):
        require(*_TENSORFLOW)
        with hushed():
            from tools.model.export import keras_source

        return keras_source.from_object(model, asked)
    raise InputError(
        f"{asked.text}: returned {type(model).__name__}; a torch.nn.Module, (module, example inputs), a Keras model or "
        "a tf.function is needed"
    )


def _made_by(model: Any, *frameworks: str) -> bool:
    names = {one.__module__.partition(".")[0] for one in type(model).__mro__}
    is_module = any(one.__name__ in ("Module", "Model", "Layer") for one in type(model).__mro__)
    return bool(names & set(frameworks)) and (is_module or hasattr(model, "get_concrete_function"))


KINDS = (
    Kind(
        "torchvision model", lambda text, _: text.startswith(TORCHVISION), ("torchvision", *_TORCH), _load_torchvision
    ),
    Kind("ExportedProgram (.pt2)", _file(".pt2"), _TORCH, _load_program),
    Kind("TorchScript file or Ultralytics checkpoint (.pt)", _is_torch_file, _TORCH, _load_torch_file),
    Kind("Keras model (.keras, .h5)", _file(".keras", ".h5", ".hdf5"), _TENSORFLOW, _load_keras),
    Kind("TFLite file (.tflite)", _file(".tflite", ".lite"), _TENSORFLOW, _load_tflite),
    Kind("SavedModel folder", _saved_model, _TENSORFLOW, _load_saved_model),
    Kind("module:callable", lambda text, _: callables.looks_like_one(text), (), _load_callable),
)
