"""A configuration made whole: the file's bytes, the environment and the overlay, and every rule that they must obey.

The file must be right alone, because alone it runs where the overlay is lost; the overlay may set only what it may
(:mod:`agent.config.allowed`); both together must be right as well. One place, so that a pushed patch, an edited file
and a start of the agent are judged alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config.allowed import check_remote, forbidden, without
from agent.config.desired import ConfigRefused, Overlay, remote_tree
from agent.config.keypath import dotted
from agent.config.layers import Loaded, load
from agent.errors import ConfigError, Problem


@dataclass(frozen=True)
class Whole:
    """A valid configuration: ``base`` is file and environment alone, ``loaded`` what is in force with the overlay."""

    base: Loaded
    loaded: Loaded
    overlay: Overlay


@dataclass(frozen=True)
class Cut:
    """What had to be left out of an overlay: its keys, and why."""

    paths: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def compose(path: Path, environ: Mapping[str, str], text: bytes, overlay: Overlay) -> Whole:
    """Make a configuration of the file's bytes ``text`` and the overlay.

    Raises :class:`ConfigError` where file and environment are wrong, :class:`ConfigRefused` where the overlay is.
    """
    return _with_overlay(load(path, environ, text=text), path, environ, text, overlay)


def compose_allowed(path: Path, environ: Mapping[str, str], text: bytes, overlay: Overlay) -> tuple[Whole, Cut]:
    """Make a configuration without what the overlay may not set (any more): the local side decides what is remote.

    Raises as :func:`compose` does.
    """
    base = load(path, environ, text=text)
    found = tuple(forbidden(overlay, base.config.remote, base.config))
    cut = Cut(tuple(dotted(key) for key, _ in found), tuple(problem for _, problem in found))
    return _with_overlay(base, path, environ, text, without(overlay, [key for key, _ in found])), cut


def _with_overlay(base: Loaded, path: Path, environ: Mapping[str, str], text: bytes, overlay: Overlay) -> Whole:
    problems = check_remote(overlay, base.config.remote, base.config)
    if problems:
        raise ConfigRefused(problems)
    tree = remote_tree(overlay)
    if not tree:
        return Whole(base, base, overlay)
    try:
        return Whole(base, load(path, environ, remote=tree, text=text), overlay)
    except ConfigError as error:
        raise ConfigRefused(error.problems) from None
