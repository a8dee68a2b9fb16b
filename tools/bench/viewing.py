"""What the device's page costs: its memory while nobody looks, and how much a live view slows the frame loop.

A whole device (see :mod:`tools.bench.whole`). The frame loop runs flat out, on a lossless camera, so that whatever a
live view takes is taken from it; two viewers look at one view at ten pictures a second, through real connections from
this process. With and without them take turns in one run of the agent, often, since a virtual host's own speed drifts
by more than what is looked for; each round's rates are divided. Memory is the PSS of the agent's process at a live
camera, in runs of their own that take turns too.
"""

from __future__ import annotations

import contextlib
import http.client
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import psutil
import typer
import yaml

from agent.process.memory import pss_bytes
from agent.supervise.status import Status
from agent.types import MB
from tools.bench.broker import free_port
from tools.bench.case import Bench, Case, Figure, Outcome, Progress, Wanted
from tools.bench.quiet import Others
from tools.bench.ratios import Ratio, ratio, turned
from tools.bench.whole import CAMERA, VIDEO, Whole
from tools.demo import device as devices

VIEWERS, FPS = 2, 10.0
SLOWER_WANTED, MEMORY_WANTED_MB = 0.03, 25.0
LIVE = f"/api/cameras/{CAMERA}/live.mjpg?fps={FPS:g}"
ASKED = ("/", "/api/status", "/api/cameras", "/api/deployments", "/api/history", "/api/config", "/api/logs")
BEGIN_S = 2.0
"""How long a view, or its end, may take to show before a rate is measured."""


class Settings(msgspec.Struct, frozen=True):
    """What may be chosen."""

    rounds: Annotated[int, typer.Option(min=1, help="rounds, with viewers and without in turn")] = 16
    seconds: Annotated[float, typer.Option(min=1, help="time of each half of a round")] = 5.0
    memory_rounds: Annotated[int, typer.Option(min=1, help="starts with the page and without, in turn")] = 3
    settle_s: Annotated[float, typer.Option(min=1, help="how long after its start the agent is idle")] = 20.0


class Half(msgspec.Struct, frozen=True):
    """Half a round: frames a second, pictures a second of each viewer, work of agent and capture, ms a second."""

    fps: float
    pictures_per_s: float
    busy_ms_per_s: float


class ViewingReport(msgspec.Struct, frozen=True):
    """The halves of each round, and megabytes, a value a start.

    ``looked_at_mb``: after somebody had seen every view of the page, and left.
    """

    alone: tuple[Half, ...]
    viewed: tuple[Half, ...]
    off_mb: tuple[float, ...]
    idle_mb: tuple[float, ...]
    looked_at_mb: tuple[float, ...]
    others_cores: float

    @property
    def rates(self) -> Ratio:
        """The rate with viewers over that without."""
        return ratio([one.fps for one in self.viewed], [one.fps for one in self.alone])


class Viewer:
    """Looks at a live view on a thread of its own until the block ends; ``pictures`` counts."""

    def __init__(self, port: int) -> None:
        self.pictures = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._thread = threading.Thread(target=self._look, name="bench-viewer", daemon=True)

    def __enter__(self) -> Viewer:
        self._connection.request("GET", LIVE)
        self._response = self._connection.getresponse()
        if self._response.status != 200:
            raise TimeoutError(f"no live view: {self._response.read(500)!r}")
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(2)
        self._thread.join(10)
        self._connection.close()

    def _look(self) -> None:
        tail = b""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # hung up at the end
            while piece := self._response.read1(256 * 1024):
                seen = tail + piece
                self.pictures += seen.count(b"Content-Type: image/jpeg")
                tail = seen[-len(b"Content-Type: image/jpe") :]


def viewing_case(bench: Bench, settings: Settings) -> ViewingReport:
    """Measure; see the module. Raises :class:`~tools.bench.case.CannotRun` without a broker, TimeoutError."""
    with Whole(bench.shared) as whole, Others() as others:
        whole.commit()
        memory = _memory(whole, settings, bench.progress)
        halves = _rates(whole, settings, bench.progress)
    return ViewingReport(
        alone=tuple(halves["alone"]),
        viewed=tuple(halves["viewed"]),
        off_mb=tuple(memory["off"]),
        idle_mb=tuple(memory["idle"]),
        looked_at_mb=tuple(memory["looked at"]),
        others_cores=others.cores,
    )


# --- memory ----------------------------------------------------------------------------------------------------------


def _memory(whole: Whole, settings: Settings, progress: Progress) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"off": [], "idle": [], "looked at": []}
    for number in range(settings.memory_rounds):
        for way in turned(("off", "idle"), number):
            port = None if way == "off" else free_port()
            with _started(whole, port) as agent:
                time.sleep(settings.settle_s)
                found[way].append(pss_bytes(agent.pid) / MB)
                if port is not None:
                    _look_at_everything(port)
                    time.sleep(settings.settle_s)
                    found["looked at"].append(pss_bytes(agent.pid) / MB)
        progress("; ".join(f"{way} {values[-1]:.1f} MB" for way, values in found.items()))
    return found


def _look_at_everything(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for path in ASKED:
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()
    with Viewer(port), Viewer(port):
        time.sleep(5.0)


# --- rates -----------------------------------------------------------------------------------------------------------


def _rates(whole: Whole, settings: Settings, progress: Progress) -> dict[str, list[Half]]:
    """Return each round's two halves, by whether somebody looked."""
    port = free_port()
    found: dict[str, list[Half]] = {"alone": [], "viewed": []}
    with _started(whole, port, flat_out=True) as agent:
        for number in range(settings.rounds):
            for way in turned(("alone", "viewed"), number):
                with contextlib.ExitStack() as stack:
                    viewers = [stack.enter_context(Viewer(port)) for _ in range(VIEWERS if way == "viewed" else 0)]
                    time.sleep(BEGIN_S)
                    found[way].append(_half(whole, agent, viewers, settings.seconds))
            alone, viewed = found["alone"][-1], found["viewed"][-1]
            progress(
                f"round {number + 1}: {alone.fps:.1f} fps alone, {viewed.fps:.1f} with {VIEWERS} viewers, who saw "
                f"{viewed.pictures_per_s:.1f} pictures a second each"
            )
    return found


def _half(whole: Whole, agent: subprocess.Popen[bytes], viewers: list[Viewer], seconds: float) -> Half:
    def spent_s() -> float:
        agents = psutil.Process(agent.pid)
        capture = next(one for one in agents.children() if "agent.capture.main" in one.cmdline())
        return sum(sum(one.cpu_times()[:2]) for one in (agents, capture))

    answered, seen, spent = _answered(whole, agent), sum(one.pictures for one in viewers), spent_s()
    began_s = time.monotonic()
    time.sleep(seconds)
    frames, lasted_s = _answered(whole, agent) - answered, time.monotonic() - began_s
    pictures = sum(one.pictures for one in viewers) - seen
    return Half(
        fps=frames / lasted_s,
        pictures_per_s=pictures / lasted_s / max(1, len(viewers)),
        busy_ms_per_s=1000 * (spent_s() - spent) / lasted_s,
    )


def _answered(whole: Whole, agent: subprocess.Popen[bytes]) -> int:
    return whole.wait(agent, lambda _: True).cameras[0].answered


@contextlib.contextmanager
def _started(whole: Whole, port: int | None, *, flat_out: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run the device, with its page at ``port`` (None: without), until the model answers frames."""
    content: dict[str, Any] = yaml.safe_load(whole.config.read_text(encoding="utf-8"))
    content["web"] = {"enabled": port is not None} | ({} if port is None else {"port": port})
    content["report"] = {"detections_hz": 5.0}
    content["cameras"][CAMERA]["source"]["pace"] = "lossless" if flat_out else "realtime"
    devices.write_config(whole.folder, content)
    with whole.running([*devices.lookout(), "run", "-c", str(whole.config)]) as agent:
        whole.wait(agent, _sees)
        yield agent


def _sees(status: Status) -> bool:
    return status.cameras[0].answered > 20 and status.pipelines[0].deployment == "committed"


# --- the case --------------------------------------------------------------------------------------------------------


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure, and put it in words. Raises as :func:`viewing_case` does."""
    report = viewing_case(bench, settings)
    alone, viewed, off = report.alone, report.viewed, report.off_mb
    rates = report.rates
    worked = [one.busy_ms_per_s - other.busy_ms_per_s for one, other in zip(viewed, alone, strict=True)]
    idle = [mb - without for mb, without in zip(report.idle_mb, off, strict=True)]
    seen = [mb - without for mb, without in zip(report.looked_at_mb, off, strict=True)]
    slower, larger = Wanted(1 - SLOWER_WANTED, "at_least"), Wanted(MEMORY_WANTED_MB, "at_most")
    return Outcome(
        figures=(
            _figure("frame loop flat out, nobody looks", "fps", [one.fps for one in alone]),
            _figure(f"the same with {VIEWERS} viewers", "fps", [one.fps for one in viewed]),
            _figure("with viewers over without", "x", rates.rounds, slower),
            _figure(f"pictures a second of each, {FPS:g} asked for", "", [one.pictures_per_s for one in viewed]),
            _figure("processor time more of agent and capture, a second", "ms", worked),
            _figure("agent without the page", "MB", off),
            _figure("more with the page, idle", "MB", idle, larger),
            _figure("more after all of it was looked at", "MB", seen),
        ),
        report=report,
        remarks=("the viewers run on the same machine, and what they take is in the ratio",),
        others_cores=report.others_cores,
    )


def _figure(what: str, unit: str, samples: Sequence[float], wanted: Wanted | None = None) -> Figure:
    return Figure(what, statistics.median(samples), unit, tuple(samples), wanted)


CASE = Case(
    name="viewing",
    title="What the device's page costs",
    help="Measure how much two viewers at ten pictures a second slow the frame loop, and what the page's memory is.",
    settings=Settings(),
    run=run,
    in_all=False,  # it takes longer than all the others together
    quick=Settings(rounds=2, seconds=5.0, memory_rounds=1, settle_s=5.0),
    needs=("models/yolox_nano.onnx", VIDEO),
)
