"""A model is tuned once on a host, what was found is remembered and taken, and whatever fails there harms nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.deploy.journal import Journal
from agent.deploy.lanes import Cancel, Cancelled
from agent.deploy.loading import Loader
from agent.deploy.ranking import Ranking
from agent.deploy.records import DeploySettings
from agent.deploy.tuning import Tuner
from agent.deploy.tunings import Tuning, Tunings
from agent.errors import ChildDied, ChildHung, LookoutError, ModelError
from agent.infer.tuning import options_to_try
from agent.process.messages import Load
from agent.registry.store import Store
from agent.types import RunCost, RunOptions
from tests.fakes.deploying import FakeFactory, FakeRegistry

AUTO = options_to_try(4, threads=None, spin=None)
SETTINGS = DeploySettings(threads=3, options=AUTO, trial_memory_mb=500)


class Bench:
    """Measures what a four-core board would: the more threads the faster and the dearer; no gain of frames at once."""

    def __init__(self, problem: LookoutError | None = None) -> None:
        self.problem = problem
        self.asked: list[tuple[RunOptions, ...]] = []
        self.loads: list[Load] = []

    def measure(
        self,
        load: Load,
        picture: Path,
        options: tuple[RunOptions, ...],
        *,
        seconds_each: float,
        then: Callable[..., Any],
        cancel: threading.Event,
    ) -> tuple[RunCost, ...]:
        assert picture.is_file()
        self.loads.append(load)
        self.asked.append(options)
        if self.problem is not None:
            raise self.problem
        costs = tuple(self.cost(one) for one in options)
        return costs + tuple(self.cost(one) for one in then(costs))

    @staticmethod
    def cost(options: RunOptions) -> RunCost:
        run_ms = 60.0 / options.threads * (1.0 if options.spin else 1.1) * (1.0 if options.arena else 1.5)
        run_ms *= options.concurrency
        return RunCost(options, run_ms, cpu_ms=60.0 + 10 * options.threads, runs=9)


class Host:
    def __init__(self, root: Path, bench: Bench | None = None, *, host: str = "pi") -> None:
        self.bench = bench or Bench()
        self.factory = FakeFactory()
        registry = FakeRegistry(Store(root / "store"))
        registry.publish("1.0.0")
        self.stored = registry.deliver("faces:1.0.0")
        self.journal = Journal(root / "journal.db")
        self.tunings = Tunings(self.journal.database, host)
        self.loader = Loader(self.factory, registry.store, SETTINGS, tunings=self.tunings)
        self.ranking = Ranking(
            self.loader, SETTINGS, host, remembered=self.journal.measurements,
            tuner=Tuner(self.bench, self.tunings, self.loader, SETTINGS),
        )  # fmt: skip

    def trial(self, *, fps: float | None = None, cancel: Cancel | None = None, **settings: Any):
        ranking = self.ranking.under(msgspec.structs.replace(SETTINGS, **settings))
        loaded, record = ranking.run(self.stored, 0, score=None, fps=fps, cancel=cancel or Cancel())
        self.journal.record_trial(self.stored.id.digest, record, 1)
        return loaded, record.variants[0]

    def options(self, fps: float | None, **settings: Any) -> RunOptions:
        loader = self.loader.under(msgspec.structs.replace(SETTINGS, **settings))
        return loader.how(self.stored, 0, None, fps).options


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_worker_that_is_tried_runs_as_was_measured_best_and_the_record_says_so(host: Host) -> None:
    loaded, record = host.trial()
    assert record.options == loaded.how.options == RunOptions(4, spin=True)
    load = host.factory.started[-1].load
    assert load.options == RunOptions(4, spin=True)


def test_a_host_is_tuned_once_and_remembers_over_restarts(tmp_path: Path) -> None:
    Host(tmp_path / "a").trial()
    again = Host(tmp_path / "b")
    again.journal.close()
    journal = Journal(tmp_path / "a/journal.db")
    again.tunings.__init__(journal.database, "pi")  # type: ignore[misc]
    again.journal = journal
    again.trial()
    assert again.bench.asked == []
    assert again.options(None).threads == 4


def test_what_cameras_need_decides_at_each_load(host: Host) -> None:
    host.trial()
    assert [host.options(fps).threads for fps in (5, 10, 20, 30, None)] == [1, 1, 2, 3, 4]


def test_frames_at_once_are_not_chosen_where_memory_is_bounded(host: Host) -> None:
    """Every one holds tensors of its own: a good model must not be refused for what tuning chose."""
    host.bench.cost = lambda one: RunCost(one, 60.0, 60.0, runs=9)  # type: ignore[method-assign]
    host.trial()
    assert host.options(None).concurrency == 1
    assert host.options(None, trial_memory_mb=None).concurrency == 4
    assert host.options(None, trial_memory_mb=None, memory_mb=300.0).concurrency == 1


def test_another_host_or_runtime_is_measured_anew(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.trial()
    other = Tunings(host.journal.database, "pi; onnxruntime 99")
    assert other.find(host.stored.id.digest, 0) is None


def test_what_the_operator_sets_later_is_kept_to(host: Host) -> None:
    host.trial()
    two = options_to_try(4, threads=2, spin=None)
    assert host.options(None, threads=2, options=two) == RunOptions(2, spin=True)
    assert host.options(None, threads=2, spin=False, options=options_to_try(4, threads=2, spin=False)) == RunOptions(2)
    assert host.options(None, threads=7, options=options_to_try(4, threads=7, spin=None)) == RunOptions(7)


def test_frames_at_once_are_computed_where_the_operator_says_so(host: Host) -> None:
    assert host.options(None, concurrency=2, options=()) == RunOptions(3, concurrency=2)
    wanted = options_to_try(4, threads=None, spin=None, concurrency=2)
    loaded, record = host.trial(concurrency=2, threads=2, options=wanted)
    assert record.options == loaded.how.options == RunOptions(2, concurrency=2)


def test_nothing_is_tuned_where_nothing_is_left_to_choose(host: Host) -> None:
    for options in (
        (),
        options_to_try(1, threads=None, spin=None),
        options_to_try(4, threads=2, spin=True, concurrency=1),
    ):
        _, record = host.trial(options=options)
        assert record.options == RunOptions(3)
    assert host.bench.asked == []


def test_a_damaged_record_is_ignored_and_made_anew(host: Host) -> None:
    host.trial()
    with host.journal.database.transaction() as db:
        db.execute("UPDATE tunings SET record = '{\"asked\": 3'")
    assert host.options(None) == RunOptions(3)
    host.trial()
    assert len(host.bench.asked) == 2
    assert host.options(None).threads == 4


@pytest.mark.parametrize("problem", [ChildDied("SIGSEGV"), ChildHung("too long"), ModelError("no such operator")])
def test_a_tuning_that_fails_leaves_the_verdict_to_the_trial(tmp_path: Path, problem: LookoutError) -> None:
    host = Host(tmp_path, Bench(problem))
    loaded, record = host.trial()
    assert record.options == RunOptions(3)
    assert loaded.worker.alive


def test_a_tuning_that_is_cancelled_cancels_the_trial(tmp_path: Path) -> None:
    cancel = Cancel()

    class Cancelling(Bench):
        def measure(self, *arguments: Any, **named: Any) -> tuple[RunCost, ...]:
            cancel.cancel("superseded")
            raise ChildDied("killed")

    host = Host(tmp_path, Cancelling())
    with pytest.raises(Cancelled):
        host.trial(cancel=cancel)
    assert host.factory.started == []


def test_options_for_which_no_time_was_left_are_simply_not_taken_and_not_asked_for_again(host: Host) -> None:
    costs = (Bench.cost(RunOptions(1)), Bench.cost(RunOptions(2)))
    host.tunings.keep(host.stored.id.digest, 0, Tuning(AUTO, costs))
    _, record = host.trial()
    assert record.options == RunOptions(2)
    assert host.bench.asked == []
