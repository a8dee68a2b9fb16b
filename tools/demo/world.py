"""What every act of the demo stands on: the world it plays in, commands, and waits with a deadline.

Nothing is believed that did not come over the broker, but for what only the host can show: which processes live.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.deploy.machine import TERMINAL, State
from agent.link.messages import CameraState, CommandResult, Deploy, Detections
from tools.demo import device
from tools.demo.failure import DemoFailed
from tools.demo.ledger import Ledger
from tools.demo.operator import Heard, Operator, describe
from tools.demo.processes import Running
from tools.demo.screen import Screen
from tools.demo.subject import FACES, Subject

ANSWER_TIMEOUT_S = 15.0
START_TIMEOUT_S = 30.0
DEPLOY_TIMEOUT_S = 60.0
FRAME_TIMEOUT_S = 10.0


@dataclass
class World:
    """Everything an act needs. ``watch_frames``: how many frames to look on before going on.

    ``patience``: how many times longer than elsewhere everything may take here.
    """

    screen: Screen
    ledger: Ledger
    operator: Operator
    agent: Running
    watch_frames: int
    subject: Subject = FACES
    patience: float = 1.0

    def alive(self) -> None:
        """Raise when the agent has ended."""
        device.require_alive(self.agent)

    def claim(self, claimed: str, seen: str, *, kept: bool) -> None:
        """Enter a claim and show it."""
        self.ledger.claim(claimed, seen, kept=kept)
        self.screen.verdict(kept=kept, claimed=claimed, seen=seen)


def await_device(world: World) -> None:
    """Wait until the device is online and its camera streams."""
    tape = world.operator.tape
    tape.wait(
        0,
        str,
        lambda text: text == "online",
        timeout_s=START_TIMEOUT_S * world.patience,
        what="the agent to connect",
        alive=world.alive,
    )
    _, state = tape.wait(
        0,
        CameraState,
        lambda camera: camera.health == "streaming",
        timeout_s=START_TIMEOUT_S * world.patience,
        what=f"camera {world.subject.camera} to stream",
        alive=world.alive,
    )
    world.screen.say(
        f"device {device.DEVICE!r} is online, camera {world.subject.camera!r} is {state.health}; no model yet"
    )


@dataclass(frozen=True)
class Deployed:
    """A deployment that has ended: the tape's position and the instant before its command, how and when it ended."""

    position: int
    started_s: float
    end: Deploy
    ended_s: float

    @property
    def seconds(self) -> float:
        """From the command to the end."""
        return self.ended_s - self.started_s


def deploy(world: World, version: str) -> Deployed:
    """Command a deployment and wait for its end. Raises :class:`DemoFailed`."""
    tape = world.operator.tape
    reference = world.subject.reference(version)
    before, started = tape.position, time.monotonic()
    command = world.operator.command("model/deploy", {"pipeline": world.subject.pipeline, "reference": reference})
    world.screen.say(f"operator → cmd/model/deploy {reference}")
    _, answer = tape.wait(
        before,
        CommandResult,
        lambda result: result.id == command,
        timeout_s=ANSWER_TIMEOUT_S * world.patience,
        what=f"the answer to the deployment of {reference}",
        alive=world.alive,
    )
    if not answer.ok:
        raise DemoFailed(f"the device refused the command to deploy {reference}: {answer.error}")
    heard, end = tape.wait(
        before,
        Deploy,
        lambda status: status.reference == reference and status.state in TERMINAL,
        timeout_s=DEPLOY_TIMEOUT_S * world.patience,
        what=f"the end of the deployment of {reference}",
        alive=world.alive,
    )
    return Deployed(before, started, end, heard.at_s)


def watch(world: World, version: str, frames: int) -> list[tuple[Heard, Detections]]:
    """Look on until ``frames`` more frames were answered by ``version``. Raises :class:`DemoFailed`."""
    tape = world.operator.tape
    position = tape.position
    wanted = world.subject.reference(version)
    seen = 0

    def enough(message: Detections) -> bool:
        nonlocal seen
        seen += message.model == wanted
        return seen >= frames

    tape.wait(
        position,
        Detections,
        enough,
        timeout_s=(FRAME_TIMEOUT_S + frames / 5) * world.patience,
        what=f"{frames} frames answered by {wanted}",
        alive=world.alive,
    )
    return [(heard, message) for heard, message in tape.since(position, Detections) if message.model == wanted]


def captured_at(message: Detections) -> float:
    """Return when the frame was captured, Unix seconds."""
    return datetime.datetime.fromisoformat(message.at.replace("Z", "+00:00")).timestamp()


def longest_pause_s(since_s: float, seen: list[tuple[Heard, Detections]]) -> float:
    """Return the longest time without a message from ``since_s`` to the last of ``seen``; infinite without any."""
    times = [since_s, *(heard.at_s for heard, _ in seen)]
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=float("inf"))


def require_state(end: Deploy, state: State) -> None:
    """Raise :class:`DemoFailed` unless the deployment ended so."""
    if end.state is not state:
        raise DemoFailed(f"expected the deployment to end as {state.value}; the device says: {describe(end)}")


def live_line(screen: Screen, noun: str = FACES.noun) -> Callable[[Heard], None]:
    """Return a listener that shows what the device sees at this moment."""

    def show(heard: Heard) -> None:
        said = heard.said
        if isinstance(said, Detections):
            count = len(said.detections) if said.detections else 0
            screen.live(f"{said.model}  frame {said.frame}  {noun}: {count}  {said.latency_ms:.1f} ms from capture")
        elif isinstance(said, Deploy):
            screen.live(f"deployment: {describe(said)}")

    return show
