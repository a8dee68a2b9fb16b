"""A configuration as it may be shown to anybody: the whole tree in force, defaults too, its secrets hidden.

``config/get``, ``device/diagnose`` and the page all show it through here. A secret key holds the mark, so that a patch
made of what is shown is refused rather than taken for a new password; texts are cleared of known secrets and of the
credentials in URLs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.config import describe
from agent.config.checks import did_you_mean
from agent.config.keypath import KeyPath, dotted
from agent.config.layers import Loaded
from agent.errors import CommandError
from agent.known_secrets import hide
from agent.redact import MARK


def shown(loaded: Loaded, path: str = "") -> Any:
    """Return what is in force at a dotted ``path``, everything without one, as plain JSON values.

    Raises :class:`CommandError`, of the field ``args.path``, where the configuration has nothing of that name.
    """
    here: KeyPath = ()
    found: Any = loaded.config.model_dump(mode="json", by_alias=True)
    for step in path.split(".") if path else ():
        known = list(found) if isinstance(found, Mapping) else []
        if step not in known:
            where = f"{dotted(here)} has" if here else "the configuration has"
            raise CommandError(
                f"args.path: {where} no {step!r}: {did_you_mean(step, known)}",
                field="args.path",
            )
        here, found = (*here, step), found[step]
    return hidden(found, here)


def hidden(value: Any, path: KeyPath = ()) -> Any:
    """Return a part of a configuration's tree, which lies at ``path`` in it, without secrets."""
    if value is not None and describe.is_secret(path):
        return MARK
    if isinstance(value, Mapping):
        return {str(name): hidden(inner, (*path, str(name))) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(inner, (*path, index)) for index, inner in enumerate(value)]
    return hide(value) if isinstance(value, str) else value
