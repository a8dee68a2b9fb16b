"""The comparison as a picture: how many times as fast as each peer our loop is, with the spread of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.bench.peers.lineup import PeerModel, Runner
from tools.bench.peers.results import Timed

PICTURE = "peers.png"
_COLOURS = {"same": "#4c78a8", "best": "#f58518"}
_WORDS = {"same": "at the same threads", "best": "each at its best"}


def draw(cells: Sequence[Timed], models: Sequence[PeerModel], table: dict[str, Runner], target: Path) -> bool:
    """Write the picture; False, and nothing written, where matplotlib is not installed or nothing was measured."""
    shown = [one for one in cells if one.over is not None]
    try:
        import matplotlib as mpl  # the workshop's, and slow to load
    except ImportError:
        return False
    if not shown:
        return False
    mpl.use("agg")
    from matplotlib import patches, pyplot

    groups = [(model, [one for one in shown if one.model == model.key]) for model in models]
    groups = [(model, mine) for model, mine in groups if mine]
    heights = [len(mine) + 1 for _, mine in groups]
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(9, 0.36 * sum(heights) + 0.8), sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for (model, mine), axis in zip(groups, axes[:, 0], strict=True):
        _bars(axis, mine, table)
        axis.set_title(model.title, loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("our loop's frames a second over the peer's (median of the rounds; least to most)")
    handles = [patches.Rectangle((0, 0), 1, 1, color=_COLOURS[one]) for one in _WORDS]
    figure.legend(handles, list(_WORDS.values()), loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
    return True


def _bars(ax: Any, mine: Sequence[Timed], table: dict[str, Runner]) -> None:
    for place, one in enumerate(mine):
        assert one.over is not None
        spread = [[one.over.median - one.over.least], [one.over.most - one.over.median]]
        ax.barh(place, one.over.median, xerr=spread, color=_COLOURS[one.contest], height=0.7, ecolor="#333", capsize=2)
        ax.text(one.over.most + 0.03, place, f"{one.over.median:.2f}", va="center", fontsize=8)
    ax.set_yticks(range(len(mine)), [table[one.runner].title.replace("`", "") for one in mine], fontsize=8)
    ax.axvline(1.0, color="#888", linewidth=1)
    ax.invert_yaxis()
    ax.margins(x=0.08)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
