"""What others measured, in the manifest's words: JSON reports of ``evaluate`` and ``quantize`` become fields. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import InputError

_AGAINST_FIRST = ("agreement", "matched_f1")


def read_report(path: Path, option: str) -> dict[str, Any]:
    """Read a JSON object. Raises :class:`InputError`."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option} {path}: is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{option} {path}: is no JSON object; give the report as the command wrote it")
    return value


def quantization_section(report: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest's ``quantization`` from the report of ``quantize``. Raises :class:`InputError`."""
    if "method" in report:
        return {key: report[key] for key in ("method", "calibration", "kept_float") if key in report}
    recipe, calibration = report.get("recipe"), report.get("calibration")
    if recipe is None:
        raise InputError("--quantization: names no recipe; give what 'lookout model quantize --json' wrote")
    section: dict[str, Any] = {"method": _recipe_words(recipe), "kept_float": list(report.get("kept_float") or ())}
    if isinstance(calibration, dict) and calibration.get("images"):
        section["calibration"] = {key: calibration[key] for key in ("images", "sha256") if calibration.get(key)}
    return section


def _recipe_words(recipe: Any) -> str:
    if isinstance(recipe, str):
        return recipe[:500]
    words = ", ".join(f"{key} {value}" for key, value in recipe.items() if key != "kept_float") if recipe else ""
    return words[:500]


def evaluation_metrics(report: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest's ``metrics`` from the report of ``evaluate``: figures by model become figures by precision.

    ``names``: the precision of each model by the name that the report gives it. What is said of one model against the
    first (agreement) is a plain number where there are two.
    """
    metrics: dict[str, Any] = {key: report[key] for key in ("dataset", "images") if report.get(key)}
    for key, value in report.items():
        if not isinstance(value, dict) or not value or not all(_is_figure(entry) for entry in value.values()):
            continue
        figures = {names.get(name, name): round(entry, 4) for name, entry in value.items()}
        alone = key in _AGAINST_FIRST and len(figures) == 1
        metrics[key] = next(iter(figures.values())) if alone else figures
    return metrics


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
