"""The end of the demo: the table of claims, ``report.json`` and the contact sheet in ``demo-out/``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from agent import atomic
from agent.clock import rfc3339, utc_ms
from agent.link.messages import Detections
from tools.demo import picture, releases
from tools.demo.ledger import Ledger
from tools.demo.operator import Tape
from tools.demo.picture import Panel
from tools.demo.screen import BROKEN, KEPT, Screen
from tools.demo.subject import FACES, Subject
from tools.demo.workshop import Workshop

PICTURES_A_PANEL = 8
Frames = Callable[[Sequence[int]], Mapping[int, np.ndarray]]
"""Gives frames of the clip by their index."""

PACKAGES = ("lookout-agent", "onnxruntime", "onnx", "numpy", "opencv-python-headless", "tuf", "paho-mqtt", "amqtt")


def workshop_figures(made: Workshop) -> dict[str, Any]:
    """Return what the workshop measured."""
    return {
        "fp32": {"bytes": made.fp32.size_bytes, "latency_ms": round(made.fp32.latency_ms, 2)},
        "int8": {"bytes": made.int8.size_bytes, "latency_ms": round(made.int8.latency_ms, 2)},
        "speed_up": round(made.speed_up, 2),
        "agreement": {
            "f1": round(made.agreement.f1, 4),
            "mean_iou": round(made.agreement.mean_iou, 4),
            "mean_score_gap": round(made.agreement.mean_score_gap, 4),
            "frames": made.compared,
        },
        "recipe": made.recipe,
        "calibration_images": made.calibration.images,
    }


def show_workshop(screen: Screen, made: Workshop, subject: Subject = FACES) -> None:
    """Show both models beside each other."""
    rows = [
        ("float", f"{made.fp32.size_bytes / 1e6:.1f} MB", f"{made.fp32.latency_ms:.1f} ms", "1 (the reference)"),
        (
            "INT8",
            f"{made.int8.size_bytes / 1e6:.1f} MB",
            f"{made.int8.latency_ms:.1f} ms",
            f"{made.agreement.f1:.3f} over {made.compared} frames that did not calibrate",
        ),
    ]
    screen.table(
        f"{subject.title} at {subject.spec.input.width}x{subject.spec.input.height}, cleaned; one thread",
        ("model", "size", "latency", "agreement (F1, IoU 0.5)"),
        rows,
    )


def show_claims(screen: Screen, ledger: Ledger) -> None:
    """Show what was claimed and what was seen."""
    rows = [(claim.claimed, claim.seen, KEPT if claim.kept else BROKEN) for claim in ledger.claims]
    screen.claims("What was claimed, and what was seen", rows)


def write_report(folder: Path, ledger: Ledger, *, ok: bool, seconds: float, error: str | None) -> Path:
    """Write ``report.json``. Raises :class:`~agent.errors.StorageError`."""
    report = {
        "v": 1,
        "ok": ok,
        "error": error,
        "at": rfc3339(utc_ms()),
        "seconds": round(seconds, 1),
        "claims": [asdict(claim) for claim in ledger.claims],
        "figures": ledger.figures,
        "host": host(),
    }
    path = folder / "report.json"
    atomic.write_text(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return path


def host() -> dict[str, Any]:
    """Return what a reader must know of the machine to judge the figures."""
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_sheet(folder: Path, tape: Tape, frames: Frames, subject: Subject = FACES) -> Path | None:
    """Draw frames of the clip with the boxes from the messages; None where nothing was detected.

    Raises :class:`~agent.errors.StorageError`.
    """
    seen = [message for _, message in tape.since(0, Detections)]
    panels = [
        _panel(seen, subject.reference(releases.FLOAT), "fp32", "float"),
        _panel(seen, subject.reference(releases.INT8), "int8", "INT8"),
    ]
    panels = [panel for panel in panels if panel.messages]
    if not panels:
        return None
    drawn = frames([message.index for panel in panels for message in panel.messages])
    path = folder / "detections.png"
    title = "Lookout: what the device reported over MQTT, drawn on the clip"
    picture.save(path, picture.contact_sheet(title, drawn, panels))
    return path


def _panel(seen: Sequence[Detections], reference: str, precision: str, word: str) -> Panel:
    mine = [message for message in seen if message.model == reference]
    heading = f"{reference} ({word}): {len(mine)} frames answered"
    return Panel(heading, precision, picture.pick(mine, PICTURES_A_PANEL))
