"""Where cells run: in fresh processes of this machine, or of another one over SSH.

A runner takes model files in once and then measures cells, one process each. Over SSH the cell's own source and the
models go to a temporary folder of the device, which is removed at the end, whatever happens. Nothing but Python with
numpy and ONNX Runtime is needed there.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from agent.errors import ChildDied, InputError, ModelError, SurroundingsError
from tools.model.bench.records import Cell, Sample

CELL = Path(__file__).with_name("cell.py")
WARM_RUNS = 10
LEAST_RUNS = 20
DEVICE_PYTHON = "/opt/lookout/bin/python"
CONNECT_S = 15
EXTRA_S = 120.0
"""How long a cell may take beyond what it measures: loading, building engines, the first run."""

Shapes = Mapping[str, Sequence[int]]


class HostUnreachable(SurroundingsError):
    """A device cannot be reached over SSH, or lacks what a measurement needs."""

    code = "host_unreachable"


class Runner(Protocol):
    """Measures one cell at a time."""

    how: str

    def run(self, cell: Cell, path: Path, shapes: Shapes, seconds: float, *, spin: bool) -> Sample:
        """Measure. Raises :class:`ModelError` (it cannot run so), :class:`ChildDied`, :class:`HostUnreachable`."""
        ...


class Here:
    """Fresh processes of this interpreter."""

    how = "here"

    def run(self, cell: Cell, path: Path, shapes: Shapes, seconds: float, *, spin: bool) -> Sample:
        """Measure in a process of its own."""
        order = _order(str(path.resolve()), cell, shapes, seconds, spin=spin)
        return _answer(cell, _ended(cell, [sys.executable, str(CELL)], order, seconds + EXTRA_S))


class OverSsh:
    """Processes of another host. A context manager: its temporary folder there lives as long."""

    how = "ssh"

    def __init__(self, host: str, *, python: str = DEVICE_PYTHON, options: Sequence[str] = ()) -> None:
        if host.startswith("-"):
            raise InputError(f"--on {host}: is no host; give what you would give to ssh, such as pi@192.0.2.7")
        if shutil.which("ssh") is None:
            raise HostUnreachable("--on needs the command ssh: on Debian, apt-get install openssh-client")
        self._host, self._python = host, python
        self._ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", *options, "--", host]
        self._folder = ""
        self._sent: dict[Path, str] = {}

    def __enter__(self) -> OverSsh:
        self._folder = self._remote("mktemp -d -t lookout-cell-XXXXXX").decode().strip()
        try:
            self._send(CELL, "cell.py")
            self._remote(f"{shlex.quote(self._python)} -c 'import numpy, onnxruntime'")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._ssh, f"rm -rf -- {shlex.quote(self._folder)}"], capture_output=True, check=False)

    def run(self, cell: Cell, path: Path, shapes: Shapes, seconds: float, *, spin: bool) -> Sample:
        """Measure in a process of its own on the host."""
        there = self._sent.get(path)
        if there is None:
            there = self._sent[path] = self._send(path, f"{len(self._sent)}{path.suffix}")
        order = _order(there, cell, shapes, seconds, spin=spin)
        command = f"{shlex.quote(self._python)} {shlex.quote(self._folder)}/cell.py"
        return _answer(cell, _ended(cell, [*self._ssh, command], order, seconds + EXTRA_S))

    def _send(self, path: Path, name: str) -> str:
        target = f"{self._folder}/{name}"
        with path.open("rb") as file:
            self._remote(f"cat > {shlex.quote(target)}", stdin=file)
        return target

    def _remote(self, command: str, *, stdin: object = subprocess.DEVNULL) -> bytes:
        ended = subprocess.run([*self._ssh, command], stdin=stdin, capture_output=True, check=False)  # type: ignore[call-overload]
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip() or f"exit code {ended.returncode}"
            raise HostUnreachable(
                f"{self._host}: {command.split(' ', 1)[0]} failed: {said}; try: {' '.join(self._ssh)}"
            )
        return bytes(ended.stdout)


def _order(model: str, cell: Cell, shapes: Shapes, seconds: float, *, spin: bool) -> bytes:
    order = {
        "model": model,
        "provider": cell.provider,
        "threads": cell.threads,
        "spin": spin,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "seconds": seconds,
        "warm_runs": WARM_RUNS,
        "least_runs": LEAST_RUNS,
    }
    return json.dumps(order).encode()


def _ended(cell: Cell, command: list[str], order: bytes, timeout_s: float) -> bytes:
    try:
        ended = subprocess.run(command, input=order, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ChildDied(f"{cell}: no answer within {timeout_s:g} s; it was stopped") from error
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip()[-500:]
        raise ChildDied(f"{cell}: the process ended with {ended.returncode}: {said or 'without a word'}")
    return ended.stdout


def _answer(cell: Cell, said: bytes) -> Sample:
    try:
        told = msgspec.json.decode(said)
        if isinstance(told, dict) and "error" in told:
            raise ModelError(f"{cell}: {told['error']}")
        return msgspec.convert(told, Sample)
    except msgspec.MsgspecError as error:
        raise ChildDied(f"{cell}: answered what is no measurement: {said[-200:]!r}") from error
