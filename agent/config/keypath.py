"""The path of a key: names of maps and indices of lists, from the top. Pure."""

from __future__ import annotations

KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """Write a path as a person does: ``pipelines.main.cameras[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
