"""What Prometheus scrapes: the rows of telemetry as metrics, in its text format.

Names begin with ``lookout_`` and end in a base unit (seconds, bytes, ratio), as Prometheus wants them; those of the
host's rows are made of their keys. Stages are whole histograms since the agent started, from which a server makes any
quantile over any time. Every sample has the label ``device``.

Only whoever serves ``/metrics`` imports this module. It uses neither the library's global registry nor a thread: each
:func:`render` makes a registry of one look and forgets it. Any thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from agent.link.messages import Telemetry
from agent.telemetry.histogram import Snapshot
from agent.telemetry.look import Look
from agent.telemetry.message import NoWindows, build, reference_of
from agent.telemetry.names import metric_name, scaled
from agent.telemetry.rows import SCOPES, Column, columns

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

STAGE_METRIC = "lookout_stage_duration_seconds"
MODEL_METRIC = "lookout_model_inference_duration_seconds"
BUILD_METRIC = "lookout_build_info"

_TABLES: dict[str, tuple[Column, ...]] = {scope: columns(struct) for scope, struct in SCOPES.items()}
_TOP = columns(Telemetry)

_MS_PER_S = 1000


def render(look: Look, host: Iterable[Column], *, device: str, version: str) -> bytes:
    """Return the page. ``host`` are the columns of the host's rows, ``version`` the agent's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(tuple(_all(look, host, device, version))))
    return generate_latest(registry)


class _Page(Collector):
    """What one look has."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return self._metrics


def _all(look: Look, host: Iterable[Column], device: str, version: str) -> Iterator[Metric]:
    told, constant = build(look, NoWindows()), {"device": device}
    yield _metric(BUILD_METRIC, "the agent's version", "gauge", [({**constant, "version": version}, 1.0)])
    for column in (one for one in _TOP if len(one.path) == 1):
        yield from _rows("", column, [(constant, told)])
    for column in host:
        value = told.host.get(column.key)
        if value is not None:
            yield _metric(metric_name("", column), column.description, column.kind, [(constant, scaled(column, value))])
    for scope, subjects in _subjects(told).items():
        labelled = [({**constant, **labels}, subject) for labels, subject in subjects]
        for column in _TABLES[scope]:
            yield from _rows(scope, column, labelled)
    yield from _histograms(look, constant)


def _subjects(told: Telemetry) -> dict[str, list[tuple[dict[str, str], msgspec.Struct]]]:
    """Return, of each scope, what the message has of it and by which labels."""

    def by(label: str, found: Mapping[str, msgspec.Struct]) -> list[tuple[dict[str, str], msgspec.Struct]]:
        return [({label: name}, subject) for name, subject in found.items()]

    return {
        "camera": by("camera", told.cameras),
        "pipeline": by("pipeline", told.loop),
        "model": by("model", told.models),
        "process": by("process", told.processes),
        "queue": [({}, told.queues)],
        "link": [({}, told.link)],
        "governor": [] if told.governor is None else [({}, told.governor)],
    }


def _rows(scope: str, column: Column, subjects: list[tuple[dict[str, str], msgspec.Struct]]) -> Iterator[Metric]:
    """Give the metric of a row, unless it is for readers of messages only, or nobody has a value."""
    if column.kind == "window":
        return
    found = [(labels, column.value(subject)) for labels, subject in subjects]
    samples = list(_states(column, found) if column.kind == "state" else _numbers(column, found))
    if samples:
        kind = "counter" if column.kind == "counter" else "gauge"
        yield _metric(metric_name(scope, column), column.description, kind, samples)


def _numbers(column: Column, found: list[tuple[dict[str, str], Any]]) -> Iterator[tuple[dict[str, str], float]]:
    return ((labels, scaled(column, value)) for labels, value in found if value is not None)


def _states(column: Column, found: list[tuple[dict[str, str], Any]]) -> Iterator[tuple[dict[str, str], float]]:
    """Give a 1 for each word that holds."""
    for labels, value in found:
        for word in (value,) if isinstance(value, str) else value or ():
            yield {**labels, column.key: word}, 1.0


def _metric(name: str, description: str, kind: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    metric = Metric(name.removesuffix("_total") if kind == "counter" else name, _sentence(description), kind)
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


def _histograms(look: Look, constant: dict[str, str]) -> Iterator[Metric]:
    stages = HistogramMetricFamily(STAGE_METRIC, "Time that frames took in each stage.", labels=())
    models = HistogramMetricFamily(MODEL_METRIC, "Time that a release took for a frame, since it serves.", labels=())
    for reading in look.pipelines:
        here = {**constant, "pipeline": str(reading.pipeline)}
        for stage, samples in reading.stages.items():
            _add(stages, {**here, "stage": str(stage)}, samples)
        if reading.current is not None and reading.inference is not None:
            _add(models, {**here, "model": reference_of(reading.current)}, reading.inference)
    yield from (family for family in (stages, models) if family.samples)


def _add(family: Metric, labels: dict[str, str], samples: Snapshot) -> None:
    for bound_ms, count in samples.cumulative():
        bound = "+Inf" if math.isinf(bound_ms) else f"{bound_ms / _MS_PER_S:.6g}"
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, samples.count)
    family.add_sample(f"{family.name}_sum", labels, samples.total_ms / _MS_PER_S)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
