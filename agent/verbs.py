"""The verbs of this release: a row each, with the deployments and the device they act on.

Handlers run on ``lookout-commands`` and return at once: ``model/deploy`` and ``model/rollback`` answer when the request
is journalled, and what becomes of it shows on ``deploy/<pipeline>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from agent.deploy.records import Accepted, StoredModel
from agent.errors import CommandError
from agent.link.messages import DevicePing, ModelDeploy, ModelList, ModelRollback
from agent.link.verbs import Verb, verb
from agent.types import PipelineName


class Deployments(Protocol):
    """What the verbs need of the deployer; every call raises LookoutError where it is refused."""

    def deploy(self, pipeline: PipelineName, reference: str, *, force: bool = False) -> Accepted:
        """Take a deploy on."""
        ...

    def rollback(self, pipeline: PipelineName) -> Accepted:
        """Go back to the previous release."""
        ...

    def models(self) -> tuple[StoredModel, ...]:
        """Return what the store holds."""
        ...


class Models(msgspec.Struct, frozen=True):
    """Answer of ``model/list``."""

    models: tuple[StoredModel, ...]


class Pong(msgspec.Struct, frozen=True):
    """Answer of ``device/ping``; ``uptime_s`` is the agent's."""

    device: str
    uptime_s: float


def table(
    deployments: Deployments, pipelines: Sequence[PipelineName], *, device: str, uptime_s: Callable[[], float]
) -> tuple[Verb, ...]:
    """Return the rows for a device with these pipelines."""

    def deploy(args: ModelDeploy) -> Accepted:
        return deployments.deploy(chosen(args.pipeline, pipelines), args.reference, force=args.force)

    def rollback(args: ModelRollback) -> Accepted:
        return deployments.rollback(chosen(args.pipeline, pipelines))

    def list_models(_: ModelList) -> Models:
        return Models(deployments.models())

    def ping(_: DevicePing) -> Pong:
        return Pong(device, uptime_s())

    return (
        verb("model/deploy", ModelDeploy, deploy),
        verb("model/rollback", ModelRollback, rollback),
        verb("model/list", ModelList, list_models, repeatable=True),
        verb("device/ping", DevicePing, ping, repeatable=True),
    )


def chosen(name: str | None, pipelines: Sequence[PipelineName]) -> PipelineName:
    """Return the pipeline that a command means: the named one, or the only one. Raises :class:`CommandError`."""
    known = ", ".join(pipelines)
    if name is None:
        if len(pipelines) == 1:
            return pipelines[0]
        raise CommandError(f"args.pipeline is missing and this device has several: {known}", field="args.pipeline")
    found = next((pipeline for pipeline in pipelines if pipeline == name), None)
    if found is None:
        raise CommandError(
            f"args.pipeline: {name!r} is no pipeline of this device; it has {known}", field="args.pipeline"
        )
    return found
