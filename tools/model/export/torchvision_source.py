"""torchvision's models by name, ``torchvision:resnet18``: weights from a file or seeded; nothing is ever downloaded.

A network of random weights whose batch norms know nothing yet answers the same to every picture: activations vanish,
all scores tie, and parity would compare ties. So random weights get the statistics of one seeded batch of noise.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision

from agent.errors import InputError
from tools.model.export.source import Asked
from tools.model.export.torch_source import TorchSource
from tools.model.export.troubles import first_line, foreign

PREFIX = "torchvision:"
_SIDES = {"detection": 320, "segmentation": 256, "quantization": 224}
_SIDE = 224
_VIDEO, _FLOW = "video", "optical_flow"
_OWN_SIDES = {"inception_v3": 299, "ssd300_vgg16": 300}


def load(asked: Asked) -> TorchSource:
    """Build the model that ``asked.text`` names. Raises :class:`InputError`."""
    name = asked.text.removeprefix(PREFIX)
    known = torchvision.models.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; near it: {', '.join(near)}" if near else f"; one of {', '.join(known)}"
        raise InputError(f"{asked.text}: torchvision {torchvision.__version__} has no model {name}{hint}")
    kind = torchvision.models.get_model_builder(name).__module__.split(".")[2]
    if kind in (_VIDEO, _FLOW):
        raise InputError(f"{asked.text}: models of {kind} take more than one picture; use module:callable for them")
    shapes = asked.input_shapes or ((1, 3, *(_OWN_SIDES.get(name, _SIDES.get(kind, _SIDE)),) * 2),)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3:
        raise InputError(f"--input-shape {list(shapes)}: torchvision's models take one input, such as 1,3,224,224")
    model = _build(name, kind, asked)
    if asked.weights is not None:
        _read_weights(model, asked.weights)
    else:
        _settle(model, shapes[0], asked)
    example = torch.rand(shapes[0], generator=torch.Generator().manual_seed(asked.seed))
    title = f"torchvision {torchvision.__version__} on PyTorch {torch.__version__}"
    return TorchSource(model.eval(), (example,), named=asked.text, title=title)


def _build(name: str, kind: str, asked: Asked) -> Any:
    options = dict(asked.options)
    backbone = {"weights_backbone": None} if kind in ("detection", "segmentation") else {}
    weights = sorted(key for key in options if key.startswith("weights"))
    if weights:
        raise InputError(f"--option {weights[0]}: would download; give a file of the state dict with --weights")
    torch.manual_seed(asked.seed)
    with foreign(f"{asked.text} with {options or 'no options'}"):
        return torchvision.models.get_model(name, weights=None, **backbone, **options).eval()


def _read_weights(model: Any, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"--weights {path}: there is no such file")
    with foreign(f"--weights {path}: is not a file of tensors that torch.load takes with weights_only"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, Mapping):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"--weights {path}: holds {type(state).__name__}, not a state dict")
    try:
        model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()] or [first_line(str(error))]
        raise InputError(
            f"--weights {path}: does not fit the model: {lines[0][:300]} "
            "(--option num_classes=N builds a head of another size)"
        ) from error


def _settle(model: Any, shape: tuple[int, ...], asked: Asked) -> None:
    """Give batch norms the statistics of one batch of noise."""
    norms = [norm for norm in model.modules() if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # plain average
    generator = torch.Generator().manual_seed(asked.seed + 1)
    with foreign(f"{asked.text}: the model does not run on {list(shape)}"), torch.no_grad():
        model(torch.rand((4, *shape[1:]), generator=generator))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    model.eval()
