"""What each verb of ``cmd/<part>/<verb>`` takes: a form a verb, unknown arguments refused. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.types import NAME_PATTERN

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Reference = Annotated[str, Meta(min_length=1, max_length=256)]
Level = Literal["debug", "info", "warning", "error"]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Root of the arguments of verbs; unknown ones are refused."""


class ModelDeploy(Arguments, frozen=True, kw_only=True):
    """``model/deploy``: take a release into service; ``force`` tries one that failed before.

    Without ``pipeline`` it is for the device's only one.

    ``not_before`` (RFC 3339 with zone) defers it; with ``spread_s`` each device of many waits its own part of that
    time besides. ``shadow_frames`` and ``min_agreement`` take the place of the
    configuration's.
    """

    pipeline: Name | None = None
    reference: Reference
    force: bool = False
    not_before: Annotated[str, Meta(max_length=64)] | None = None
    spread_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    shadow_frames: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_agreement: Annotated[float, Meta(ge=0, le=1)] | None = None


class ModelCancel(Arguments, frozen=True, kw_only=True):
    """``model/cancel``: end a deployment before its probation; without ``pipeline`` the device's only one."""

    pipeline: Name | None = None


class ModelRollback(Arguments, frozen=True, kw_only=True):
    """``model/rollback``: go back to the previous release; without ``pipeline`` the device's only one."""

    pipeline: Name | None = None


class ModelList(Arguments, frozen=True, kw_only=True):
    """``model/list``: what the store holds."""


class DevicePing(Arguments, frozen=True, kw_only=True):
    """``device/ping``: answers that the device is there."""


class CameraSnapshot(Arguments, frozen=True, kw_only=True):
    """``camera/snapshot``: publish the newest frame on ``snapshots/<camera>``; without ``camera`` that of the only one.

    ``boxes``: with what was seen in it. ``track``: instead the best picture of this track so far, also after its end,
    as it is kept (without boxes, at most 640 wide). Privacy masks are always in it.
    """

    camera: Name | None = None
    track: Annotated[int, Meta(ge=0)] | None = None
    boxes: bool = True
    max_width: Annotated[int, Meta(ge=160, le=3840)] = 1280


class DeviceDiagnose(Arguments, frozen=True, kw_only=True):
    """``device/diagnose``: a bounded bundle of all that helps to find out how the device does.

    ``camera``: only this camera's reasons. ``logs``: newest log records in it. ``snapshot``: publish a picture of each
    camera besides, masks in it.
    """

    camera: Name | None = None
    logs: Annotated[int, Meta(ge=0, le=500)] = 100
    snapshot: bool = False


class DeviceRestart(Arguments, frozen=True, kw_only=True):
    """``device/restart``: end cleanly and start again, which applies what waits for a restart."""


class ConfigGet(Arguments, frozen=True, kw_only=True):
    """``config/get``: what is in force at ``path`` (dotted; without it, everything), and where each value comes from.

    ``history``: also the last changes, with who and when.
    """

    path: Annotated[str, Meta(max_length=512)] = ""
    history: bool = False


class ConfigPatch(Arguments, frozen=True, kw_only=True):
    """``config/patch``: change the remote overlay by a JSON Merge Patch (RFC 7396); null gives the file's value back.

    ``dry_run``: only say what would be refused or changed. ``who``: for the history.
    """

    patch: dict[str, Any]
    dry_run: bool = False
    who: Annotated[str, Meta(max_length=128)] | None = None


class ConfigConfirm(Arguments, frozen=True, kw_only=True):
    """``config/confirm``: keep the change of this revision, which is on probation."""

    revision: Annotated[int, Meta(ge=0)]


class ConfigRevert(Arguments, frozen=True, kw_only=True):
    """``config/revert``: undo the change on probation; with ``revision``, go back to what held then."""

    revision: Annotated[int, Meta(ge=0)] | None = None
    who: Annotated[str, Meta(max_length=128)] | None = None


class LogsTail(Arguments, frozen=True, kw_only=True):
    """``logs/tail``: publish log records on ``logs`` as they come, for ``seconds``, after the last ``lines``.

    Of ``level`` and above, of one ``part``, with ``grep`` (plain text) in them, at most ``per_second``. A new one takes
    the place of the former; ``seconds`` 0 ends it.
    """

    seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    level: Level = "info"
    part: Name | None = None
    grep: Annotated[str, Meta(max_length=128)] | None = None
    lines: Annotated[int, Meta(ge=0, le=500)] = 50
    per_second: Annotated[float, Meta(gt=0, le=100)] = 20.0


class LogsLevel(Arguments, frozen=True, kw_only=True):
    """``logs/level``: log ``part`` (default: all) at ``level`` for ``seconds``, then as configured again."""

    level: Level
    part: Name | None = None
    seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600.0


FORMS: dict[str, type[Arguments]] = {
    "model/deploy": ModelDeploy,
    "model/cancel": ModelCancel,
    "model/rollback": ModelRollback,
    "model/list": ModelList,
    "config/get": ConfigGet,
    "config/patch": ConfigPatch,
    "config/confirm": ConfigConfirm,
    "config/revert": ConfigRevert,
    "logs/tail": LogsTail,
    "logs/level": LogsLevel,
    "camera/snapshot": CameraSnapshot,
    "device/diagnose": DeviceDiagnose,
    "device/ping": DevicePing,
    "device/restart": DeviceRestart,
}
"""``<part>/<verb>`` → its form."""
