"""The verbs of this release: a row each, with the deployments and the device they act on.

Handlers run on ``lookout-commands`` and return at once: ``model/deploy`` and ``model/rollback`` answer when the request
is journalled, and what becomes of it shows on ``deploy/<pipeline>``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from agent.deploy.records import Accepted, DeployOptions, StoredModel
from agent.errors import CommandError
from agent.link.forms import (
    CameraSnapshot,
    DeviceDiagnose,
    DevicePing,
    ModelCancel,
    ModelDeploy,
    ModelList,
    ModelRollback,
)
from agent.link.verbs import Handled, Verb, verb
from agent.types import CameraName, PipelineName
from agent.vision.whynot import WhyNot


class Deployments(Protocol):
    """What the verbs need of the deployer; every call raises LookoutError where it is refused."""

    def deploy(
        self, pipeline: PipelineName, reference: str, *, force: bool = False, options: DeployOptions = ...
    ) -> Accepted:
        """Take a deploy on."""
        ...

    def cancel(self, pipeline: PipelineName) -> Accepted:
        """End a deployment before its probation."""
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


class Diagnosis(msgspec.Struct, frozen=True):
    """Answer of ``device/diagnose``: of each camera, why it reports nothing (code ``reporting``: it does)."""

    cameras: dict[str, WhyNot]


class Pong(msgspec.Struct, frozen=True):
    """Answer of ``device/ping``; ``uptime_s`` is the agent's."""

    device: str
    uptime_s: float


def table(
    deployments: Deployments,
    pipelines: Sequence[PipelineName],
    *,
    device: str,
    uptime_s: Callable[[], float],
    snapshot: Callable[[CameraSnapshot], Handled] | None = None,
    why_not: Callable[[], Mapping[CameraName, WhyNot]] = dict,
) -> tuple[Verb, ...]:
    """Return the rows for a device with these pipelines; ``snapshot`` has a picture taken.

    ``why_not`` says of each camera why it reports nothing.
    """

    def deploy(args: ModelDeploy) -> Accepted:
        options = DeployOptions(args.shadow_frames, args.min_agreement, moment(args.not_before))
        return deployments.deploy(chosen(args.pipeline, pipelines), args.reference, force=args.force, options=options)

    def cancel(args: ModelCancel) -> Accepted:
        return deployments.cancel(chosen(args.pipeline, pipelines))

    def rollback(args: ModelRollback) -> Accepted:
        return deployments.rollback(chosen(args.pipeline, pipelines))

    def list_models(_: ModelList) -> Models:
        return Models(deployments.models())

    def ping(_: DevicePing) -> Pong:
        return Pong(device, uptime_s())

    def diagnose(args: DeviceDiagnose) -> Diagnosis:
        found = why_not()
        if args.camera is None:
            return Diagnosis({str(name): reason for name, reason in found.items()})
        camera = CameraName(args.camera)
        if camera not in found:
            known = ", ".join(found)
            raise CommandError(
                f"args.camera: {camera!r} is no camera of this device; it has {known}", field="args.camera"
            )
        return Diagnosis({camera: found[camera]})

    rows = (
        verb("model/deploy", ModelDeploy, deploy),
        verb("model/cancel", ModelCancel, cancel),
        verb("model/rollback", ModelRollback, rollback),
        verb("model/list", ModelList, list_models, repeatable=True),
        verb("device/ping", DevicePing, ping, repeatable=True),
        verb("device/diagnose", DeviceDiagnose, diagnose, repeatable=True),
    )
    return rows if snapshot is None else (*rows, verb("camera/snapshot", CameraSnapshot, snapshot, repeatable=True))


def moment(text: str | None) -> int | None:
    """Return the moment of an RFC 3339 text, UTC milliseconds. Raises :class:`CommandError`."""
    if text is None:
        return None
    try:
        at = msgspec.convert(text, datetime.datetime)
    except msgspec.ValidationError:
        at = None
    if at is None or at.tzinfo is None:
        raise CommandError(
            f"args.not_before: {text!r} is no RFC 3339 time with a zone, such as 2026-11-24T16:02:00Z",
            field="args.not_before",
        )
    return round(at.timestamp() * 1000)


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
