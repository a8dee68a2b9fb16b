"""What the demo's operator does with the device, and what it demands to hear.

Each act sends commands, waits for the device's own messages, and enters claims in the ledger.
"""

from __future__ import annotations

import itertools
import signal
import time
from dataclasses import dataclass

import msgspec
import psutil

from agent.deploy.machine import State
from agent.deploy.records import Receipt
from agent.link.messages import Detections
from tools.demo import device, releases
from tools.demo.failure import DemoFailed
from tools.demo.world import (
    ANSWER_TIMEOUT_S,
    World,
    captured_at,
    deploy,
    longest_pause_s,
    require_state,
    watch,
)

LONGEST_PAUSE_S = 1.0
"""Between two results while a bad release is tried: the cameras must not be left alone for longer."""
RECOVERY_LIMIT_S = 5.0


@dataclass(frozen=True)
class Attempt:
    """A release that must be refused; one of ``words`` must be in the reason."""

    version: str
    title: str
    words: tuple[str, ...]


ATTEMPTS = (
    Attempt(releases.TAMPERED, "one byte of its blob was flipped after signing", ("sha256", "sha-256", "digest")),
    Attempt(releases.LYING, "its golden boxes lie", ("golden", "expected", "matched")),
    Attempt(releases.NAN, "its graph answers NaN", ("finite", "nan")),
)


def first_model(world: World) -> None:
    """Deploy the float release to a device that has none."""
    done = deploy(world, releases.FLOAT)
    require_state(done.end, State.COMMITTED)
    world.claim(
        f"{world.subject.reference(releases.FLOAT)} is fetched, verified, tried and committed",
        f"{done.end.state.value} after {done.seconds:.1f} s",
        kept=True,
    )
    seen = watch(world, releases.FLOAT, world.watch_frames)
    while not any(message.detections for _, message in seen) and len(seen) < world.subject.patience_frames:
        seen += watch(world, releases.FLOAT, world.watch_frames)
    rate = (len(seen) - 1) / (seen[-1][0].at_s - seen[0][0].at_s)
    hits = sum(bool(message.detections) for _, message in seen)
    words = f"{rate:.0f} frames a second, {world.subject.sight} in {hits} of {len(seen)}"
    world.claim("detections arrive", words, kept=hits > 0)


def swap(world: World) -> Receipt:
    """Replace the float release by INT8 while frames flow, and read the receipt."""
    done = deploy(world, releases.INT8)
    require_state(done.end, State.COMMITTED)
    receipt = done.end.receipt
    if receipt is None:
        raise DemoFailed(f"the deployment of {world.subject.reference(releases.INT8)} was committed without a receipt")
    world.claim(
        f"{world.subject.reference(releases.INT8)} is swapped in and committed",
        f"{done.end.state.value} after {done.seconds:.1f} s",
        kept=True,
    )
    world.claim("the swap loses no frame", f"lost {receipt.lost}, skipped {receipt.skipped}", kept=receipt.lost == 0)
    _claim_gap(world, receipt)
    _claim_continuity(world, receipt)
    old, new = receipt.latency_ms.before, receipt.latency_ms.after
    if old is not None and new is not None:
        world.screen.say(
            f"time in the worker, median: {old.p50:.1f} ms before (float), {new.p50:.1f} ms after (INT8); "
            f"p95 {old.p95:.1f} → {new.p95:.1f} ms"
        )
    world.ledger.figures["receipt"] = msgspec.to_builtins(receipt)
    return receipt


def _claim_gap(world: World, receipt: Receipt) -> None:
    """No frame late by more than one frame's own time in the worker and the interval that a live camera may wait."""
    slowest = max(
        (latency.p95 for latency in (receipt.latency_ms.before, receipt.latency_ms.after) if latency), default=0.0
    )
    limit = slowest + 1000 / world.subject.fps
    gap = receipt.gap_ms
    world.claim(
        "the swap delays no frame by more than a frame",
        "no gap was measured" if gap is None else f"gap {gap:.1f} ms (a frame takes up to {slowest:.0f} ms)",
        kept=gap is not None and gap <= limit,
    )


def _claim_continuity(world: World, receipt: Receipt) -> None:
    """Count for ourselves: every frame's number between the last of the old model and the first of the new."""
    seen = [message for _, message in world.operator.tape.since(0, Detections)]
    new = world.subject.reference(releases.INT8)
    at = next((place for place, message in enumerate(seen) if message.model == new), 0)
    if at == 0:
        raise DemoFailed(f"no frame of the old model was seen before the swap, or none of {new} after it")
    last, first = seen[at - 1].frame, seen[at].frame
    missing = first - last - 1
    world.claim(
        "the operator misses no frame either",
        f"frame {last} came from {seen[at - 1].model}, frame {first} from {seen[at].model}",
        kept=0 <= missing <= receipt.skipped,
    )


def refuse(world: World, attempt: Attempt) -> None:
    """Deploy a bad release; it must be refused for the right reason while the good one goes on."""
    done = deploy(world, attempt.version)
    end, seconds = done.end, done.seconds
    reason = end.reason or "no reason was given"
    right = end.state is State.FAILED and any(word in reason.lower() for word in attempt.words)
    reference = world.subject.reference(attempt.version)
    world.claim(
        f"{reference} is refused: {attempt.title}", f"{end.state.value} after {seconds:.1f} s: {reason}", kept=right
    )
    watch(world, releases.INT8, 5)
    seen = world.operator.tape.since(done.position, Detections)
    pause = longest_pause_s(done.started_s, seen)
    current = end.current.version if end.current else "none"
    others = sorted({message.model for _, message in seen} - {world.subject.reference(releases.INT8)})
    world.claim(
        f"meanwhile {world.subject.reference(releases.INT8)} goes on",
        f"{len(seen)} frames, longest pause {pause * 1000:.0f} ms" + (f", but also {others}" if others else ""),
        kept=not others and pause <= LONGEST_PAUSE_S * world.patience and current == releases.INT8,
    )
    world.ledger.figures.setdefault("refused", {})[reference] = {
        "reason": reason,
        "seconds": round(seconds, 2),
        "frames_meanwhile": len(seen),
        "longest_pause_ms": round(pause * 1000, 1),
    }


def kill_worker(world: World) -> None:
    """SIGKILL the process in which the model runs, and wait to see again."""
    limit_s = RECOVERY_LIMIT_S * world.patience
    victim = _only_worker(world)
    position, killed_mono, killed_unix = world.operator.tape.position, time.monotonic(), time.time()
    victim.send_signal(signal.SIGKILL)
    world.screen.say(f"kill -9 {victim.pid} (the worker; the agent itself is {world.agent.pid})")
    heard, message = world.operator.tape.wait(
        position,
        Detections,
        lambda seen: captured_at(seen) > killed_unix,
        timeout_s=limit_s * 3,
        what="the first detection after the worker was killed",
        alive=world.alive,
    )
    seconds = heard.at_s - killed_mono
    successor = _only_worker(world)
    world.claim(
        f"a killed worker is replaced within {limit_s:g} s",
        f"seeing again after {seconds:.2f} s, with {message.model} in process {successor.pid}",
        kept=seconds <= limit_s
        and message.model == world.subject.reference(releases.INT8)
        and successor.pid != victim.pid,
    )
    world.ledger.figures["recovery_s"] = round(seconds, 3)
    watch(world, releases.INT8, 10)


def _only_worker(world: World) -> psutil.Process:
    """Return the worker that serves, once those of refused and replaced releases are gone."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S * world.patience
    while len(family := device.workers(world.agent)) != 1:
        world.alive()
        if time.monotonic() > deadline:
            raise DemoFailed(f"expected one worker process after the commit, found {len(family)}")
        psutil.wait_procs(family, timeout=0.2)
    return family[0]


def claim_order(world: World) -> None:
    """Over the whole show: every frame was answered at most once, and in order."""
    frames = [message.frame for _, message in world.operator.tape.since(0, Detections)]
    wrong = sum(later <= earlier for earlier, later in itertools.pairwise(frames))
    world.claim(
        "every frame is answered once and in order",
        f"{len(frames)} frames, {wrong} out of order" if wrong else f"{len(frames)} frames, all in order",
        kept=bool(frames) and not wrong,
    )
