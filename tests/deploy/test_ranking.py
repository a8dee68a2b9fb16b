"""Of the variants that a host can run, the fastest that passes serves; what was measured is remembered."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.deploy.journal import Journal
from agent.deploy.lanes import Cancel, Cancelled
from agent.deploy.loading import Loader
from agent.deploy.memorywatch import memory_bound
from agent.deploy.ranking import Ranking
from agent.deploy.records import DeploySettings, PassedOver, VariantRecord
from agent.deploy.tunings import Tuning, Tunings
from agent.errors import ChildDied, ModelError, TrialFailed
from agent.process.messages import Inspected, Load, Output
from agent.registry.manifest import Budget
from agent.registry.store import Store, StoredRelease
from agent.types import RunCost, RunOptions, Timings
from tests.fakes.deploying import Behaviour, FakeFactory, FakeRegistry, FakeWorker

SETTINGS = DeploySettings(load_timeout_s=2.0, golden_timeout_s=0.3, trial_memory_mb=500)
CPU = "CPUExecutionProvider"


class Variants(FakeFactory):
    """A factory whose workers behave as their *variant* says; the variant's file is named by its bytes."""

    def __init__(self, behaviours: dict[str, Behaviour]) -> None:
        super().__init__()
        self.of = {hashlib.sha256(name.encode()).hexdigest(): one for name, one in behaviours.items()}
        self.names = {hashlib.sha256(name.encode()).hexdigest(): name for name in behaviours}

    def start(self, *, name: str, load: Load, candidate: bool, timeout_s: float) -> FakeWorker:
        behaviour = self.of[Path(load.path).name]
        if behaviour.load_error is not None:
            raise behaviour.load_error
        worker = FakeWorker(name, load, behaviour, candidate=candidate)
        self.started.append(worker)
        return worker

    def running(self) -> list[str]:
        return [self.names[Path(worker.load.path).name] for worker in self.open()]

    def begun(self) -> list[str]:
        return [self.names[Path(worker.load.path).name] for worker in self.started]


class Bench:
    """A release with some variants, a journal, and trials of it."""

    def __init__(self, root: Path, behaviours: dict[str, Behaviour], **providers: str) -> None:
        self.factory = Variants(behaviours)
        self.store = Store(root / "store")
        registry = FakeRegistry(self.store)
        self.stored = self._publish(registry, list(behaviours), providers)
        self.journal = Journal(root / "journal.db")
        self.loader = Loader(self.factory, self.store, SETTINGS)

    @staticmethod
    def _publish(registry: FakeRegistry, names: list[str], providers: dict[str, str]) -> StoredRelease:
        variants = [
            {
                "providers": [providers.get(name, CPU)],
                "precision": "int8",
                "file": {
                    "path": f"{name}.onnx", "sha256": hashlib.sha256(name.encode()).hexdigest(), "size": len(name)
                },
            }
            for name in names
        ]  # fmt: skip
        registry.publish("1.0.0", variants=variants)
        stored = registry.published["faces:1.0.0"]
        _, blobs = registry._bytes[stored.id.digest]
        blobs.update({hashlib.sha256(name.encode()).hexdigest(): name.encode() for name in names})
        return registry.deliver("faces:1.0.0")

    def ranking(self, host: str = "pi", **settings: Any) -> Ranking:
        changed = msgspec.structs.replace(SETTINGS, **settings)
        return Ranking(self.loader.under(changed), changed, host, remembered=self.journal.measurements)

    def run(self, ranking: Ranking | None = None, cancel: Cancel | None = None):
        loaded, record = (ranking or self.ranking()).run(self.stored, 0, score=None, cancel=cancel or Cancel())
        self.journal.record_trial(self.stored.id.digest, record, 1)
        return loaded, record


def ms(run_ms: float, **rest: Any) -> Behaviour:
    return Behaviour(run_ms=run_ms, **rest)


def test_the_fastest_variant_serves_and_the_losers_workers_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"fp32": ms(9.0), "int8": ms(4.0), "fp16": ms(6.0)})
    loaded, record = bench.run()
    assert (loaded.slot.variant, record.chosen) == (1, 1)
    assert bench.factory.running() == ["int8"]
    assert [one.latency_ms.p50 for one in record.variants] == [9.0, 4.0, 6.0]
    assert loaded.p95_ms == 4.0
    assert not record.remembered


def test_the_variant_that_gives_most_frames_serves_where_several_are_computed_at_once(tmp_path: Path) -> None:
    """Pictures are answered one by one: what frames at once are worth is known from the tuning."""
    bench = Bench(tmp_path, {"two threads": ms(8.0), "two at once": ms(10.0)})
    one, two, together = RunOptions(1), RunOptions(2), RunOptions(1, concurrency=2)
    tunings = Tunings(bench.journal.database, "pi")
    bench.loader = Loader(bench.factory, bench.store, SETTINGS, tunings=tunings)
    for variant, costs in enumerate(((12.0, 8.0, 20.0), (10.0, 9.0, 12.0))):
        measured = tuple(
            RunCost(way, run_ms, run_ms, 9) for way, run_ms in zip((one, two, together), costs, strict=True)
        )
        tunings.keep(bench.stored.id.digest, variant, Tuning((one, two, together), measured))
    ranking = bench.ranking(options=(one, two, together), trial_memory_mb=None)
    loaded, record = bench.run(ranking)
    assert (loaded.slot.variant, loaded.how.options) == (1, together)
    assert [one.latency_ms.p50 for one in record.variants] == [8.0, 10.0]
    again, record = bench.run(ranking)
    assert (again.slot.variant, record.remembered) == (1, True)


def test_variants_are_measured_in_turns_on_the_same_pictures(tmp_path: Path) -> None:
    order: list[str] = []

    class Noting(FakeWorker):
        def infer_file(self, path: Path, timeout_s: float) -> Output:
            order.append(Path(self.load.path).name)
            return Output(1, "trial", 9, 9, Timings(0, 0, self.behaviour.run_ms, 0), detections=_face())

    bench = Bench(tmp_path, {"a": ms(9.0), "b": ms(4.0)})

    def start(**rest: Any) -> FakeWorker:
        behaviour = bench.factory.of[Path(rest["load"].path).name]
        return Noting(rest["name"], rest["load"], behaviour, candidate=True)

    bench.factory.start = start  # type: ignore[assignment,method-assign]
    bench.run()
    contest = order[-20:]
    assert sorted(contest) == sorted([*{contest[0]}, *{contest[1]}] * 10)
    assert all({contest[n], contest[n + 1]} == set(contest) for n in range(0, 20, 2)), "one after the other"


def test_first_switches_ranking_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"fp32": ms(9.0), "int8": ms(4.0)})
    loaded, record = bench.run(bench.ranking(variant="first"))
    assert (loaded.slot.variant, [one.variant for one in record.variants]) == (0, [0])
    assert bench.factory.begun() == ["fp32"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (ms(1.0, load_error=ModelError("input.name is wrong")), "input.name"),
        (ms(1.0, seen=()), "golden/1.jpg"),
        (ms(1.0, infer_error=ChildDied("killed by SIGSEGV")), "SIGSEGV"),
        (ms(1.0, memory_mb=900.0, hang=threading.Event()), "memory grew to 900 MB"),
    ],
)
def test_a_variant_that_fails_is_passed_over_when_another_passes(tmp_path: Path, bad: Behaviour, words: str) -> None:
    bench = Bench(tmp_path, {"bad": bad, "good": ms(9.0)})
    loaded, record = bench.run()
    assert loaded.slot.variant == 1
    assert [one.variant for one in record.passed_over] == [0]
    assert words in record.passed_over[0].problem
    assert bench.factory.running() == ["good"]


def test_a_trial_that_no_variant_passes_fails_with_the_firsts_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": ms(1.0, seen=()), "b": ms(1.0, load_error=ModelError("no"))})
    with pytest.raises(TrialFailed, match=r"golden/1\.jpg"):
        bench.run()
    assert bench.factory.running() == []


def test_variants_for_other_hosts_are_not_tried(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"cpu": ms(9.0), "gpu": ms(1.0)}, gpu="CUDAExecutionProvider")
    loaded, _ = bench.run()
    assert loaded.slot.variant == 0
    assert bench.factory.begun() == ["cpu"]


def test_what_was_measured_is_not_measured_again_after_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"slow": ms(9.0), "fast": ms(4.0), "bad": ms(1.0, seen=())})
    first, _ = bench.run()
    first.worker.close()
    bench.factory.started.clear()
    loaded, record = bench.run()
    assert (loaded.slot.variant, record.remembered) == (1, True)
    assert bench.factory.begun() == ["fast"]
    assert len(bench.factory.started[0].looked_at) == 1, "its answers are looked at, its speed is known"
    assert loaded.p95_ms == 4.0
    assert bench.journal.measurements(bench.stored.id.digest, record.host) == (
        *record.variants, PassedOver(2, record.passed_over[0].problem)
    )  # fmt: skip


def test_another_onnx_runtime_or_thread_count_measures_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"slow": ms(9.0), "fast": ms(4.0)})
    bench.run()
    for other in (bench.ranking(host="pi; onnxruntime 2"), bench.ranking(threads=3)):
        bench.factory.started.clear()
        assert not bench.run(other)[1].remembered
        assert bench.factory.begun() == ["slow", "fast"]


def test_a_remembered_winner_that_fails_now_gives_way_to_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"slow": ms(9.0), "fast": ms(4.0)})
    bench.run()
    for worker in bench.factory.started:
        worker.close()
    bench.factory.of[hashlib.sha256(b"fast").hexdigest()].seen = ()
    loaded, record = bench.run()
    assert (loaded.slot.variant, record.remembered) == (0, False)
    assert [one.variant for one in record.passed_over] == [1]


def test_cancelled_in_the_contest_nothing_is_left_running(tmp_path: Path) -> None:
    gate, cancel = threading.Event(), Cancel()
    slow = ms(4.0)
    bench = Bench(tmp_path, {"a": ms(9.0), "b": slow})
    asked = threading.Event()

    class Blocking(FakeWorker):
        def infer_file(self, path: Path, timeout_s: float) -> Output:
            if len(self.looked_at) == 12:  # the second of the contest
                asked.set()
                self.behaviour = ms(4.0, hang=gate)
                timeout_s = 20.0
            return super().infer_file(path, timeout_s)

    def start(**rest: Any) -> FakeWorker:
        worker = Blocking(rest["name"], rest["load"], bench.factory.of[Path(rest["load"].path).name], candidate=True)
        bench.factory.started.append(worker)
        return worker

    bench.factory.start = start  # type: ignore[assignment,method-assign]
    canceller = threading.Thread(target=lambda: (asked.wait(10), cancel.cancel("superseded")))
    canceller.start()
    with pytest.raises(Cancelled):
        bench.run(cancel=cancel)
    canceller.join()
    assert bench.factory.running() == []
    assert not [one for one in threading.enumerate() if one.name == "lookout-trial-memory"]


def test_a_refused_file_starts_no_worker(tmp_path: Path) -> None:
    class Inspector:
        def inspect(self, path: Path, *, name: str, **_: Any) -> Inspected:
            if name == "b.onnx":
                raise ModelError("b.onnx: opset 99")
            return Inspected(8, 17, 1, 1, ("has subgraphs (Loop)",))

    bench = Bench(tmp_path, {"a": ms(9.0), "b": ms(4.0)})
    ranking = Ranking(bench.loader, SETTINGS, "pi", inspect=Inspector())
    _, record = bench.run(ranking)
    assert bench.factory.begun() == ["a"]
    assert record.passed_over == (PassedOver(1, "b.onnx: opset 99"),)
    assert record.variants[0].warnings == ("has subgraphs (Loop)",)


def test_the_whole_trial_has_a_deadline_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": ms(9.0)})
    with pytest.raises(TrialFailed, match=r"longer than 1e-09 s \(deploy\.trial_timeout_s\)"):
        bench.run(bench.ranking(trial_timeout_s=1e-9))
    assert bench.factory.running() == []


@pytest.mark.parametrize(
    ("config_mb", "budget_mb", "bound_mb", "why"),
    [
        (500, None, 500, "deploy.trial_memory_mb"),
        (None, 100.0, 200, "2 times the manifest's budget of 100 MB"),
        (150, 100.0, 150, "deploy.trial_memory_mb"),
        (500, 100.0, 200, "2 times"),
    ],
)
def test_the_bound_on_memory_is_the_tightest_one_stated(config_mb, budget_mb, bound_mb, why) -> None:
    settings = DeploySettings(trial_memory_mb=config_mb)
    bound, words = memory_bound(settings, Budget(memory_mb=budget_mb) if budget_mb else None)
    assert bound == bound_mb * 1_000_000
    assert why in words


def test_without_any_bound_it_is_half_of_the_host() -> None:
    bound, words = memory_bound(DeploySettings(), None)
    assert bound > 100_000_000
    assert "half" in words


def test_a_measurement_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"slow": ms(9.0), "fast": ms(4.0)})
    _, record = bench.run()
    with bench.journal.database.transaction() as db:
        db.execute("UPDATE measurements SET record = '{}' WHERE variant = 0")
    found = bench.journal.measurements(bench.stored.id.digest, record.host)
    assert [one.variant for one in found if isinstance(one, VariantRecord)] == [1]


def _face() -> bytes:
    return np.array([[10, 10, 50, 50, 0.9, 0]], np.float32).tobytes()
