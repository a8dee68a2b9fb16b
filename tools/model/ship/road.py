"""The common road: clean → quantize → evaluate → bench → report → manifest → publish, each step done once.

What can be refused is refused before the first slow step: a version that exists, keys that are absent, a disk without
room, a budget that cannot be read. Nothing is published before everything was measured and checked; a budget that
cannot be met ends the road in the quantizer, with nothing published.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from agent import atomic
from agent.errors import StorageError
from agent.registry.store import hash_file
from tools.model.clean import clean
from tools.model.manifest.describe import Described
from tools.model.manifest.draft import MANIFEST, Extras, draft, shown_of
from tools.model.ship import preflight, sheet
from tools.model.ship.parts import Int8, Outcome, Parts
from tools.model.ship.workbook import Done, Workbook, digest_of
from tools.registry.keys import Keys
from tools.registry.publish import publish

if TYPE_CHECKING:
    from tools.model.datasets.records import Dataset, Picture

REPORTS = "reports"
"""In the registry's folder, for people: neither served nor listed by TUF, but the signed manifest names its hashes."""


@dataclass(frozen=True)
class Order:
    """What to ship where. ``described``: the model, with its labels; ``budget``: what INT8 may cost.

    ``dataset`` calibrates and is cross-fitted; ``test``, where given, is another one that only evaluates. Both are in
    the model's classes; ``notes`` say what that took.
    """

    model: Path
    data: Path
    described: Described
    dataset: Dataset
    budget: str
    registry: Path
    name: str
    version: str
    channel: str | None = None
    test: Dataset | None = None
    notes: tuple[str, ...] = ()
    extras: Extras = field(default_factory=Extras)


class Teller(Protocol):
    """Hears how far the road has been walked."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell what is being done."""

    def done(self, step: Done, says: tuple[str, ...]) -> None:
        """Tell that a step is done, now or earlier, and what it found."""


@dataclass(frozen=True)
class Shipped:
    """A published release. ``report_sha256``: of report.html and report.json, as the manifest names them."""

    model: str
    version: str
    digest: str
    channel: str | None
    variants: tuple[str, ...]
    report: Path
    report_sha256: dict[str, str]
    says: tuple[str, ...]
    seconds: float


def ship(order: Order, keys: Keys, parts: Parts, book: Workbook, teller: Teller) -> Shipped:
    """Walk the road. Raises :class:`InputError` for what a person can mend (``BudgetMissed`` among it), and others."""
    drafted_before = book.folder / "manifest" / MANIFEST
    preflight.require_publishable(order.registry, keys, order.name, order.version, drafted_before)
    for folder in (book.folder, order.registry):
        preflight.require_room(folder, order.model)
    road = _Road(order, parts, book, teller)
    cleaned = road.clean()
    quantized = road.quantize(cleaned)
    int8 = msgspec.convert(quantized.facts, Int8)
    models = {"fp32": cleaned.folder / _CLEANED}
    if int8.file is not None:
        models["int8"] = quantized.folder / int8.file
    evaluated, benched = road.evaluate(models), road.bench(models)
    outcomes = {
        "quantize": int8.outcome,
        "evaluate": msgspec.convert(evaluated.facts, Outcome),
        "bench": msgspec.convert(benched.facts, Outcome),
    }
    steps = [cleaned, quantized, evaluated, benched]
    report = road.report(steps, outcomes)
    drafted = road.manifest(models, int8, outcomes, report)
    return road.publish(keys, drafted, report, [*steps, report, drafted], outcomes)


_CLEANED = "model.fp32.onnx"


class _Road:
    """The steps, each keyed by what it depends on."""

    def __init__(self, order: Order, parts: Parts, book: Workbook, teller: Teller) -> None:
        self._order = order
        self._parts = parts
        self._book = book
        self._teller = teller
        self._data = dataset_digest(order.dataset)
        self._spec = msgspec.to_builtins(order.described.spec)

    def clean(self) -> Done:
        """Write the float model that everything else is compared with."""
        shape = self._order.described.spec.input.shape

        def make(folder: Path) -> dict[str, Any]:
            self._teller.progress("cleaning", 0, 0)
            clean(self._order.model, folder / _CLEANED, input_shape=shape)
            before, after = self._order.model.stat().st_size, (folder / _CLEANED).stat().st_size
            return {"bytes_before": before, "bytes_after": after}

        step = self._book.step("clean", {"model": hash_file(self._order.model), "shape": list(shape)}, make)
        megabytes = step.facts["bytes_after"] / 1e6
        self._teller.done(step, (f"{megabytes:.1f} MB, input {'x'.join(map(str, shape))}",))
        return step

    def quantize(self, cleaned: Done) -> Done:
        """Find INT8 within the budget."""
        order = self._order
        model = cleaned.folder / _CLEANED
        inputs = {"model": hash_file(model), "spec": self._spec, "data": self._data, "budget": order.budget}

        def make(folder: Path) -> dict[str, Any]:
            made = self._parts.quantize(
                model,
                order.described.spec,
                order.dataset,
                order.budget,
                folder,
                cache=self._book.folder / "search",
                on_progress=self._teller.progress,
            )
            return _facts(made)

        step = self._book.step("quantize", inputs, make)
        self._teller.done(step, msgspec.convert(step.facts, Int8).outcome.says)
        return step

    def evaluate(self, models: Mapping[str, Path]) -> Done:
        """Compare the variants."""
        order = self._order
        dataset = order.test or order.dataset
        data = self._data if order.test is None else dataset_digest(order.test)
        inputs = {**_hashes(models), "spec": self._spec, "data": data, "labels": list(order.described.labels)}

        def make(folder: Path) -> dict[str, Any]:
            outcome = self._parts.evaluate(
                models,
                order.described.spec,
                dataset,
                order.described.labels,
                folder,
                unseen=order.test is not None,
                on_progress=self._teller.progress,
            )
            return _facts(outcome)

        return self._told(self._book.step("evaluate", inputs, make))

    def bench(self, models: Mapping[str, Path]) -> Done:
        """Time the variants on this machine."""

        def make(folder: Path) -> dict[str, Any]:
            return _facts(self._parts.bench(models, folder, on_progress=self._teller.progress))

        return self._told(self._book.step("bench", {**_hashes(models), "host": sheet.host_name()}, make))

    def report(self, steps: list[Done], outcomes: Mapping[str, Outcome]) -> Done:
        """Write report.html and report.json."""
        order = self._order
        inputs = {
            "steps": {step.name: step.facts for step in steps},
            "order": [order.name, order.version, order.budget, list(order.described.doubts), list(order.notes)],
        }

        def make(folder: Path) -> dict[str, Any]:
            self._teller.progress("writing the report", 0, 0)
            named = {step.name: step for step in steps}
            names = sheet.write(folder, (*order.described.doubts, *order.notes), _heading(order), outcomes, named)
            return {name: hash_file(folder / name) for name in names}

        step = self._book.step("report", inputs, make)
        self._teller.done(step, ())
        return step

    def manifest(self, models: Mapping[str, Path], int8: Int8, outcomes: Mapping[str, Outcome], report: Done) -> Done:
        """Draft and check manifest.json."""
        order = self._order
        metrics: dict[str, Any] = {}
        for outcome in outcomes.values():
            metrics |= outcome.metrics
        metrics["report_sha256"] = report.facts
        inputs = {
            **_hashes(models),
            "spec": self._spec,
            "data": self._data,
            "metrics": metrics,
            "section": int8.section,
            "labels": list(order.described.labels),
            "release": [order.name, order.version],
            "extras": repr(order.extras),
        }

        def make(folder: Path) -> dict[str, Any]:
            made = draft(
                list(models.values()),
                folder,
                name=order.name,
                version=order.version,
                described=order.described,
                shown=shown_of(order.dataset),
                extras=replace(order.extras, metrics=metrics, quantization=int8.section if int8.file else None),
                on_progress=self._teller.progress,
            )
            return {"notes": list(made.notes), "variants": [one.precision for one in made.manifest.variants]}

        step = self._book.step("manifest", inputs, make)
        self._teller.done(step, tuple(step.facts["notes"]))
        return step

    def publish(
        self, keys: Keys, drafted: Done, report: Done, steps: list[Done], outcomes: Mapping[str, Outcome]
    ) -> Shipped:
        """Sign and publish; the report goes to the registry's folder first."""
        order = self._order
        manifest = drafted.folder / MANIFEST
        digest = hash_file(manifest)
        place = order.registry / REPORTS / order.name / order.version
        for name in report.facts:
            _copy(report.folder / name, place / name)
        step = self._signed(keys, manifest, digest)
        self._teller.done(step, tuple(step.facts["warnings"]))
        return Shipped(
            model=order.name,
            version=order.version,
            digest=digest,
            channel=order.channel,
            variants=tuple(drafted.facts["variants"]),
            report=place / sheet.HTML,
            report_sha256=report.facts,
            says=tuple(says for outcome in outcomes.values() for says in outcome.says),
            seconds=round(sum(one.seconds for one in (*steps, step)), 1),
        )

    def _signed(self, keys: Keys, manifest: Path, digest: str) -> Done:
        """Publish, unless a run that was interrupted afterwards has done so: the registry itself says it."""
        order = self._order
        if preflight.published_digest(order.registry, order.name, order.version) == digest:
            preflight.point_channel(order.registry, keys, order.name, order.version, order.channel)
            return Done("publish", order.registry, {"warnings": []}, 0.0, again=True)
        started = time.monotonic()
        done = publish(order.registry, keys, manifest, channel=order.channel, on_progress=self._teller.progress)
        seconds = round(time.monotonic() - started, 1)
        return Done("publish", order.registry, {"warnings": list(done.warnings)}, seconds, again=False)

    def _told(self, step: Done) -> Done:
        self._teller.done(step, msgspec.convert(step.facts, Outcome).says)
        return step


def dataset_digest(dataset: Dataset) -> str:
    """Return one SHA-256 over the pictures' bytes, their labels and the classes' names."""
    rows = [
        [_picture_digest(picture), picture.truth.tolist(), getattr(picture, "label", None)]
        for picture in dataset.pictures
    ]
    return digest_of([list(dataset.classes), rows])


def _picture_digest(picture: Picture) -> str:
    """Name a picture by its file's bytes; a film's frame, which has no file, by its pixels."""
    if picture.path.is_file():
        return hash_file(picture.path)
    return hashlib.sha256(picture.pixels().tobytes()).hexdigest()


def _hashes(models: Mapping[str, Path]) -> dict[str, str]:
    return {f"model {precision}": hash_file(path) for precision, path in models.items()}


def _facts(value: Any) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(value)
    return facts


def _heading(order: Order) -> dict[str, str]:
    return {
        "model": f"{order.name}:{order.version}",
        "file": order.model.name,
        "data": str(order.data),
        "pictures": str(len(order.dataset.pictures)),
        "budget": order.budget,
    }


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(target, source.read_bytes())
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; free or repair the disk") from error
