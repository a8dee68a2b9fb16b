"""Whether the agent's user may open what the configuration needs: devices belong to groups. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.doctor.findings import Finding, failed, ok, skipped

NAME = "groups"
READ_WRITE = 0o6


@dataclass(frozen=True)
class User:
    """Who runs the agent. ``where`` says how that is known; ``groups``: ids of all its groups.

    ``account``: the groups that the account has on paper, where a running process may have fewer.
    """

    name: str
    uid: int
    groups: frozenset[int]
    where: str
    account: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Node:
    """A device's file. ``mode`` is of its permissions alone; ``lists``: it has an access list, which may allow more."""

    path: str
    uid: int
    gid: int
    group: str
    mode: int
    lists: bool = False


def may_open(user: User, node: Node) -> bool:
    """Tell whether the user may read and write a device."""
    if user.uid == 0:
        return True
    if user.uid == node.uid:
        bits = node.mode >> 6
    elif node.gid in user.groups:
        bits = node.mode >> 3
    else:
        bits = node.mode
    return bits & READ_WRITE == READ_WRITE


def judge(user: User, nodes: Sequence[Node], group_names: Sequence[str]) -> tuple[Finding, ...]:
    """Return whether ``user``, whose groups have these names, may open all of ``nodes``."""
    who = f"{user.name} ({user.where})"
    values = {"user": user.name, "groups": ", ".join(group_names)}
    shut = [node for node in nodes if not may_open(user, node) and not node.lists]
    if shut:
        listed = ", ".join(node.path for node in shut)
        groups = sorted({node.group for node in shut})
        said = (
            f"{who} may not open {listed}: {'it belongs' if len(shut) == 1 else 'they belong'} to {', '.join(groups)}"
        )
        if all(node.gid in user.account for node in shut):
            remedy = "it is in that group since the agent was started: sudo systemctl restart lookout"
        else:
            remedy = f"sudo usermod -aG {','.join(groups)} {user.name}, then start the agent again"
        return (failed(NAME, said, remedy, **values),)
    shown = f"{who} is in {', '.join(group_names) or 'no group'}"
    if not nodes:
        return (skipped(NAME, f"{shown}; no device is needed", "", **values),)
    return (ok(NAME, f"{shown} and may open {', '.join(node.path for node in nodes[:6])}", **values),)
