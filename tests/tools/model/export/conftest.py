"""How the export's tests call it: in this process, from the command's own function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tools.model.export.command import export

HERE = Path(__file__).parent
NETS = HERE / "nets.py"


class Ran:
    """What a run of the command came to."""

    def __init__(self, code: int, stdout: str, stderr: str, out: Path) -> None:
        self.code, self.stdout, self.stderr, self.out = code, stdout, stderr, out

    @property
    def facts(self) -> Any:
        return json.loads(self.stdout)

    @property
    def worst(self) -> float:
        """The largest relative difference of all outputs."""
        return max(one["max_rel"] for one in self.facts["parity"]["outputs"])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run ``lookout model export`` with ``-o`` into a folder of its own."""
    shell = typer.Typer()
    shell.command()(export)

    def go(*arguments: object, out: Path | None = None, as_json: bool = True) -> Ran:
        target = out or tmp_path / "out" / "model.onnx"
        words = [*map(str, arguments), "-o", str(target), *(["--json"] if as_json else [])]
        done = CliRunner().invoke(shell, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Ran(done.exit_code, done.stdout, done.stderr, target)

    return go
