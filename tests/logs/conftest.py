"""A log that is set up anew for each test, and what came out of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agent.config.schema import Logs
from agent.logs.setup import Logging, configure


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler).__name__ == "_Bridge"]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


@pytest.fixture
def out() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def logs(out: io.BytesIO) -> Logging:
    """Logging without folding, done by whoever logs."""
    return configure(Logs(fold_s=0), out)


def lines(out: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]
