"""``python -m tools.demo``: the whole product doing its job, in under three minutes, with every claim checked.

Exit status: 0 every claim was kept, 1 something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import structlog

from agent.errors import InputError, LookoutError
from tools.demo import assets, report
from tools.demo.screen import Screen, open_screen
from tools.demo.show import EMULATED, FULL, SHORT, Guest, Pace, Show

DEADLINE_S, OWN_DEADLINE_S = 175.0, 420.0
KEPT, FAILED, INTERRUPTED = 0, 1, 130


def main() -> int:
    """Run the demo and return the exit status."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.basicConfig(level=logging.ERROR)
    screen = open_screen(plain=options.plain)
    work = Path(tempfile.mkdtemp(prefix="lookout-demo-"))
    show = Show(screen, work, options.cache, _pace(options), options.deadline_s, _guest(options))
    try:
        status = _play(show, options.out)
    finally:
        screen.close()
    if options.keep or status == FAILED:
        screen.say(f"configuration, logs and registry of this run are kept in {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)
    return status


def _play(show: Show, out: Path) -> int:
    """Play the show, then show and write what came of it; returns the exit status."""
    started = time.monotonic()
    error: str | None = None
    interrupted = False
    try:
        _require_extras()
        show.play()
    except LookoutError as failure:
        error = failure.message
    except KeyboardInterrupt:
        error, interrupted = "interrupted", True
    seconds = time.monotonic() - started
    ok = error is None and show.ledger.all_kept
    show.screen.close()
    if not ok and not interrupted and show.agent is not None:
        show.screen.log_tail("agent", show.agent.tail())
    try:
        _write(show, out, ok=ok, seconds=seconds, error=error)
    except LookoutError as failure:
        error, ok = error or failure.message, False
    _last_word(show.screen, error, ok=ok, seconds=seconds)
    return INTERRUPTED if interrupted else KEPT if ok else FAILED


def _write(show: Show, out: Path, *, ok: bool, seconds: float, error: str | None) -> None:
    """Show the claims and write what stays. Raises :class:`~agent.errors.StorageError`."""
    if show.ledger.claims:
        report.show_claims(show.screen, show.ledger)
    written = [report.write_report(out, show.ledger, ok=ok, seconds=seconds, error=error)]
    if show.tape is not None and show.frames is not None:
        sheet = report.write_sheet(out, show.tape, show.frames, show.subject)
        written += [sheet] if sheet else []
    show.screen.say("written: " + ", ".join(str(path) for path in written))


def _last_word(screen: Screen, error: str | None, *, ok: bool, seconds: float) -> None:
    if ok:
        screen.say(f"every claim was kept, in {seconds:.0f} s")
    elif error == "interrupted":
        screen.say(f"interrupted after {seconds:.0f} s")
    else:
        screen.say(f"FAILED after {seconds:.0f} s: {error or 'not every claim was kept'}")


def _require_extras() -> None:
    if importlib.util.find_spec("amqtt") is None:
        raise InputError("amqtt is not installed: the demo needs the extra, pip install 'lookout-agent[demo]'")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo",
        description="Sign, publish, deploy, swap, refuse and recover, on a real model and real video.",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    parser.add_argument("--short", action="store_true", help="dwell less: the same acts with fewer frames, for CI")
    parser.add_argument(
        "--slow",
        type=float,
        metavar="N",
        help="for a machine that is N times slower, such as an emulated one: the fewest frames, N times the patience",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the picture and the report")
    parser.add_argument("--cache", type=Path, default=assets.default_cache(), help="folder that keeps the downloads")
    parser.add_argument("--keep", action="store_true", help="keep the working folder also when all went well")
    parser.add_argument("--deadline-s", type=float, help="seconds after which the demo gives up")
    parser.add_argument("--model", type=Path, help="a detector of one's own, ONNX; needs --video")
    parser.add_argument("--video", type=Path, help="a clip of one's own; needs --model")
    parser.add_argument("--labels", type=Path, help="names of the own model's classes, one a line")
    parser.add_argument("--input-size", help="WIDTHxHEIGHT, where the own model's file leaves it open")
    options = parser.parse_args()
    if (options.model is None) != (options.video is None):
        parser.error("--model and --video belong together: give both, or none for the demo's own")
    if options.deadline_s is None:
        options.deadline_s = (DEADLINE_S if options.model is None else OWN_DEADLINE_S) * (options.slow or 1)
    return options


def _pace(options: argparse.Namespace) -> Pace:
    if options.slow:
        return replace(EMULATED, patience=options.slow)
    return SHORT if options.short else FULL


def _guest(options: argparse.Namespace) -> Guest | None:
    if options.model is None:
        return None
    return Guest(options.model, options.video, options.labels, options.input_size)


if __name__ == "__main__":
    sys.exit(main())
