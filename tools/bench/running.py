"""Running a case: what every case has in common, from the check of what it needs to the record that is kept."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from agent.clock import rfc3339, utc_ms
from agent.errors import LookoutError
from tools.bench.case import Bench, CannotRun, Case, Outcome
from tools.bench.host import describe
from tools.bench.quiet import Others
from tools.bench.record import SCHEMA, Record, keep

BREAKS = (LookoutError, TimeoutError, OSError, subprocess.SubprocessError)
"""How a case breaks off: bad input, a wait that did not end, a file or a process that is not as it should be."""

BUSY_CORES = 0.1
"""Above this, what others used of the machine disturbs a figure: the page says so."""


def run(case: Case, bench: Bench, settings: msgspec.Struct) -> Record:
    """Run a case and keep its record. Raises what the case raises, :class:`CannotRun` and InputError among it."""
    for path in case.needs:
        bench.need(path)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(case.log_level))
    at, load, started = rfc3339(utc_ms()), os.getloadavg()[0], time.monotonic()
    with Others() as others:
        outcome = case.run(bench, settings)
    took_s = time.monotonic() - started
    record = _record(case, settings, outcome, at=at, load=load, took_s=took_s, others_cores=others.cores)
    keep(record, bench.out)
    return record


def run_all(
    cases: Sequence[Case], bench_of: Callable[[int, Case], Bench], *, quick: bool, done: Callable[[Record], None]
) -> tuple[Record, ...]:
    """Run cases in turn, each with its defaults (or quick) settings.

    What this host lacks, and what broke off, is told in the record: the others are measured all the same.
    """
    records = []
    for number, case in enumerate(cases):
        settings = case.quick if quick and case.quick is not None else case.settings
        bench = bench_of(number, case)
        try:
            record = run(case, bench, settings)
        except CannotRun as error:
            record = msgspec.structs.replace(_empty(case, settings), lacking=error.message)
            keep(record, bench.out)
        except BREAKS as error:
            record = msgspec.structs.replace(_empty(case, settings), failed=f"{type(error).__name__}: {error}")
            keep(record, bench.out)
        done(record)
        records.append(record)
    return tuple(records)


def _empty(case: Case, settings: msgspec.Struct) -> Record:
    nothing = Outcome(figures=(), report=None)
    return _record(case, settings, nothing, at=rfc3339(utc_ms()), load=os.getloadavg()[0], took_s=0, others_cores=0)


def _record(
    case: Case,
    settings: msgspec.Struct,
    outcome: Outcome,
    *,
    at: str,
    load: float,
    took_s: float,
    others_cores: float,
) -> Record:
    return Record(
        schema=SCHEMA,
        case=case.name,
        title=case.title,
        at=at,
        took_s=round(took_s, 1),
        quick=settings == case.quick,
        host=describe(outcome.versions),
        load=load,
        others_cores=others_cores if outcome.others_cores is None else outcome.others_cores,
        settings=settings,
        figures=outcome.figures,
        tables=outcome.tables,
        remarks=outcome.remarks,
        report=outcome.report,
    )
