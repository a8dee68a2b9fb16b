"""Where INT8 goes wrong: every tensor, every weight, and what one block alone does to the answer.

SQNR of tensors says where error is; it does not say what it does to the answer: a late layer carries the sins of all
before it. So each block is also quantized *alone* in the float model, with the INT8 model's own scales, and the error
of the outputs is measured. That ranks blocks by guilt. Blocks that bring at least ``GUILTY`` of all blocks' error
are proposed to be left float, and the answer's error is measured once more with all *others* quantized.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from onnx import NodeProto

from agent.errors import InputError, ModelError
from agent.infer import reasons
from tools.model.debug import errors
from tools.model.debug.errors import Feed, decibel
from tools.model.debug.pair import Pair, read_pair

GUILTY = 0.1
MOST_PROPOSED = 8
_MOST_THREADS = 4

Progress = Callable[[str, int, int], None]


def _nobody(what: str, done: int, total: int) -> None:
    """Tell nobody how far it is."""
    del what, done, total


class Layer(msgspec.Struct, frozen=True):
    """A quantized activation: made by ``node``; SQNR in dB of its own rounding, and of everything up to it.

    ``total_db`` is None where the float model has no tensor of that name.
    """

    tensor: str
    node: str
    operator: str
    own_db: float
    total_db: float | None


class Weight(msgspec.Struct, frozen=True):
    """A quantized weight of ``node``."""

    tensor: str
    node: str
    operator: str
    db: float


class Block(msgspec.Struct, frozen=True):
    """Nodes that are left float together. ``alone_db``: SQNR of the answer when only they are quantized.

    ``share`` of all blocks' error, taken one by one.
    """

    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    alone_db: float
    share: float


class Debugged(msgspec.Struct, frozen=True):
    """The whole finding, worst first. ``answer_db``: SQNR of the INT8 model's outputs.

    ``proposed_db``: the same with the ``proposed`` blocks left float.
    """

    float_model: str
    int8_model: str
    images: int
    answer_db: float
    layers: tuple[Layer, ...]
    weights: tuple[Weight, ...]
    blocks: tuple[Block, ...]
    proposed: tuple[Block, ...]
    proposed_db: float

    @property
    def kept_float(self) -> tuple[str, ...]:
        """Names of the nodes that are proposed to stay float."""
        return tuple(name for block in self.proposed for name in block.nodes)


@dataclass(frozen=True)
class _Guilt:
    block: Block
    tensors: frozenset[str]
    share: float


def debug(
    float_path: Path,
    int8_path: Path,
    tensors: Sequence[np.ndarray],
    *,
    on_progress: Progress = _nobody,
) -> Debugged:
    """Compare both on input ``tensors``. Raises :class:`InputError` (no pair, no tensors), :class:`ModelError`."""
    if not tensors:
        raise InputError("no images to compare on; at least one is needed")
    pair = read_pair(float_path, int8_path)
    reference, feeds = _reference(float_path, int8_path, tensors)
    activations = errors.activation_errors(
        float_path, int8_path, feeds, lambda done: on_progress("activations", done, len(feeds))
    )
    guilt = _guilt(pair, reference, feeds, on_progress)
    proposed = [one for one in guilt if one.block.share >= GUILTY][:MOST_PROPOSED]
    rest = set(pair.quantizers) - {name for one in proposed for name in one.tensors}
    answer = errors.output_error(reference, int8_path, feeds)
    mended = errors.output_error(reference, pair.model(rest).SerializeToString(), feeds)
    return Debugged(
        float_model=float_path.name,
        int8_model=int8_path.name,
        images=len(tensors),
        answer_db=_mean_db(answer),
        layers=_layers(pair, activations),
        weights=_weights(pair, errors.weight_errors(float_path, int8_path)),
        blocks=tuple(one.block for one in guilt),
        proposed=tuple(one.block for one in proposed),
        proposed_db=_mean_db(mended),
    )


def _reference(
    float_path: Path, int8_path: Path, tensors: Sequence[np.ndarray]
) -> tuple[list[list[np.ndarray]], list[Feed]]:
    """Return what the float model answers; refuses models that do not take the same input."""
    exact, rounded = errors.session(float_path, optimize=True), errors.session(int8_path, optimize=True)
    wanted = [(one.name, one.shape, one.type) for one in exact.get_inputs()]
    if wanted != [(one.name, one.shape, one.type) for one in rounded.get_inputs()] or len(wanted) != 1:
        found = ", ".join(f"{one.name} {one.shape} {one.type}" for one in rounded.get_inputs())
        raise InputError(
            f"{float_path.name} takes {', '.join(f'{name} {shape} {kind}' for name, shape, kind in wanted)}, "
            f"{int8_path.name} takes {found}; one and the same input is needed"
        )
    if [one.name for one in exact.get_outputs()] != [one.name for one in rounded.get_outputs()]:
        raise InputError(f"{float_path.name} and {int8_path.name} have different outputs; they are no pair")
    feeds = [{wanted[0][0]: tensor} for tensor in tensors]
    try:
        return [list(exact.run(None, feed)) for feed in feeds], feeds
    except reasons.ORT_ERRORS as error:
        raise ModelError(f"{float_path.name}: the model cannot run: {reasons.explain(error)}") from error


def _mean_db(shares: Sequence[float]) -> float:
    """Return the SQNR of all outputs, each counting as much as the others whatever its scale."""
    return decibel(statistics.fmean(shares))


def _guilt(
    pair: Pair, reference: Sequence[Sequence[np.ndarray]], feeds: Sequence[Feed], on_progress: Progress
) -> list[_Guilt]:
    """Quantize every block alone; the worst first."""
    blocks = list(pair.blocks())
    tensors = [frozenset(pair.tensors_of(block)) for block in blocks]

    def alone(chosen: frozenset[str]) -> float:
        return statistics.fmean(errors.output_error(reference, pair.model(chosen).SerializeToString(), feeds))

    shares = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), "lookout-debug") as pool:
        for number, share in enumerate(pool.map(alone, tensors)):
            on_progress("blocks, one at a time", number + 1, len(blocks))
            shares.append(share)
    total = sum(shares) or 1.0
    guilt = [
        _Guilt(_block(nodes, share, total), chosen, share)
        for nodes, chosen, share in zip(blocks, tensors, shares, strict=True)
    ]
    return sorted(guilt, key=lambda one: -one.share)


def _block(nodes: Sequence[NodeProto], share: float, total: float) -> Block:
    names = tuple(node.name or node.output[0] for node in nodes)
    return Block(names, tuple(node.op_type for node in nodes), decibel(share), share / total)


def _layers(pair: Pair, activations: dict[str, errors.Activation]) -> tuple[Layer, ...]:
    makers = {name: node for node in pair.float_model.graph.node for name in node.output}
    rows = []
    for name, entry in activations.items():
        node = makers.get(name)
        total = entry.total.db if entry.total.signal else None
        maker, operator = (node.name or node.output[0], node.op_type) if node else ("the input", "")
        rows.append(Layer(name, maker, operator, entry.own.db, total))
    return tuple(sorted(rows, key=lambda row: row.own_db if row.total_db is None else row.total_db))


def _weights(pair: Pair, found: dict[str, float]) -> tuple[Weight, ...]:
    readers = {name: node for node in pair.float_model.graph.node for name in node.input}
    rows = []
    for name, db in found.items():
        node = readers.get(name)
        reader, operator = (node.name or node.output[0], node.op_type) if node else ("", "")
        rows.append(Weight(name, reader, operator, db))
    return tuple(sorted(rows, key=lambda row: row.db))
