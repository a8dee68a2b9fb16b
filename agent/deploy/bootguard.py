"""What to do at boot about what the journal says was going on.

An end of the agent is *unexplained* when no clean-stop mark was left. On the same kernel boot (same ``boot_id``) the
candidate on probation is the first suspect: the second such end rolls back and quarantines. Across a reboot of the
host a power cut is likelier: those count apart, the third rolls back without a verdict on the model. A deployment cut
off before probation starts again, but not for ever: a trial that takes the host down each time ends as failed. Writes
are one a boot, so a reboot loop ends. Whatever was under way: after several crashes in ten minutes the agent starts in
safe mode, with the previous model, until it ran well for a while or another release was committed. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from agent.clock import NS_PER_S
from agent.deploy.machine import RESUME, Resume, State
from agent.deploy.row import Row

AGENT_DEATHS = 2
REBOOT_DEATHS = 3
INTERRUPTIONS = 3
CRASH_WINDOW_NS = 600 * NS_PER_S


class Boot(msgspec.Struct, frozen=True):
    """How this start relates to the last. ``counter`` counts the agent's starts.

    ``crashes``: when, on this boot of the kernel (monotonic ns), the agent was started after an unexplained end.
    """

    same_boot: bool
    clean_stop: bool
    counter: int
    crashes: tuple[int, ...] = ()


def recent(crashes: Iterable[int], now_ns: int) -> tuple[int, ...]:
    """Return the crashes that still count."""
    return tuple(at for at in crashes if 0 <= now_ns - at < CRASH_WINDOW_NS)


def safe_mode(boot: Boot, limit: int) -> str | None:
    """Return why this start is one in safe mode, in words, else None. ``limit`` crashes are too many; 0: never."""
    if limit == 0 or len(boot.crashes) < limit:
        return None
    return f"safe mode: the agent crashed {len(boot.crashes)} times in ten minutes; the previous model serves"


class Do(enum.Enum):
    """What boot does with one pipeline."""

    SERVE = enum.auto()
    """Serve current, if there is one."""
    WAIT = enum.auto()
    """Serve current; the deferred deployment waits on."""
    AGAIN = enum.auto()
    """Serve current, and start the interrupted deployment again."""
    GIVE_UP = enum.auto()
    """Serve current; the interrupted deployment has failed."""
    RETRY = enum.auto()
    """Serve current, then the candidate on a new probation."""
    ROLL_BACK = enum.auto()
    """Serve current; the candidate is rolled back and its digest quarantined."""
    ROLL_BACK_UNJUDGED = enum.auto()
    """Serve current; the candidate is rolled back, and may be deployed again."""


class Plan(msgspec.Struct, frozen=True):
    """``row`` carries the new counters and must be durable before anything is started."""

    do: Do
    row: Row
    reason: str | None = None


def _judge(row: Row, boot: Boot) -> Plan:
    """Decide about a candidate that was on probation."""
    if row.unload_first:  # to try it again would mean to load both
        return Plan(
            Do.ROLL_BACK_UNJUDGED, row, "stopped in its probation, with no memory for both; deploy it again to retry"
        )
    if boot.clean_stop:
        return Plan(Do.RETRY, row, "probation begins anew: the agent was stopped in it")
    if boot.same_boot:
        row = msgspec.structs.replace(row, agent_deaths=row.agent_deaths + 1)
        if row.agent_deaths >= AGENT_DEATHS:
            return Plan(Do.ROLL_BACK, row, f"bad: the agent died {row.agent_deaths} times in its probation")
        return Plan(Do.RETRY, row, "probation begins anew: the agent died in it")
    row = msgspec.structs.replace(row, reboot_deaths=row.reboot_deaths + 1)
    if row.reboot_deaths >= REBOOT_DEATHS:
        return Plan(Do.ROLL_BACK_UNJUDGED, row, f"the host went down {row.reboot_deaths} times in its probation")
    return Plan(Do.RETRY, row, "probation begins anew: the host went down in it")


def _again(row: Row, boot: Boot) -> Plan:
    """Decide about a deployment that was cut off before probation."""
    if boot.clean_stop or row.state is State.WAITING_FOR_CLOCK:  # waiting for the time takes no host down
        return Plan(Do.AGAIN, row)
    row = msgspec.structs.replace(row, interruptions=row.interruptions + 1)
    if row.interruptions >= INTERRUPTIONS:
        return Plan(
            Do.GIVE_UP, row, f"interrupted {row.interruptions} times while {row.state.value}; deploy it again to retry"
        )
    return Plan(Do.AGAIN, row)


def plan(row: Row, boot: Boot) -> Plan:
    """Return what to do about ``row`` at this ``boot``."""
    resume = RESUME[row.state]
    if resume is Resume.WAIT:
        return Plan(Do.WAIT, row)
    if resume is Resume.JUDGE:
        return _judge(row, boot)
    return _again(row, boot) if resume is Resume.AGAIN else Plan(Do.SERVE, row)
