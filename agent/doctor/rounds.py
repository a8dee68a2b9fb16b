"""The doctor's round: every check on a thread of its own (``lookout-doctor-<name>``), each with its deadline.

A check that hangs is told as such when its time is up and left behind; one that breaks is told with its error. Neither
keeps another one waiting, and the whole round ends with the longest deadline.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

from agent.doctor.case import Case
from agent.doctor.checks import Check, Helpers
from agent.doctor.findings import Finding, failed
from agent.errors import LookoutError

Progress = Callable[[int, int, tuple[str, ...]], None]
"""Told of how many checks of how many are done, and which are not."""

_Answer = tuple[Check, tuple[Finding, ...]]


def go(checks: Sequence[Check], case: Case, helpers: Helpers, progress: Progress) -> tuple[Finding, ...]:
    """Run all of them; return what they found, in their order."""
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    began = time.monotonic()
    for check in checks:
        arguments = (check, case, helpers, answers)
        threading.Thread(target=_run, args=arguments, name=f"lookout-doctor-{check.name}", daemon=True).start()
    found: dict[Check, tuple[Finding, ...]] = {}
    while waiting := [check for check in checks if check not in found]:
        progress(len(found), len(checks), tuple(check.name for check in waiting))
        first = min(waiting, key=lambda check: check.deadline_s)
        try:
            check, findings = answers.get(timeout=max(0.0, began + first.deadline_s - time.monotonic()))
        except queue.Empty:
            check, findings = first, (_hung(first),)
        found.setdefault(check, findings)
    return tuple(finding for check in checks for finding in found[check])


def _run(check: Check, case: Case, helpers: Helpers, answers: queue.SimpleQueue[_Answer]) -> None:
    try:
        findings = check(case, helpers)
    except LookoutError as error:
        findings = (failed(check.name, error.message, ""),)
    except Exception as error:  # the thread's last line: a check that breaks must not keep the others from being told
        findings = (_broken(check, error),)
    answers.put((check, findings))


def _hung(check: Check) -> Finding:
    return failed(check.name, f"no answer within {check.deadline_s:g} s: what it looks at hangs", "look at it by hand")


def _broken(check: Check, error: Exception) -> Finding:
    said = f"this check itself failed, which says nothing about the device: {type(error).__name__}: {error}"
    return Finding(check.name, "skipped", said, "please report it", broken=True)
