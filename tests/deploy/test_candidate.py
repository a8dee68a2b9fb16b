"""Results of a deployment that no longer counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from agent.deploy.candidate import CandidateJobs
from agent.deploy.lanes import Message
from agent.deploy.loading import Loaded
from agent.deploy.parts import Parts
from agent.deploy.records import PipelineSettings
from agent.types import PipelineName


def test_a_worker_that_passed_its_trial_just_as_it_was_superseded_is_closed() -> None:
    messages: list[Message] = []
    closed: list[Any] = []
    told: list[Any] = []
    worker = object()
    loaded = Loaded(cast(Any, None), cast(Any, None), cast(Any, worker), ())
    parts = SimpleNamespace(
        jobs=SimpleNamespace(submit=lambda job, done: done(job())),
        post=messages.append,
        trial=SimpleNamespace(run=lambda *_, **__: (loaded, None)),
    )
    jobs = CandidateJobs(PipelineName("p"), cast(Parts, parts), closed.append)
    jobs.try_(cast(Any, None), cast(Any, SimpleNamespace(variant=0)), PipelineSettings(PipelineName("p")), told.append)
    jobs.begin()
    messages.pop()()
    assert (closed, told) == ([worker], [])
