"""Who runs the agent, with which groups, and which processes are agents."""

from __future__ import annotations

import contextlib
import grp
import itertools
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from agent.doctor.judge.access import User
from agent.doctor.judge.service import Running
from agent.doctor.look.systemd import Unit


def user_of(pid: int | None, unit: Unit) -> User:
    """Return the user of the agent that runs, else of the unit, else the one who asks."""
    if pid is not None and (found := _of_process(pid)) is not None:
        return found
    if unit.installed and unit.get("User"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(unit.get("User"))
            groups = _on_paper(account) | {_gid(name) for name in unit.get("SupplementaryGroups").split()}
            return User(account.pw_name, account.pw_uid, groups, "the service's user", groups)
    uid = os.geteuid()
    return User(name_of(uid), uid, frozenset({os.getegid(), *os.getgroups()}), "who asks")


def _of_process(pid: int) -> User | None:
    """Return the user of a process, with the groups that it really has."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    uid, gid = int(found["Uid"][1]), int(found["Gid"][1])
    groups = frozenset({gid, *map(int, found.get("Groups", []))})
    account: frozenset[int] = frozenset()
    with contextlib.suppress(KeyError):
        account = _on_paper(pwd.getpwuid(uid))
    return User(name_of(uid), uid, groups, f"the agent, pid {pid}", account)


def _on_paper(account: pwd.struct_passwd) -> frozenset[int]:
    return frozenset(os.getgrouplist(account.pw_name, account.pw_gid))


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


def name_of(uid: int) -> str:
    """Return a user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(gid: int) -> str:
    """Return a group's name, or the number where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def agents() -> tuple[Running, ...]:
    """Return every process of this host that runs an agent, as far as this user sees them."""
    return tuple(
        Running(pid, " ".join(words[words.index("run") + 1 :]) or "run")
        for pid, words in _processes()
        if _is_agent(words)
    )


def _is_agent(words: list[str]) -> bool:
    """Tell whether a command line is that of ``lookout run``."""
    for first, second in itertools.pairwise(words):
        if second == "run" and (Path(first).name == "lookout" or first == "agent"):
            return True
    return False


def holders(path: Path) -> tuple[str, ...]:
    """Return the programs that have a file open, as far as this user may look: others' are found by root only."""
    wanted, found = os.path.realpath(path), []
    for pid, words in _processes():
        with contextlib.suppress(OSError):
            if any(os.path.realpath(fd) == wanted for fd in Path(f"/proc/{pid}/fd").iterdir()):
                found.append(f"{Path(words[0]).name} (pid {pid})")
    return tuple(found)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Give each process but this one, with its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if words != [""] and int(folder.name) != os.getpid():
                yield int(folder.name), words
