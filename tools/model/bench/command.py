"""``lookout model bench``: how fast models run, here, on a device over SSH, or in the device's own service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.errors import InputError
from tools.terminal import console, errors, log_to_stderr, print_json, progress, reporting

if TYPE_CHECKING:
    from tools.model.bench.asking import Broker
    from tools.model.bench.records import Report
    from tools.model.bench.runners import Runner

MQTT = "mqtt:"


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(help="ONNX or .ort files; ratios are against the first.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, such as 1,2,4.")] = "1",
    providers: Annotated[str, typer.Option(help="Execution providers, such as cpu,cuda,tensorrt.")] = "cpu",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; each cell runs once a round.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds a cell and round.")] = 2.0,
    shape: Annotated[list[str] | None, typer.Option(help="Shape of an input that has none: NAME=1,3,224,224.")] = None,
    spin: Annotated[bool, typer.Option(help="Let idle threads busy-wait, as ONNX Runtime does by default.")] = False,
    on: Annotated[str | None, typer.Option(help="A host for ssh, or mqtt:DEVICE to ask a running device.")] = None,
    python: Annotated[str | None, typer.Option(help="Python on the SSH host; it needs numpy and onnxruntime.")] = None,
    ssh_option: Annotated[list[str] | None, typer.Option(help="Passed to ssh as it is, such as -p2222.")] = None,
    broker: Annotated[str, typer.Option(help="HOST[:PORT] of the broker, for mqtt:DEVICE.")] = "localhost",
    username: Annotated[str | None, typer.Option(help="At the broker.")] = None,
    password: Annotated[str | None, typer.Option(envvar="LOOKOUT_MQTT_PASSWORD", help="At the broker.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust: turns TLS on.")] = None,
    prefix: Annotated[str, typer.Option(help="Of the device's topics.")] = "lookout",
    wait: Annotated[float, typer.Option(help="Seconds to wait for a device's telemetry.")] = 90.0,
    beside: Annotated[list[Path] | None, typer.Option(help="Earlier reports to show beside this one.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for bench.json and bench.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure latency, throughput and memory: interleaved rounds, one process a cell.

    [bold]Examples[/bold]

    lookout model bench float.onnx int8.onnx --threads 1,2
    lookout model bench int8.onnx --on pi@192.0.2.7 -o bench/pi
    lookout model bench int8.onnx --on gpu-server --providers cuda,cpu --python python3 --beside bench/pi/bench.json
    lookout model bench --on mqtt:gate-7 --broker broker.example:8883 --ca ca.pem
    """
    log_to_stderr()
    with reporting():
        if on is not None and on.startswith(MQTT):
            report = _asked(on.removeprefix(MQTT), _broker(broker, username, password, ca, prefix), wait)
        else:
            report = _measured(
                models or [],
                on,
                python,
                ssh_option or [],
                threads=_numbers(threads),
                providers=_providers(providers),
                shapes=_shapes(shape or []),
                rounds=rounds,
                seconds=seconds,
                spin=spin,
                quiet=as_json,
            )
        report = _joined(report, beside or [])
        if out is not None:
            _keep(report, out)
        _show(report, as_json=as_json)


def _measured(
    models: list[Path],
    on: str | None,
    python: str | None,
    ssh_options: list[str],
    *,
    threads: list[int],
    providers: list[str],
    shapes: dict[str, list[int]],
    rounds: int,
    seconds: float,
    spin: bool,
    quiet: bool,
) -> Report:
    from tools.model.bench import rounds as turns
    from tools.model.bench.runners import DEVICE_PYTHON, Here, OverSsh

    if not models:
        raise InputError("no model was named; give ONNX files, or --on mqtt:DEVICE to ask a running device")
    cells = turns.cells_of(models, providers, threads)

    def with_(runner: Runner) -> Report:
        with progress("measuring", quiet=quiet) as show:
            return turns.run(cells, runner, shapes=shapes, rounds=rounds, seconds=seconds, spin=spin, on_progress=show)

    if on is None:
        return with_(Here())
    with OverSsh(on, python=python or DEVICE_PYTHON, options=ssh_options) as runner:
        return with_(runner)


def _asked(device: str, broker: Broker, wait_s: float) -> Report:
    from tools.model.bench.asking import ask

    return ask(device, broker, timeout_s=wait_s)


def _broker(address: str, username: str | None, password: str | None, ca: Path | None, prefix: str) -> Broker:
    from tools.model.bench.asking import Broker

    host, _, port = address.partition(":")
    number = port or ("8883" if ca else "1883")
    if not host or not number.isdecimal() or not 0 < int(number) < 65_536:
        raise InputError(f"--broker {address}: is not HOST or HOST:PORT")
    if ca is not None and not ca.is_file():
        raise InputError(f"--ca {ca}: there is no such file")
    return Broker(host, int(number), username, password, None if ca is None else str(ca), prefix)


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise InputError(f"--threads {text}: is not a list of numbers above 0, such as 1,2")
    return list(dict.fromkeys(int(word) for word in words))


def _providers(text: str) -> list[str]:
    from agent.infer.providers import full_name

    return list(dict.fromkeys(full_name(word.strip()) for word in text.split(",") if word.strip())) or [
        full_name("cpu")
    ]


def _shapes(texts: list[str]) -> dict[str, list[int]]:
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not all(size.strip().isdecimal() and int(size) > 0 for size in sizes.split(",")):
            raise InputError(f"--shape {text}: is not NAME=SIZE,SIZE,…, such as images=1,3,416,416")
        shapes[name] = [int(size) for size in sizes.split(",")]
    return shapes


def _joined(report: Report, beside: list[Path]) -> Report:
    from tools.model.bench.records import read_report

    for path in beside:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"--beside {path}: cannot be read: {error.strerror}") from error
        report = report.joined(read_report(data, f"--beside {path}"))
    return report


def _keep(report: Report, folder: Path) -> None:
    import msgspec

    from agent import atomic
    from tools.model.bench import show

    atomic.write_bytes(folder / "bench.json", msgspec.json.format(msgspec.json.encode(report), indent=2))
    atomic.write_bytes(folder / "bench.png", show.plot(report))


def _show(report: Report, *, as_json: bool) -> None:
    import msgspec

    from tools.model.bench import rounds, show

    if as_json:
        print_json(msgspec.to_builtins(report))
        return
    console.print(show.hosts_table(report))
    console.print(show.table(report))
    for reason in report.failed.values():
        errors.print(f"not measured: {reason}", style="yellow", markup=False)
    if rounds.busy(report):
        errors.print("others used this machine meanwhile: measure again when it is quiet", style="yellow")
