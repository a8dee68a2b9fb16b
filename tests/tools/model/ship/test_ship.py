from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.errors import InputError, LookoutError, StorageError
from agent.registry.manifest import Manifest, load_manifest
from agent.types import ModelSpec
from tests.fakes.colours import write_dataset
from tests.fakes.models import TINY_LABELS, tiny_conv_detector
from tests.integration.device import Device, merged
from tools.model.cli import app
from tools.model.quantize import static
from tools.model.quantize.budget import BudgetMissed
from tools.model.ship import preflight, wiring
from tools.model.ship.parts import Int8, Outcome, Parts
from tools.model.ship.road import Shipped
from tools.model.ship.start import Asked, name_of, start
from tools.model.ship.workbook import Done
from tools.registry.init import init_registry
from tools.registry.keys import Keys
from tools.registry.repository import Repository
from tools.registry.serve import RegistryServer


class Steps:
    """Thin steps in place of those that take minutes; counts what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, BaseException] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing.pop(name)

    def quantize(self, cleaned: Path, spec: ModelSpec, dataset: Any, budget: str, folder: Path, **_: Any) -> Int8:
        self._called("quantize")
        shown = [np.full(spec.input.shape, level, np.float32) for level in (0, 100, 255)]
        calibration = static.quantize(cleaned, folder / "int8.onnx", shown)
        section = {"method": "plain", "calibration": {"images": calibration.images, "sha256": calibration.sha256}}
        outcome = Outcome(says=(f"budget {budget} kept",), metrics={"agreement": 0.99})
        return Int8("int8.onnx", "int8", section, outcome)

    def evaluate(self, models: Mapping[str, Path], *_: Any, **__: Any) -> Outcome:
        self._called("evaluate")
        return Outcome(says=("alike",), metrics={"images": len(models)})

    def bench(self, models: Mapping[str, Path], folder: Path, **_: Any) -> Outcome:
        self._called("bench")
        return Outcome(metrics={"latency_ms_p50": dict.fromkeys(models, 1.5)})

    def check_budget(self, budget: str, spec: ModelSpec, dataset: Any) -> None:
        if budget == "nonsense":
            raise InputError("budget 'nonsense': cannot be read")

    @property
    def parts(self) -> Parts:
        return Parts(self.check_budget, self.quantize, self.evaluate, self.bench)


class Heard:
    """A teller that notes which steps were made and which were there."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.found: list[str] = []

    def progress(self, *_: Any) -> None:
        pass

    def done(self, step: Done, says: tuple[str, ...]) -> None:
        (self.found if step.again else self.made).append(step.name)


EVERY = ["clean", "quantize", "evaluate", "bench", "report", "manifest", "publish"]


class Yard:
    """A model, a dataset and an empty registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps = Steps()
        self.heard = Heard()
        init_registry(folder / "registry", Keys(folder / "keys", lambda _: None))
        self.asked = Asked(
            model=tiny_conv_detector(folder / "Tiny Model.onnx"),
            data=write_dataset(folder / "data"),
            registry=folder / "registry",
            version="1.0.0",
            budget="map=1.0",
            keys=folder / "keys",
            name="tiny",
            work=folder / "work",
        )

    def ship(self, **changes: Any) -> Shipped:
        self.heard = Heard()
        return start(replace(self.asked, **changes), self.heard, lambda _: None, self.steps.parts)

    @property
    def index(self) -> Any:
        return Repository.load(self.folder / "registry").index("tiny")

    def manifest(self, version: str = "1.0.0") -> Manifest:
        data = Repository.load(self.folder / "registry").read_target(f"models/tiny/{version}/manifest.json")
        assert data is not None
        return load_manifest(data)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_the_whole_road_ends_in_a_signed_release_with_both_variants(yard: Yard) -> None:
    shipped = yard.ship(channel="stable")
    assert yard.heard.made == EVERY
    manifest = yard.manifest()
    assert shipped.variants == ("fp32", "int8")
    assert [variant.precision for variant in manifest.variants] == ["fp32", "int8"]
    assert manifest.labels == TINY_LABELS
    assert len(manifest.golden) == 3
    assert manifest.quantization is not None
    assert manifest.metrics["agreement"] == 0.99
    assert yard.index.channels == {"stable": "1.0.0"}


def test_the_signed_manifest_names_the_report_that_lies_beside(yard: Yard) -> None:
    shipped = yard.ship()
    named = yard.manifest().metrics["report_sha256"]
    assert named == shipped.report_sha256
    for name, sha256 in named.items():
        assert hashlib.sha256((shipped.report.parent / name).read_bytes()).hexdigest() == sha256
    report = json.loads((shipped.report.parent / "report.json").read_text())
    assert report["quantize"]["says"] == ["budget map=1.0 kept"]
    assert "budget map=1.0 kept" in shipped.report.read_text()


def test_the_report_is_not_served(yard: Yard) -> None:
    import requests

    yard.ship()
    with RegistryServer(yard.folder / "registry") as server:
        assert requests.get(f"{server.url}/reports/tiny/1.0.0/report.html", timeout=5).status_code == 404
        assert requests.get(f"{server.url}/root.json", timeout=5).status_code == 200


@pytest.mark.parametrize("where", ["quantize", "evaluate", "bench"])
def test_an_interrupted_ship_goes_on_where_it_stopped(yard: Yard, where: str) -> None:
    yard.steps.failing[where] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        yard.ship()
    assert yard.index is None
    before = yard.heard.made
    yard.ship()
    assert yard.heard.found == before
    assert yard.heard.made == EVERY[len(before) :]


def test_a_ship_that_is_done_is_done(yard: Yard) -> None:
    first = yard.ship()
    again = yard.ship()
    assert yard.heard.found == EVERY
    assert again.digest == first.digest
    assert yard.steps.calls == ["quantize", "evaluate", "bench"]


def test_a_ship_that_died_after_signing_is_recognised(yard: Yard) -> None:
    first = yard.ship()
    shutil.rmtree(yard.folder / "registry" / "reports")
    again = yard.ship(channel="stable")
    assert (again.digest, yard.index.channels) == (first.digest, {"stable": "1.0.0"})
    assert again.report.is_file()


def test_another_dataset_is_another_question(yard: Yard) -> None:
    yard.ship()
    (yard.folder / "data" / "labels" / "000.txt").write_text("")
    yard.ship(version="1.1.0", work=yard.folder / "work")
    assert yard.heard.found == ["clean", "bench"]  # the files are the same, and so are their times


def test_a_budget_that_cannot_be_met_publishes_nothing(yard: Yard) -> None:
    yard.steps.failing["quantize"] = BudgetMissed("the nearest loses 3.2 points")
    with pytest.raises(BudgetMissed, match=r"3\.2 points"):
        yard.ship()
    assert yard.index is None
    assert not (yard.folder / "registry" / "reports").exists()


def test_a_version_that_exists_is_refused_before_anything_slow(yard: Yard) -> None:
    yard.ship()
    yard.steps.calls.clear()
    with pytest.raises(InputError, match="published already"):
        yard.ship(work=yard.folder / "elsewhere")
    assert yard.steps.calls == []


def test_keys_that_cannot_sign_are_refused_before_anything_slow(yard: Yard) -> None:
    (yard.folder / "keys" / "targets.pem").unlink()
    with pytest.raises(InputError, match="targets"):
        yard.ship()
    assert yard.steps.calls == []


def test_a_disk_without_room_is_refused_before_anything_slow(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_ROOM_BYTES", 10**18)
    with pytest.raises(StorageError, match="MB free"):
        yard.ship()
    assert yard.steps.calls == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": "nonsense"}, "nonsense"),
        ({"version": "one"}, "semantic version"),
        ({"name": "No Name!"}, "--name"),
        ({"registry": Path("/nowhere")}, "no registry"),
        ({"model": Path("/nowhere.onnx")}, "nowhere"),
        ({"data": Path("/nowhere")}, "nowhere"),
        ({"input_size": "big"}, "WIDTHxHEIGHT"),
    ],
)
def test_what_was_typed_wrongly_is_named(yard: Yard, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LookoutError, match=words):
        yard.ship(**changes)
    assert yard.steps.calls == []


def test_pictures_without_labels_will_do(yard: Yard) -> None:
    labels = yard.folder / "labels.txt"
    labels.write_text("\n".join(TINY_LABELS))
    yard.ship(data=yard.folder / "data" / "images", labels=labels, budget="agreement=0.9")
    assert len(yard.manifest().golden) == 3
    yard.ship(data=yard.folder / "data" / "images", labels=labels, budget="agreement=0.9")
    assert yard.heard.found == EVERY


def test_a_model_is_called_after_its_file() -> None:
    assert [name_of(Path(name)) for name in ("Tiny Model.onnx", "YOLOX_nano.v2.onnx", "--.onnx")] == [
        "tiny-model",
        "yolox_nano-v2",
        "model",
    ]


def test_the_real_steps_ship_what_a_real_device_deploys(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself, with search, evaluation and benchmark, and then ``lookout run`` on what came of it."""
    monkeypatch.setattr(wiring, "BENCH_ROUNDS", 1)
    monkeypatch.setattr(wiring, "BENCH_SECONDS", 0.2)
    asked = yard.asked
    command = [
        *("ship", str(asked.model), "--data", str(asked.data), "--budget", "agreement=0.5", "--name", "tiny"),
        *("--to", str(asked.registry), "--keys", str(asked.keys), "--version", "1.0.0", "--channel", "stable"),
        *("--work", str(asked.work), "--json"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    shipped = json.loads(done.stdout)
    assert (shipped["model"], shipped["version"], shipped["channel"]) == ("tiny", "1.0.0", "stable")
    with RegistryServer(asked.registry) as server:
        device = Device(yard.folder / "device", "shipped-to")
        device.config = merged(
            device.config, {"registry": {"url": server.url}, "pipelines": {"watch": {"model": "tiny@stable"}}}
        )
        device.provision(asked.registry / "root.json")
        try:
            device.start()
            seen = device.wait_serving("tiny:1.0.0", 40)
            assert seen.pipelines[0].deployment in ("probation", "committed")
        finally:
            device.close()
