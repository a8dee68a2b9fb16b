"""What a benchmark is asked and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from agent.errors import InputError


class Cell(msgspec.Struct, frozen=True):
    """One thing to measure. ``model``: a file's name without its folders; ``provider``: ONNX Runtime's name."""

    model: str
    provider: str
    threads: int

    def __str__(self) -> str:
        return f"{self.model}, {self.provider}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Sample(msgspec.Struct, frozen=True):
    """One process's answer. ``times_ms``: each run's; ``memory_mb``: PSS at the end, in 10^6 bytes, None: unknown."""

    times_ms: tuple[float, ...]
    load_ms: float
    first_ms: float
    memory_mb: float | None
    providers: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    onnxruntime: str
    host: str
    machine: str
    cpu: str
    cores: int


class Figures(msgspec.Struct, frozen=True):
    """A cell's figures over all rounds.

    Latencies in milliseconds: percentiles of all runs of all rounds. ``throughput_s``: runs a second, one after the
    other. ``round_medians_ms`` shows how far the rounds differ. ``runs`` 0: a running device told its own percentiles.
    """

    host: str
    model: str
    provider: str
    threads: int | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    throughput_s: float
    load_ms: float | None
    memory_mb: float | None
    runs: int
    round_medians_ms: tuple[float, ...] = ()


class Host(msgspec.Struct, frozen=True):
    """Where it was measured. ``how``: ``here``, ``ssh`` or ``mqtt``."""

    name: str
    machine: str
    cpu: str
    cores: int
    onnxruntime: str
    how: str


class Report(msgspec.Struct, frozen=True):
    """A benchmark. ``others_cores``: what other processes used of this machine, round by round (empty: unknown)."""

    hosts: tuple[Host, ...]
    rounds: int
    figures: tuple[Figures, ...]
    others_cores: tuple[float, ...] = ()
    failed: dict[str, str] = {}

    def joined(self, other: Report) -> Report:
        """Return both as one: hosts side by side."""
        hosts = dict.fromkeys((*self.hosts, *other.hosts))
        return msgspec.structs.replace(
            self, hosts=tuple(hosts), figures=(*self.figures, *other.figures), failed={**self.failed, **other.failed}
        )


def figures(host: str, cell: Cell, samples: Sequence[Sample]) -> Figures:
    """Pool the rounds of one cell. Raises :class:`InputError` without any."""
    if not samples:
        raise InputError(f"{cell}: nothing was measured")
    pooled = np.concatenate([np.asarray(sample.times_ms) for sample in samples])
    p50, p95, p99 = (float(value) for value in np.percentile(pooled, (50, 95, 99)))
    memories = [sample.memory_mb for sample in samples if sample.memory_mb is not None]
    return Figures(
        host=host,
        model=cell.model,
        provider=cell.provider,
        threads=cell.threads,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        throughput_s=1e3 / float(pooled.mean()),
        load_ms=float(np.median([sample.load_ms for sample in samples])),
        memory_mb=float(np.median(memories)) if memories else None,
        runs=len(pooled),
        round_medians_ms=tuple(float(np.median(sample.times_ms)) for sample in samples),
    )


def read_report(data: bytes, where: str) -> Report:
    """Read a report that an earlier run wrote. Raises :class:`InputError`."""
    try:
        return msgspec.json.decode(data, type=Report)
    except msgspec.MsgspecError as error:
        raise InputError(f"{where}: is no report of 'lookout model bench --json': {error}") from error
