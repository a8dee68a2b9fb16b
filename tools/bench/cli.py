"""``lookout bench``: the project's own benchmarks, on real models and a real video.

Facts go to the terminal (or as JSON with ``--json``) and, whole, into ``--out``.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import structlog
import typer
from rich.console import Console
from rich.table import Table

from tools.bench import cases, swapping
from tools.bench import recovery as recovering
from tools.bench.still import still_case
from tools.bench.talking import NoBroker, talking_case
from tools.terminal import reporting

app = typer.Typer(
    help="Measure the frame loop, its memory, its swaps, its recovery and its motion gate.",
    no_args_is_help=True,
    add_completion=False,
)

RATIO_WANTED = 0.90
STILL_WANTED = 0.15
MQTT_WANTED = 0.03
"""Of a core, at 30 messages of detections a second."""
GAP_MEDIAN_WANTED, GAP_MAX_WANTED = 0.2, 1.0
"""Gaps of swaps over the frame time's 99th percentile."""

ERROR, CRITICAL = 40, 50
"""What the loop logs below this level is noise between figures; the death of a worker too, where it was killed."""

Shared = Annotated[Path, typer.Option(help="the folder with models/ and data/video/")]
Out = Annotated[Path, typer.Option(help="where the JSON goes")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON only")]
SHARED = Path("../shared")
OUT = Path("bench-out")


@app.callback()
def main() -> None:
    """Measure the frame loop, its memory, its swaps, its recovery and its motion gate."""
    _log_from(ERROR)


@app.command("all")
def run_all(shared: Shared = SHARED, out: Out = OUT, as_json: AsJson = False) -> None:
    """Run every case with its defaults."""
    loop(shared, out, as_json=as_json)
    swap(shared, out, as_json=as_json)
    recovery(shared, out, as_json=as_json)
    memory(shared, out, as_json=as_json)
    still(shared, out, as_json=as_json)
    mqtt(out, as_json=as_json)
    events(shared, out, as_json=as_json)


@app.command()
def loop(
    shared: Shared = SHARED,
    out: Out = OUT,
    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds; medians are reported")] = 3,
    frames: Annotated[int, typer.Option(min=10, help="frames a round")] = 400,
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure the frame loop's throughput on plaza.avi (lossless, YOLOX-Nano) over a bare session.run loop."""
    _check(shared)
    report = cases.loop_case(shared, rounds=rounds, frames=frames, threads=threads, progress=_progress(as_json))
    facts = {
        "bare session.run": f"{report.bare_median:.1f} fps",
        "frame loop": f"{report.loop_median:.1f} fps",
        "ratio": f"{report.ratio:.3f} (wanted: {RATIO_WANTED:.2f})",
    }
    if report.disturbed:
        facts["the machine was busy"] = "the ratio means little"
    _show("loop", report, facts, out, as_json=as_json)


@app.command()
def memory(
    shared: Shared = SHARED,
    out: Out = OUT,
    frames: Annotated[int, typer.Option(min=1, help="frames to answer before measuring")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure the PSS of each process with one 640x480 camera and YOLOX-Nano."""
    _check(shared)
    report = cases.memory_case(shared, frames=frames)
    facts = {
        "agent (the loop's part)": f"{report.agent_part:.0f} MB",
        "capture": f"{report.capture:.0f} MB",
        "worker": f"{report.worker:.0f} MB",
    }
    _show("memory", report, facts, out, as_json=as_json)


@app.command()
def swap(
    shared: Shared = SHARED,
    out: Out = OUT,
    swaps: Annotated[int, typer.Option(min=1, help="swaps, to and fro")] = 20,
    frames: Annotated[int, typer.Option(min=1, help="results between two swaps")] = 30,
    as_json: AsJson = False,
) -> None:
    """Swap between YOLOX-Nano and NanoDet in lossless mode and measure the gaps."""
    _check(shared)
    report = swapping.swap_case(shared, swaps=swaps, frames=frames, progress=_progress(as_json))
    facts = {
        "swaps": str(report.swaps),
        "frame time, median and p99": f"{report.interval_median_ms:.1f} and {report.steady_p99_ms:.1f} ms",
        "gap, median": f"{report.gap_median_ms:.1f} ms, {_times(report.gap_median_ratio, GAP_MEDIAN_WANTED)}",
        "gap, longest": f"{report.gap_max_ms:.1f} ms, {_times(report.gap_max_ratio, GAP_MAX_WANTED)}",
        "longest pause of the run": f"{report.pause_max_ms:.1f} ms",
        "frames lost": str(report.lost),
        "every frame once, in order": "yes" if report.in_order else "NO",
        "others used": f"{report.others_cores:.2f} cores",
    }
    _show("swap", report, facts, out, as_json=as_json)


@app.command()
def still(
    shared: Shared = SHARED,
    out: Out = OUT,
    seconds: Annotated[float, typer.Option(min=1, help="time to measure with the gate, and without")] = 20.0,
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure what the motion gate saves on a still scene (25 fps, YOLOX-Nano), and whether it misses who comes in."""
    _check(shared)
    report = still_case(shared, seconds=seconds, threads=threads, progress=_progress(as_json))
    before, after = report.without_gate, report.with_gate
    facts = {
        "worker's processor time over that without": f"{report.worker_ratio:.3f} (wanted: {STILL_WANTED:.2f} at most)",
        "worker": f"{before.worker:.1f} % to {after.worker:.1f} %",
        "capture": f"{before.capture:.1f} % to {after.capture:.1f} %",
        "agent (the loop's part)": f"{before.agent:.1f} % to {after.agent:.1f} %",
        "frames answered, gated": f"{after.answered}, {after.gated}",
        "one measurement of motion": f"{report.motion_ms:.2f} ms",
        "objects that came in, seen without": f"{report.visits}, {report.seen_without_gate}",
        "of those missed with the gate": str(report.missed),
    }
    _show("still", report, facts, out, as_json=as_json)


@app.command()
def mqtt(
    out: Out = OUT,
    seconds: Annotated[float, typer.Option(min=1, help="time to talk")] = 20.0,
    hz: Annotated[float, typer.Option(min=0.1, help="messages of detections a second")] = 30.0,
    boxes: Annotated[int, typer.Option(min=0, help="detections in each")] = 10,
    as_json: AsJson = False,
) -> None:
    """Measure what talking to a broker costs the agent's process, from the result of a frame to the socket."""
    try:
        report = talking_case(seconds=seconds, hz=hz, boxes=boxes)
    except NoBroker as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    facts = {
        "messages a second": f"{report.messages / report.seconds:.1f} of {report.bytes / report.messages:.0f} bytes",
        "of a core": f"{report.cost:.2%} (wanted: {MQTT_WANTED:.0%} at most)",
        "others used": f"{report.others_cores:.2f} cores",
    }
    facts |= {f"- {name}": f"{share:.2%}" for name, share in report.threads.items() if share > 0}
    _show("mqtt", report, facts, out, as_json=as_json)


@app.command()
def events(
    shared: Shared = SHARED,
    out: Out = OUT,
    frames: Annotated[int, typer.Option(min=10, help="frames of plaza.avi")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="times that they are gone through")] = 5,
    as_json: AsJson = False,
) -> None:
    """Measure what tracks, zones and events cost a frame, in the crowd of plaza.avi and in one twice as dense."""
    from tools.bench.events import EVENTS_WANTED_MS, events_case  # loads ONNX Runtime into this process

    _check(shared)
    report = events_case(shared, frames=frames, rounds=rounds, progress=_progress(as_json))
    facts: dict[str, str] = {}
    for name, crowd in (("the crowd", report.plain), ("twice as dense", report.dense)):
        wanted = f" (wanted: {EVENTS_WANTED_MS:g} at 30 objects)" if crowd is report.plain else ""
        facts |= {
            f"{name}: boxes and tracks a frame": f"{crowd.rows:.1f} and {crowd.objects:.1f}",
            f"{name}: a frame, mean": f"{crowd.mean_ms:.2f} ms{wanted}",
            f"{name}: p50, p95, p99": f"{crowd.p50_ms:.2f}, {crowd.p95_ms:.2f}, {crowd.p99_ms:.2f} ms",
            f"{name}: events": f"{crowd.events}",
        }
    facts["others used"] = f"{report.others_cores:.2f} cores"
    _show("events", report, facts, out, as_json=as_json)


@app.command()
def int8(
    shared: Shared = SHARED,
    out: Out = OUT,
    cache: Annotated[Path | None, typer.Option(help="take what was measured already from here")] = None,
    as_json: AsJson = False,
) -> None:
    """Quantize two detectors by the defaults of ONNX Runtime and NNCF, and by our search; about ten minutes."""
    from tools.bench.int8 import int8_case  # the workshop's extra, needed by no other case

    if not (shared / "data/coco128").is_dir():
        typer.echo(f"{shared / 'data/coco128'} is absent: give --shared the folder of models and pictures", err=True)
        raise typer.Exit(2)
    with reporting():
        report = int8_case(shared, progress=_progress(as_json), cache=cache)
    facts = {}
    for row in report.rows:
        measured = (
            "" if row.figures is None else f"{row.map_lost:+.2f} mAP lost, agreement {row.figures.agreement:.3f}, "
        )
        speed = "not installed" if row.speed_up is None else f"{row.speed_up:.2f}x, {row.seconds:.0f} s"
        facts[f"{row.model}, {row.way}"] = f"{measured}{speed}"
    _show("int8", report, facts, out, as_json=as_json)


@app.command()
def recovery(
    shared: Shared = SHARED,
    out: Out = OUT,
    kills: Annotated[int, typer.Option(min=1, help="kills and rollbacks of each kind")] = 20,
    frames: Annotated[int, typer.Option(min=2, help="results before and after each")] = 40,
    pace: Annotated[Literal["lossless", "live", "both"], typer.Option(help="kind of camera")] = "both",
    as_json: AsJson = False,
) -> None:
    """Kill workers and reject candidates, with a camera that waits and a live one; measure the time to see again."""
    _check(shared)
    paces = recovering.PACES if pace == "both" else (pace,)
    _log_from(CRITICAL)
    report = recovering.recovery_case(shared, kills=kills, frames=frames, paces=paces, progress=_progress(as_json))
    _log_from(ERROR)
    facts: dict[str, str] = {}
    for one, others in zip(report.paces, report.others_cores, strict=True):
        facts |= {f"{one.pace}: {what}": measured for what, measured in _recovery_facts(one).items()}
        facts[f"{one.pace}: others used"] = f"{others:.2f} cores"
    _show("recovery", report, facts, out, as_json=as_json)


def _recovery_facts(one: recovering.PaceReport) -> dict[str, str]:
    warm, cold, back = one.warm, one.cold, one.rollback
    return {
        "frame time, median": f"{one.steady.median_ms:.1f} ms",
        "kills, previous warm": f"{warm.kills}",
        "- next result after": _two(warm.median_ms, warm.max_ms),
        "- wanted: frame time + 50 ms": f"{warm.allowed_ms:.1f} ms, {'kept' if warm.kept else 'MISSED'}",
        "kills, no previous": f"{cold.kills}",
        "- successor's result after": _two(cold.median_ms, cold.max_ms),
        "- of it the worker's start": _two(cold.start_median_ms, cold.start_max_ms),
        "- of it the rest": _two(cold.beyond_median_ms, cold.beyond_max_ms),
        "rollbacks in probation": f"{back.rollbacks}",
        "- gap": _two(back.gap_median_ms, back.gap_max_ms),
        "- decision to result": _two(back.decided_median_ms, back.decided_max_ms),
        "- candidate's after decision": f"at most {back.late_max}, which it had in hand",
        "- served the next frame": "yes" if back.next_frame else "NO",
        "frames lost": f"{warm.lost + cold.lost + back.lost}",
    }


def _two(median_ms: float, longest_ms: float) -> str:
    return f"{median_ms:.1f} ms, longest {longest_ms:.1f}"


def _times(ratio: float, wanted: float) -> str:
    return f"{ratio:.2f} x p99 (wanted: {wanted:g})"


def _log_from(level: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def _check(shared: Path) -> None:
    if not (shared / cases.VIDEO).is_file():
        typer.echo(f"{shared / cases.VIDEO} is absent: give --shared the folder of models and videos", err=True)
        raise typer.Exit(2)


def _progress(as_json: bool) -> cases.Progress:
    return (lambda _: None) if as_json else typer.echo


def _show(case: str, report: msgspec.Struct, facts: dict[str, str], out: Path, *, as_json: bool) -> None:
    """Print the facts and keep the whole report."""
    document = {"case": case, "host": platform.node(), "machine": platform.machine(), "report": report}
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{case}.json").write_bytes(encoded)
    if as_json:
        typer.echo(encoded.decode())
        return
    table = Table(title=f"lookout bench {case}")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for what, measured in facts.items():
        table.add_row(what, measured)
    Console().print(table)
