"""The screen of ``lookout status --watch``: what is shown at one moment. Reads nothing, prints nothing.

What does not work stands above the tables, so that a small window never cuts it off. While no agent answers, the last
thing that one said stays to be seen, dimmed, below the word that it is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.style import Style
from rich.styled import Styled
from rich.text import Text

from agent.supervise.presenttables import PLAIN_SPARKS, SPARKS, cameras, line, pipelines, rest, span, title
from agent.supervise.status import Status

TRAIL = 24
MOST_REASONS = 6
BAD = Style(color="yellow", bold=True)
GONE = Style(color="red", bold=True)
FAINT = Style(dim=True)


class Trails:
    """The frame rates of late, of each camera; a camera that goes is forgotten."""

    def __init__(self) -> None:
        self._rates: dict[str, deque[float]] = {}

    def add(self, found: Status) -> None:
        """Take the rates of a new status."""
        self._rates = {camera.name: self._rates.get(camera.name, deque(maxlen=TRAIL)) for camera in found.cameras}
        for camera in found.cameras:
            self._rates[camera.name].append(camera.fps)

    def rates(self) -> Mapping[str, Sequence[float]]:
        """Return them, oldest first."""
        return self._rates


def screen(
    found: Status | None, gone: str, gone_s: float, trails: Trails, *, clock: str, plain: bool = False
) -> RenderableType:
    """Return what is shown: ``found`` is the newest status, ``gone`` why none came for ``gone_s``.

    ``clock`` is the time of day. ``plain``: the terminal has no characters but ASCII.
    """
    head = Text.assemble(line("no agent" if found is None else title(found)), (f"   {clock}   q leaves", FAINT))
    parts: list[RenderableType] = [head]
    if gone:
        parts += [Styled(line(f"no answer for {span(gone_s)}: {gone}"), GONE), Styled(line("waiting for it"), GONE)]
    if found is not None:
        told = _told(found, trails, SPARKS if not plain else PLAIN_SPARKS)
        parts.append(Styled(told, FAINT) if gone else told)
    return Group(*parts)


def _told(found: Status, trails: Trails, sparks: str) -> Group:
    reasons = [Styled(line(f"degraded: {reason}"), BAD) for reason in found.degraded[:MOST_REASONS]]
    if len(found.degraded) > MOST_REASONS:
        reasons.append(Styled(line(f"and {len(found.degraded) - MOST_REASONS} more"), BAD))
    why_not = [line(f"camera {one.name} reports nothing: {one.why_not}") for one in found.cameras if one.why_not]
    tables = (cameras(found, trails.rates(), sparks=sparks), pipelines(found))
    return Group(*reasons, *tables, *map(line, rest(found)), *why_not)
