"""The verbs of this release: a row each, with the deployments and the device they act on.

Handlers run on ``lookout-command-…`` and return soon: ``model/deploy`` and ``model/rollback`` answer when the request
is journalled, and what becomes of it shows on ``deploy/<pipeline>``, with its progress, asked for or not.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from agent.deploy.later import share_ms
from agent.deploy.records import Accepted, DeployOptions, StoredModel
from agent.diagnose import Diagnosis
from agent.errors import CommandError
from agent.link.forms import (
    CameraSnapshot,
    ConfigConfirm,
    ConfigGet,
    ConfigPatch,
    ConfigRevert,
    DeviceDiagnose,
    DevicePing,
    DeviceRestart,
    LogsLevel,
    LogsTail,
    ModelCancel,
    ModelDeploy,
    ModelList,
    ModelRollback,
)
from agent.link.verbs import Deferred, Handled, Verb, verb, verb_by_id
from agent.logs.afar import AskedLogs
from agent.steer.answers import ConfigView
from agent.types import PipelineName

SETTLE_S = 10.0
"""Least time between two restarts from afar."""


LAST_YEAR = 9000
"""A deployment may be put off until then: what is added to it (a zone, a spread) must still be a time."""


class RestartRefused(CommandError):
    """The device is not restarted, or not yet."""

    code = "refused"


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


class Configuration(Protocol):
    """What the verbs need of the steward; every call raises LookoutError, or its answer holds one."""

    def get(self, args: ConfigGet) -> ConfigView:
        """Return what is in force."""
        ...

    def patch(self, args: ConfigPatch) -> Deferred:
        """Change the remote overlay."""
        ...

    def confirm(self, args: ConfigConfirm) -> Deferred:
        """Keep the change on probation."""
        ...

    def revert(self, args: ConfigRevert) -> Deferred:
        """Undo the change on probation, or go back further."""
        ...


class Models(msgspec.Struct, frozen=True):
    """Answer of ``model/list``."""

    models: tuple[StoredModel, ...]


class Pong(msgspec.Struct, frozen=True):
    """Answer of ``device/ping``; ``uptime_s`` is the agent's."""

    device: str
    uptime_s: float


class Restarting(msgspec.Struct, frozen=True):
    """Answer of ``device/restart``: the agent ends now, ``uptime_s`` after its start, and starts again."""

    uptime_s: float


def table(
    deployments: Deployments,
    pipelines: Sequence[PipelineName],
    *,
    device: str,
    uptime_s: Callable[[], float],
    snapshot: Callable[[CameraSnapshot], Handled] | None = None,
    diagnose: Callable[[DeviceDiagnose], Diagnosis] | None = None,
    logs: AskedLogs | None = None,
    restart: Callable[[str], None] | None = None,
    may_restart: Callable[[], bool] = lambda: True,
    refuse_managed: Callable[[PipelineName], None] = lambda _: None,
) -> tuple[Verb, ...]:
    """Return the rows for a device with these pipelines; ``snapshot`` has a picture taken.

    ``diagnose`` and ``logs`` say how the device does. ``restart`` ends the agent and starts it again.
    ``refuse_managed`` raises where a pipeline's model is not a command's to choose.
    """

    def deploy(args: ModelDeploy, command_id: str | None) -> Accepted:
        part_ms = share_ms(args.spread_s, device, command_id or args.reference)
        options = DeployOptions(args.shadow_frames, args.min_agreement, moment(args.not_before), part_ms)
        pipeline = chosen(args.pipeline, pipelines)
        refuse_managed(pipeline)
        return deployments.deploy(pipeline, args.reference, force=args.force, options=options)

    def cancel(args: ModelCancel) -> Accepted:
        return deployments.cancel(chosen(args.pipeline, pipelines))

    def rollback(args: ModelRollback) -> Accepted:
        return deployments.rollback(chosen(args.pipeline, pipelines))

    def list_models(_: ModelList) -> Models:
        return Models(deployments.models())

    def ping(_: DevicePing) -> Pong:
        return Pong(device, uptime_s())

    rows: tuple[Verb, ...] = (
        verb_by_id("model/deploy", ModelDeploy, deploy),
        verb("model/cancel", ModelCancel, cancel),
        verb("model/rollback", ModelRollback, rollback),
        verb("model/list", ModelList, list_models, repeatable=True),
        verb("device/ping", DevicePing, ping, repeatable=True, lane="device/ping"),
    )
    if diagnose is not None:
        rows = (*rows, verb("device/diagnose", DeviceDiagnose, diagnose, repeatable=True, lane="device/diagnose"))
    if logs is not None:
        rows = (*rows, *log_rows(logs))
    if snapshot is not None:
        rows = (*rows, verb("camera/snapshot", CameraSnapshot, snapshot, repeatable=True))
    return rows if restart is None else (*rows, restart_row(restart, may_restart, uptime_s))


def config_rows(configuration: Configuration) -> tuple[Verb, ...]:
    """Return the rows of ``config/…``: looking does not wait for changes, which come one after another."""
    return (
        verb("config/get", ConfigGet, configuration.get, repeatable=True, lane="config/get"),
        verb("config/patch", ConfigPatch, configuration.patch),
        verb("config/confirm", ConfigConfirm, configuration.confirm, repeatable=True),
        verb("config/revert", ConfigRevert, configuration.revert),
    )


def log_rows(logs: AskedLogs) -> tuple[Verb, ...]:
    """Return the rows of ``logs/…``, answered at once; the lines themselves come on ``logs``."""
    return (
        verb("logs/tail", LogsTail, logs.tail, repeatable=True),
        verb("logs/level", LogsLevel, logs.level, repeatable=True),
    )


def restart_row(restart: Callable[[str], None], may_restart: Callable[[], bool], uptime_s: Callable[[], float]) -> Verb:
    """Return the row of ``device/restart``: it is answered first, and what follows is up to ``restart``.

    Refused within :data:`SETTLE_S` of the start: who repeats it for ever from afar must not keep the device blind.
    """

    def handle(_: DeviceRestart) -> Restarting:
        if not may_restart():
            raise RestartRefused("this device is not restarted from afar: remote.restart is false")
        if (since_s := uptime_s()) < SETTLE_S:
            raise RestartRefused(
                f"the agent started {since_s:.1f} s ago; it is restarted after {SETTLE_S:g} s at least"
            )
        return Restarting(since_s)

    return verb(
        "device/restart", DeviceRestart, handle, lane="device/restart", afterwards=lambda: restart("device/restart")
    )


def moment(text: str | None) -> int | None:
    """Return the moment of an RFC 3339 text, UTC milliseconds. Raises :class:`CommandError`."""
    if text is None:
        return None
    try:
        at = msgspec.convert(text, datetime.datetime)
    except msgspec.ValidationError:
        at = None
    if at is None or at.tzinfo is None or at.year > LAST_YEAR:
        raise CommandError(
            f"args.not_before: {text!r} is no RFC 3339 time with a zone, such as 2026-11-24T16:02:00Z, "
            f"of the year {LAST_YEAR} at the latest",
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
