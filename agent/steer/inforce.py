"""What is in force and how it stands: one frozen record, and what others are told of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import UNSET

from agent.clock import rfc3339
from agent.config import describe
from agent.config.changes import Past
from agent.config.desired import Overlay
from agent.config.guarded import changed_keys
from agent.config.keypath import KeyPath, dotted
from agent.config.layers import Loaded
from agent.config.shown import hidden, shown
from agent.deploy.machine import TERMINAL, State
from agent.deploy.records import DeploymentStatus
from agent.errors import LookoutError
from agent.link.messages import KeyProblem, Reported
from agent.registry.reference import parse_reference
from agent.steer.answers import ConfigView, Entry, Leaf, Pending

MAX_LEAVES = 100
"""Keys that an answer lists; a change of more is told by its first ones."""

_NOT_TAKEN = TERMINAL - {State.IDLE, State.COMMITTED}


@dataclass(frozen=True)
class InForce:
    """The configuration in force.

    ``text`` are the bytes of its file, ``digest`` their name in the record. ``reason`` says why the last change was
    undone; ``errors`` belong to the change that was refused last, ``models`` to the models that ``desired`` wants and
    the device could not take; ``file`` says why the file as it lies on the disk is not used.
    """

    loaded: Loaded
    text: bytes = field(repr=False)
    digest: str
    overlay: Overlay
    revision: int
    state: Literal["committed", "probation", "reverted"] = "committed"
    reason: str = ""
    pending: Pending | None = None
    errors: tuple[KeyProblem, ...] = ()
    models: tuple[KeyProblem, ...] = ()
    refused: tuple[int, int] | None = None
    restart_needed: tuple[str, ...] = ()
    file: str = ""


def reported(now: InForce) -> Reported:
    """Return the ``reported`` message."""
    return Reported(
        epoch=now.overlay.epoch,
        version=now.overlay.version,
        revision=now.revision,
        state=now.state,
        reason=now.reason,
        until=None if now.pending is None else now.pending.until,
        needs_confirm=now.pending is not None and now.pending.needs_confirm,
        config=hidden(now.overlay.config),
        models=dict(now.overlay.models),
        errors=(*now.errors, *now.models),
        refused=now.refused,
        restart_needed=now.restart_needed,
        file=now.file,
    )


def view(now: InForce, pending: Pending | None, path: str, history: Iterable[Past] | None) -> ConfigView:
    """Return the answer of ``config/get``. Raises CommandError where there is nothing at ``path``."""
    return ConfigView(
        revision=now.revision,
        path=path,
        config=shown(now.loaded, path),
        sources={key: str(origin) for key, origin in now.loaded.sources.items() if not path or _is_below(key, path)},
        overlay=hidden(now.overlay.config),
        models=dict(now.overlay.models),
        epoch=now.overlay.epoch,
        version=now.overlay.version,
        pending=pending,
        restart_needed=now.restart_needed,
        errors=(*now.errors, *now.models),
        file=now.file,
        history=UNSET if history is None else tuple(map(_entry, history)),
    )


def leaves(before: Loaded, after: Loaded) -> tuple[Leaf, ...]:
    """Return what differs between two configurations, key by key, secrets hidden."""
    was, will = (hidden(one.config.model_dump(mode="json", by_alias=True)) for one in (before, after))
    paths = changed_keys(before.config, after.config)
    return tuple(Leaf(dotted(path), _at(was, path), _at(will, path)) for path in paths[:MAX_LEAVES])


def needs_restart(path: KeyPath) -> bool:
    """Tell whether a key holds from the next start on only."""
    return any(key.applies == "agent" for key in describe.at(path))


def waiting_for_restart(booted: Loaded, now: Loaded, told: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the keys that hold from the next start on.

    ``told``: those that the parts said wait for it, beside what the schema says.
    """
    said = frozenset(told)
    differing = changed_keys(booted.config, now.config)
    return tuple(key for path in differing if (key := dotted(path)) in said or needs_restart(path))


def not_taken(overlay: Overlay, deployments: Iterable[DeploymentStatus]) -> tuple[KeyProblem, ...]:
    """Return the models that ``desired`` wants and whose deployment ended otherwise, each with the reason."""
    statuses = {status.pipeline: status for status in deployments}
    found = []
    for pipeline, reference in overlay.models.items():
        status = next((status for name, status in statuses.items() if name == pipeline), None)
        if status is None or status.reference != canonical(reference) or status.state not in _NOT_TAKEN:
            continue
        said = f"{status.state.value.replace('_', ' ')}: {status.reason}" if status.reason else status.state.value
        found.append(KeyProblem(f"models.{pipeline}", reference, said))
    return tuple(found)


def canonical(reference: str) -> str:
    """Return a reference as the deployer writes it; one that is none as it is."""
    try:
        return str(parse_reference(reference))
    except LookoutError:
        return reference


def went_back_to(revision: int) -> str:
    """Say why the file on the disk is not used after an operator went back."""
    return not_used(f"revision {revision} went back to an older one; edit it to have it used again")


def not_used(reason: str) -> str:
    """Say why the file on the disk is not used."""
    return f"the file as it lies on the disk is not used: {reason}"


def _entry(past: Past) -> Entry:
    return Entry(past.revision, rfc3339(past.at_ms), past.who, past.kind, past.paths, past.outcome, past.reason)


def _is_below(key: str, path: str) -> bool:
    return key == path or key.startswith((f"{path}.", f"{path}["))


def _at(tree: Any, path: KeyPath) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree
