"""A configuration and the case that the doctor makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.doctor.case import Case, take

MINIMAL: dict[str, Any] = {
    "schema": 1,
    "paths": {"state": "state", "runtime": "run"},
    "cameras": {"front": {"source": {"kind": "pattern", "width": 64, "height": 64}}},
    "pipelines": {"main": {"cameras": ["front"]}},
}


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    """Make the case of a configuration; sections are given by name."""

    def make(environ: dict[str, str] | None = None, **sections: Any) -> Case:
        file = tmp_path / "agent.yaml"
        file.write_text(json.dumps({**MINIMAL, **sections}))
        return take(file, {"HOME": str(tmp_path), **(environ or {})})

    return make
