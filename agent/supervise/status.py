"""What ``lookout status`` is told: frozen records, made by the agent and read by the command. Pure.

They are the local socket's answer to ``{"op": "status"}``, as JSON. ``degraded`` lists in words all that does not
work; where it is empty, all is well.
"""

from __future__ import annotations

import msgspec

from agent.errors import LookoutError
from agent.types import RunOptions


class CameraStatus(msgspec.Struct, frozen=True):
    """One camera. ``health`` is capture's word (opening, streaming, stalled, failed, ended), ``reason`` says why.

    ``conditions`` (stale, frozen, dark, overexposed, blurred, moved) say what is wrong with the pictures of one that
    streams; ``changed_fps`` is the rate of pictures that differ from the one before. ``seeing`` is a word for what
    keeps detections from being reported (``reporting``: nothing does), ``why_not`` the same in a sentence.
    """

    name: str
    pipeline: str
    health: str
    fps: float
    captured: int = 0
    answered: int = 0
    lost: int = 0
    skipped: int = 0
    gated: int = 0
    reason: str = ""
    conditions: tuple[str, ...] = ()
    changed_fps: float | None = None
    seeing: str = ""
    why_not: str = ""


class PipelineStatus(msgspec.Struct, frozen=True):
    """One pipeline. ``model`` and ``version`` are those that serve now, ``deployment`` the state of the machine.

    ``progress``: the part (0 to 1) of a release that is fetched, None where none is. ``options``: how ONNX Runtime runs
    the model on the CPU.
    """

    name: str
    model: str | None
    version: str | None
    digest: str | None
    providers: tuple[str, ...] = ()
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    deployment: str = "idle"
    reference: str | None = None
    reason: str = ""
    progress: float | None = None
    options: RunOptions | None = None


class BrokerStatus(msgspec.Struct, frozen=True):
    """The broker. ``state``: off, connecting, connected or failed; ``protocol``: 5 or 3.1.1."""

    address: str | None
    state: str
    protocol: str | None = None
    queued: int = 0
    reason: str = ""


class ConfigStatus(msgspec.Struct, frozen=True):
    """The configuration. ``state``: committed, probation (until ``until``), or reverted (for ``reason``).

    ``desired`` is the epoch and version that is applied, (0, 0): none. ``errors`` say, in words, what was refused.
    """

    revision: int
    state: str
    reason: str = ""
    until: str | None = None
    needs_confirm: bool = False
    desired: tuple[int, int] = (0, 0)
    restart_needed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """The whole agent."""

    device: str
    version: str
    pid: int
    uptime_s: float
    cameras: tuple[CameraStatus, ...]
    pipelines: tuple[PipelineStatus, ...]
    broker: BrokerStatus
    degraded: tuple[str, ...] = ()
    memory_mb: dict[str, float] = {}
    config: ConfigStatus | None = None
    v: int = 1


class BadStatus(LookoutError):
    """An agent of another version answered."""

    code = "bad_status"


def read_status(answer: object) -> Status:
    """Read the socket's answer. Raises :class:`BadStatus`; unknown fields of a newer agent are passed over."""
    try:
        return msgspec.convert(answer, Status)
    except msgspec.ValidationError as error:
        raise BadStatus(
            f"the agent's answer cannot be read ({error}); are agent and command of one version?"
        ) from error
