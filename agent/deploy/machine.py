"""The table of a deployment's states: what may follow what, and what to do about it.

One machine per pipeline. A driver calls :func:`step` with what happened, makes the state it returns
durable, and only then runs the action. A pair that is not in the table is a bug and fatal, never bad input:
whoever takes commands asks :func:`accepts` first. The values of :class:`State` are constants of the wire
and of the database: a name here may change, a value never. Pure: no I/O, no clock, no thread.
"""

from __future__ import annotations

import enum

from agent.errors import ProgrammingError


class State(enum.Enum):
    """Where a pipeline's deployment stands."""

    IDLE = "idle"
    RESOLVING = "resolving"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    TRIAL = "trial"
    SHADOW = "shadow"
    PROBATION = "probation"
    COMMITTED = "committed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    WAITING_FOR_CLOCK = "waiting_for_clock"
    DEFERRED = "deferred"


class Signal(enum.Enum):
    """What happened."""

    DEPLOY = "deploy"
    RESUME = "resume"
    LATER = "later"
    DUE = "due"
    CLOCK_UNTRUSTED = "clock_untrusted"
    CLOCK_TRUSTED = "clock_trusted"
    RESOLVED = "resolved"
    FETCHED = "fetched"
    ALREADY_CURRENT = "already_current"
    VERIFIED = "verified"
    PASSED = "passed"
    TO_SHADOW = "to_shadow"
    AGREED = "agreed"
    FAULT = "fault"
    SUPERSEDE = "supersede"
    CANCEL = "cancel"
    COMMIT = "commit"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class Action(enum.Enum):
    """What the driver does once the new state is durable."""

    NONE = "none"
    WAIT = "wait"
    FETCH = "fetch"
    VERIFY = "verify"
    TRY = "try"
    SHADOW = "shadow"
    SWAP = "swap"
    KEEP = "keep"
    ABANDON = "abandon"
    SWAP_BACK = "swap_back"
    LOAD_CURRENT = "load_current"


TERMINAL = frozenset({State.IDLE, State.COMMITTED, State.FAILED, State.ROLLED_BACK, State.SUPERSEDED, State.CANCELLED})
"""States in which nothing is under way: they end only by a new signal from outside."""

BEFORE_PROBATION = frozenset(State) - TERMINAL - {State.PROBATION}
"""States in which current is untouched: a newer deploy supersedes, a cancel cancels, a kill starts again."""

URGENT = frozenset({Action.SWAP_BACK, Action.ABANDON, Action.LOAD_CURRENT})
"""Actions that keep the device seeing, or only tidy up: they happen even when the journal cannot be written."""


def _start(state: State) -> dict[tuple[State, Signal], tuple[State, Action]]:
    """From rest: begin a deployment, or give the current release up for the previous one."""
    return {
        (state, Signal.DEPLOY):   (State.RESOLVING, Action.FETCH),
        (state, Signal.LATER):    (State.DEFERRED, Action.WAIT),
        (state, Signal.WITHDRAW): (State.ROLLED_BACK, Action.LOAD_CURRENT),
    }  # fmt: skip


def _under_way(state: State) -> dict[tuple[State, Signal], tuple[State, Action]]:
    """Before probation: every step can fail, and current is untouched whatever happens.

    A WITHDRAW (current died for the third time) leaves the deployment going on: it may be the remedy. RESUME is boot's.
    """
    return {
        (state, Signal.FAULT):     (State.FAILED, Action.ABANDON),
        (state, Signal.SUPERSEDE): (State.SUPERSEDED, Action.ABANDON),
        (state, Signal.CANCEL):    (State.CANCELLED, Action.ABANDON),
        (state, Signal.WITHDRAW):  (state, Action.LOAD_CURRENT),
        (state, Signal.RESUME):    (State.RESOLVING, Action.FETCH),
    }  # fmt: skip


TRANSITIONS: dict[tuple[State, Signal], tuple[State, Action]] = {
    **_start(State.IDLE),
    **_start(State.COMMITTED),
    **_start(State.FAILED),
    **_start(State.ROLLED_BACK),
    **_start(State.SUPERSEDED),
    **_start(State.CANCELLED),

    **_under_way(State.DEFERRED),
    (State.DEFERRED, Signal.DUE):                    (State.RESOLVING, Action.FETCH),

    **_under_way(State.RESOLVING),
    (State.RESOLVING, Signal.CLOCK_UNTRUSTED):       (State.WAITING_FOR_CLOCK, Action.WAIT),
    (State.RESOLVING, Signal.RESOLVED):              (State.FETCHING, Action.NONE),      # the same job goes on
    (State.RESOLVING, Signal.FETCHED):               (State.VERIFYING, Action.VERIFY),   # all of it was in the store
    (State.RESOLVING, Signal.ALREADY_CURRENT):       (State.COMMITTED, Action.NONE),

    **_under_way(State.WAITING_FOR_CLOCK),
    (State.WAITING_FOR_CLOCK, Signal.CLOCK_TRUSTED): (State.RESOLVING, Action.FETCH),

    **_under_way(State.FETCHING),
    (State.FETCHING, Signal.FETCHED):                (State.VERIFYING, Action.VERIFY),
    (State.FETCHING, Signal.ALREADY_CURRENT):        (State.COMMITTED, Action.NONE),

    **_under_way(State.VERIFYING),
    (State.VERIFYING, Signal.VERIFIED):              (State.TRIAL, Action.TRY),

    **_under_way(State.TRIAL),
    (State.TRIAL, Signal.PASSED):                    (State.PROBATION, Action.SWAP),
    (State.TRIAL, Signal.TO_SHADOW):                 (State.SHADOW, Action.SHADOW),

    **_under_way(State.SHADOW),
    (State.SHADOW, Signal.AGREED):                   (State.PROBATION, Action.SWAP),

    # Probation has no FAULT: whatever goes wrong from here on is a verdict, and undoes the swap.
    # It has no SUPERSEDE or CANCEL either: a newer deploy is refused as busy, the operator may WITHDRAW.
    (State.PROBATION, Signal.COMMIT):                (State.COMMITTED, Action.KEEP),
    (State.PROBATION, Signal.REJECT):                (State.ROLLED_BACK, Action.SWAP_BACK),
    (State.PROBATION, Signal.WITHDRAW):              (State.ROLLED_BACK, Action.SWAP_BACK),
}  # fmt: skip


class Resume(enum.Enum):
    """What boot makes of the state that it finds in the journal."""

    SERVE = "serve"
    """Serve current; nothing was under way."""
    WAIT = "wait"
    """Serve current; the deployment waits for its time, as before."""
    AGAIN = "again"
    """Serve current, and start the same deployment again: the operator's intent survives."""
    JUDGE = "judge"
    """The candidate was serving on probation: ``bootguard`` decides."""


RESUME: dict[State, Resume] = {
    State.IDLE:              Resume.SERVE,
    State.COMMITTED:         Resume.SERVE,
    State.FAILED:            Resume.SERVE,
    State.ROLLED_BACK:       Resume.SERVE,
    State.SUPERSEDED:        Resume.SERVE,   # its successor was journalled in the next transaction, or never accepted
    State.CANCELLED:         Resume.SERVE,
    State.DEFERRED:          Resume.WAIT,    # nothing of it has begun, so nothing of it was interrupted
    State.RESOLVING:         Resume.AGAIN,
    State.WAITING_FOR_CLOCK: Resume.AGAIN,
    State.FETCHING:          Resume.AGAIN,   # what was fetched lies in the store: this costs little
    State.VERIFYING:         Resume.AGAIN,
    State.TRIAL:             Resume.AGAIN,   # a trial that kills the host is counted by bootguard, and ends
    State.SHADOW:            Resume.AGAIN,
    State.PROBATION:         Resume.JUDGE,
}  # fmt: skip


def accepts(state: State, signal: Signal) -> bool:
    """Return whether ``signal`` may come in ``state``."""
    return (state, signal) in TRANSITIONS


def step(state: State, signal: Signal) -> tuple[State, Action]:
    """Return the next state and what to do once it is durable.

    Raises :class:`ProgrammingError` for a pair that the table does not hold.
    """
    try:
        return TRANSITIONS[state, signal]
    except KeyError:
        raise ProgrammingError(f"deployment: state {state.value!r} does not take {signal.value!r}") from None
