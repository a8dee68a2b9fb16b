"""``docs/bad-models.md``: written by the suite itself from what it saw.

``LOOKOUT_WRITE_DOCS=1 python -m pytest tests/zoo -m ""`` renews it; every run looks that it lists the whole zoo."""

from __future__ import annotations

import os
import re

from tests.conftest import ROOT
from tests.zoo.animals import ZOO

PAGE = ROOT / "docs" / "bad-models.md"
HEAD = """# Bad models, and where they are caught

Every line is a model that the test suite makes and deploys to a device of real processes while a good model serves
live frames (`tests/zoo`, `make test-faults`). Those caught in the trial never served a frame; those caught in probation
gave way to the good one, still warm, at the next frame; the last, which behaves for 99 runs, was committed, brought
back twice, and given up for the good one at its third crash (each time nothing serves while a worker starts, unless
`deploy.keep_previous_warm` is `always`). "State" is the one that the deployment was in when it was caught; the message
is what the operator reads in `deploy/<pipeline>`. Numbers of workers, times and sizes differ from run to run.

| model | state | message |
|---|---|---|
"""

_seen: dict[str, tuple[str, str]] = {}


def saw(name: str, state: str, message: str) -> None:
    """Note what happened to an animal."""
    _seen[name] = (state, message)


def write_if_asked() -> None:
    """Write the page when all animals were seen and the environment asks for it."""
    if os.environ.get("LOOKOUT_WRITE_DOCS") and set(_seen) == set(ZOO):
        rows = [f"| {name} | {state} | {_cell(message)} |\n" for name, (state, message) in _seen.items()]
        PAGE.write_text(HEAD + "".join(rows))


def listed() -> dict[str, str]:
    """Return what the page says: the state in which each model is caught."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {row[0].removeprefix("| "): row[1] for row in rows if row[0] != "| model"}


def _cell(message: str) -> str:
    return re.sub(r"\s+", " ", message).replace("|", "\\|")
