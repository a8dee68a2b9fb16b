"""What an idle device writes to its disk: a real agent, registry and broker, and a camera that sees nothing new.

Measured are the bytes that the agent's processes gave to the disk (``/proc/PID/io``: pages made dirty, each once
until it is written out; children that ended are in their parent's account) and, where the case may mount a file system
of its own, what reached its device, the journal of the file system included. Both are extrapolated to a day. The log
lies on the same disk, as it does on a device, if not under this name.

The registry is asked once an hour by default, too seldom to be measured: it is asked every :data:`POLL_S` for a while
besides, and an hour's share of what that writes is added.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psutil
import typer

from agent.errors import LookoutError
from agent.supervise.local import ask
from agent.supervise.status import CameraStatus, Status, read_status
from agent.types import MB
from tools.bench.broker import mosquitto
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.deployed import FIRST, MODEL, manifest
from tools.bench.disk import own_disk, written_bytes
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.scene import Scene
from tools.bench.still import PHOTOGRAPH, SIGMA, photograph
from tools.demo import device as devices
from tools.demo.processes import Running
from tools.registry.init import init_registry
from tools.registry.keys import Keys
from tools.registry.publish import publish

Progress = Callable[[str], None]

WANTED_MB = 20.0
FPS = 10.0
START_S = 90.0
SETTLE_S = 60.0
"""What a start and a deployment write is no part of an idle day."""

CALM_S = 15.0
"""How long the file system itself still writes after it was told to bring out all that waits: its journal's end."""

POLL_S, POLLING_S = 10.0, 90.0
DEFAULT_POLL_S = 3600.0

LOOK_S = 2.0
DAY_S = 86_400


class Written(msgspec.Struct, frozen=True):
    """Bytes over a time: given to the disk by the processes, and what reached it (None: the case had no disk)."""

    seconds: float
    processes: int
    device: int | None

    def a_day(self) -> Written:
        """Return what that is in a day."""
        return self.share(DAY_S / self.seconds)

    def share(self, part: float) -> Written:
        """Return so many times as much."""
        device = None if self.device is None else round(self.device * part)
        return Written(self.seconds * part, round(self.processes * part), device)


class WritingReport(msgspec.Struct, frozen=True):
    """``start``: from the first start to the end of the first minute with a committed model, which is no idle day.

    ``files``: by how much each file on the disk grew while idle. ``answered``, ``gated``: what became of frames then.
    """

    start: Written
    idle: Written
    polling: Written
    files: dict[str, int]
    answered: int
    gated: int
    others_cores: float

    @property
    def a_day(self) -> Written:
        """What an idle day writes, with the questions to the registry at their default pace."""
        idle, polls = self.idle.a_day(), self.polling.a_day().share(POLL_S / DEFAULT_POLL_S)
        both = None if idle.device is None or polls.device is None else idle.device + polls.device
        return Written(DAY_S, idle.processes + polls.processes, both)


def writing_case(shared: Path, *, minutes: float, progress: Progress) -> WritingReport:
    """Measure; see the module. Raises :class:`~tools.bench.broker.NoBroker`, :class:`DemoFailed`, TimeoutError."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookout-bench-")))
        disk = stack.enter_context(own_disk(folder / "disk.img", folder / "disk"))
        if disk is None:
            progress("no file system of its own: only what the processes write is measured")
        port = stack.enter_context(mosquitto())
        reached = None if disk is None else written_bytes(disk)
        agent = _start(stack, shared, folder, port)
        meter = Meter(agent, disk, reached)
        _wait(agent, folder, lambda status: status.pipelines[0].deployment == "committed")
        progress(f"{FIRST} is committed; {SETTLE_S:g} s to settle, then {minutes:g} minutes")
        time.sleep(SETTLE_S)
        return _measure(meter, folder, minutes * 60, port, progress)


class Meter:
    """What was written since the last :meth:`turn`; at first, since the agent was started."""

    def __init__(self, agent: Running, disk: str | None, reached: int | None) -> None:
        self.agent = agent
        self._disk = disk
        self._before = Written(time.monotonic(), 0, reached)

    def turn(self) -> Written:
        """Return it."""
        before = self._before
        device = None if self._disk is None else written_bytes(self._disk)
        now = self._before = Written(time.monotonic(), written(self.agent.pid), device)
        reached = None if now.device is None or before.device is None else now.device - before.device
        return Written(now.seconds - before.seconds, now.processes - before.processes, reached)


def _start(stack: contextlib.ExitStack, shared: Path, folder: Path, port: int) -> Running:
    scene = Scene(folder / "scene", photograph(shared, PHOTOGRAPH), sigma=SIGMA)
    scene.rest(50)
    draft = folder / "draft"
    draft.mkdir()
    data = (shared / "models" / YOLOX_NANO.file).read_bytes()
    (draft / "model.onnx").write_bytes(data)
    (draft / "manifest.json").write_text(json.dumps(manifest(YOLOX_NANO, FIRST, data)))
    keys = Keys(folder / "keys", lambda _: None)
    made = init_registry(folder / "registry", keys)
    publish(made.registry, keys, draft / "manifest.json", golden=False, channel="stable")
    path = devices.write_config(folder, _config(folder, port))
    devices.provision(path, made.root)
    return devices.start(stack, path, folder / "disk/agent.log")


def _config(folder: Path, port: int, *, poll_s: float = DEFAULT_POLL_S) -> dict[str, Any]:
    """Return the defaults, with the motion gate that a camera of a still scene would have."""
    source = {"kind": "images", "path": str(folder / "scene"), "loop": True, "fps": FPS}
    return {
        "schema": 1,
        "device": {"id": "bench"},
        "paths": {"state": str(folder / "disk/state"), "runtime": str(folder / "run")},
        "cameras": {"still": {"source": source, "motion": {"enabled": True}}},
        "pipelines": {"watch": {"cameras": ["still"], "model": f"{MODEL}@stable"}},
        "registry": {"url": (folder / "registry").as_uri(), "trust_clock": True, "poll_s": poll_s},
        "mqtt": {"host": "127.0.0.1", "port": port},
    }


def _measure(meter: Meter, folder: Path, seconds: float, port: int, progress: Progress) -> WritingReport:
    start = meter.turn()
    time.sleep(CALM_S)
    meter.turn()
    began, files = _camera(folder), _sizes(folder / "disk")
    with Others() as others:
        _pass(meter.agent, seconds, progress)
    idle, ended = meter.turn(), _camera(folder)
    grown = {name: size - files.get(name, 0) for name, size in _sizes(folder / "disk").items()}
    progress(f"idle: {idle.processes / 1000:.0f} kB; now the registry is asked every {POLL_S:g} s")
    devices.write_config(folder, _config(folder, port, poll_s=POLL_S))
    time.sleep(POLL_S)  # that the agent remembers this is no part of it
    meter.turn()
    _pass(meter.agent, POLLING_S, progress)
    return WritingReport(
        start=start,
        idle=idle,
        polling=meter.turn(),
        files={name: size for name, size in grown.items() if size},
        answered=ended.answered - began.answered,
        gated=ended.gated - began.gated,
        others_cores=others.cores,
    )


def _pass(agent: Running, seconds: float, progress: Progress) -> None:
    """Let time pass. Raises DemoFailed where the agent does not live through it."""
    started, before = time.monotonic(), written(agent.pid)
    while (lasted := time.monotonic() - started) < seconds:
        time.sleep(min(60.0, seconds - lasted))
        devices.require_alive(agent)
        progress(f"{time.monotonic() - started:.0f} s: {(written(agent.pid) - before) / 1000:.0f} kB")


def written(pid: int) -> int:
    """Return what a process and its descendants gave to the disk, those that have ended too."""
    found = int(psutil.Process(pid).io_counters().write_bytes)
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += int(child.io_counters().write_bytes)
    return found


def _sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _camera(folder: Path) -> CameraStatus:
    return _status(folder).cameras[0]


def _status(folder: Path) -> Status:
    return read_status(ask(folder / "run/agent.sock", "status", START_S))


def _wait(agent: Running, folder: Path, condition: Callable[[Status], bool]) -> None:
    """Return once the device's status is so. Raises DemoFailed, TimeoutError."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        devices.require_alive(agent)
        with contextlib.suppress(LookoutError):  # not there yet
            if condition(_status(folder)):
                return
        time.sleep(LOOK_S)
    raise TimeoutError(f"the agent did not commit {FIRST} within {START_S:g} s: {' / '.join(agent.tail(3))}")


# --- the case --------------------------------------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True):
    """What may be chosen."""

    minutes: Annotated[float, typer.Option(min=0.1, help="time to measure; the whole takes four minutes more")] = 10.0


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure, and put it in words. Raises what :func:`writing_case` does."""
    report = writing_case(bench.shared, minutes=settings.minutes, progress=bench.progress)
    day, idle = report.a_day, report.idle.a_day()
    here = () if day.device is not None else ("what reaches the disk: only root can mount one to measure it",)
    return Outcome(
        figures=(
            Figure("written on an idle day, by the agent's processes", day.processes / MB, "MB", wanted=_wanted()),
            Figure("the same at the disk, with the file system's journal", _mb(day.device), "MB", wanted=_wanted()),
            Figure("of it while nothing happens", _mb(idle.processes), "MB"),
            Figure("of it asking the registry once an hour", _mb(day.processes - idle.processes), "MB"),
            Figure("the first start and deployment, once", _mb(report.start.processes), "MB"),
        ),
        report=report,
        remarks=here,
        others_cores=report.others_cores,
    )


def _wanted() -> Wanted:
    return Wanted(WANTED_MB, "at_most")


def _mb(count: int | None) -> float | None:
    return None if count is None else count / MB


CASE = Case(
    name="writing",
    title="What an idle device writes to its disk",
    help="Measure what an idle device writes to its disk: a real agent, its registry, a broker and a still scene.",
    settings=Settings(),
    run=run,
    in_all=False,  # it takes longer than all the others together
    quick=Settings(minutes=1.0),
    needs=("models/yolox_nano.onnx", f"data/coco128/images/{PHOTOGRAPH}.jpg"),
)
