"""What an export is asked for, what comes of it, and the one protocol that every framework's model stands behind.

A :class:`Source` is a loaded model of some framework: it can be run on arrays, and it can be turned into an ONNX graph
in memory. Nothing here writes to a disk: whoever asks decides where the graph goes, and only once it is proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import onnx

Exporter = Literal["auto", "dynamo", "torchscript"]


@dataclass(frozen=True)
class Port:
    """An input: its name, static shape, and type in numpy's word."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Asked:
    """What a person asked for.

    ``text`` is the source as written; ``opset`` None: the lowest from 17 on that the exporter writes itself;
    ``input_shapes`` one shape an input, empty: the source's own; ``seed`` of random weights and of noise; ``weights`` a
    file of a state dict, for torchvision; ``options`` arguments of torchvision's builder; ``imports`` modules to import
    before the file is read (custom layers and operators register themselves so).
    """

    text: str
    opset: int | None = None
    dynamic: bool = False
    input_shapes: tuple[tuple[int, ...], ...] = ()
    seed: int = 0
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    exporter: Exporter = "auto"
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A graph in memory, who wrote it, and what a person has to know of it."""

    model: onnx.ModelProto
    exporter: str
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A loaded model.

    ``framework`` names it with its version; ``inputs`` in the order that :meth:`run` takes them; ``example`` is what
    the model came with, if it came with any.
    """

    @property
    def framework(self) -> str:
        """Its name and version."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Its inputs, with the shapes that are exported."""

    @property
    def example(self) -> tuple[np.ndarray, ...] | None:
        """The example inputs that came with the model."""

    def export(self, asked: Asked) -> Exported:
        """Return the graph. Raises :class:`~tools.model.export.troubles.CannotExport`."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the framework's own answer. Raises :class:`~agent.errors.InputError`."""
