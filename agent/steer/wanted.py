"""What ``desired`` wants: configuration and models, taken whole or not at all, and only where it is newer. One thread.

A stale one is passed over: being retained, it comes again with each connection. One that was undone is not tried again;
one that was wrong is looked at again each time, because another version of the agent, or another file, may make it
right. While a change is on probation the newest waits. Its models are keys of their pipelines, so that the deployer is
told of them with the configuration; what it wants as before and was rolled back or failed since is ordered anew here.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from agent.config import desired as overlays
from agent.config.record import ConfigRecord
from agent.deploy.machine import TERMINAL, State
from agent.deploy.records import Accepted, DeploymentStatus
from agent.errors import LookoutError
from agent.link.messages import Desired, KeyProblem
from agent.steer.changer import Changer
from agent.steer.inforce import InForce, canonical, not_taken
from agent.steer.proposals import BadDesired, Composer, read_desired
from agent.types import PipelineName

log = structlog.get_logger(part="config")


class Deployments(Protocol):
    """What is needed of the deployer."""

    def deploy(self, pipeline: PipelineName, reference: str) -> Accepted:
        """Take a deploy on; raises LookoutError where it is refused."""
        ...

    def status(self) -> tuple[DeploymentStatus, ...]:
        """Return where each pipeline stands; never blocks."""
        ...


class Wanted:
    """See the module."""

    def __init__(self, changer: Changer, composer: Composer, record: ConfigRecord, deployments: Deployments) -> None:
        self._changer = changer
        self._composer = composer
        self._record = record
        self._deployments = deployments
        self._waiting: Desired | None = None

    def receive(self, payload: bytes) -> None:
        """Take what came on ``desired``."""
        if not payload:
            log.info("desired.cleared")  # what it wanted stays, until something else is wanted
            return
        try:
            self._take(read_desired(payload))
        except BadDesired as error:
            log.warning("desired.refused", reason=error.message)
            self._changer.note(errors=KeyProblem.all_of(error), refused=None)

    def go_on(self) -> None:
        """Take what waited for the end of a probation."""
        message, self._waiting = self._waiting, None
        if message is not None:
            self._take(message)

    def look_at_models(self) -> None:
        """Take note of what became of the models that are wanted."""
        now = self._changer.now
        models = not_taken(now.overlay, self._deployments.status())
        if models != now.models:
            self._changer.note(models=models)

    def _take(self, message: Desired) -> None:
        changer, stamp = self._changer, (message.epoch, message.version)
        if changer.now.pending is not None:
            if self._waiting is None or stamp > (self._waiting.epoch, self._waiting.version):
                self._waiting = message
            return
        was = changer.now
        try:
            overlay = overlays.desired(was.overlay, message, self._record.refused_desired)
            if overlay is None:
                log.debug("desired.stale", epoch=message.epoch, version=message.version)
                return
            changer.take(self._composer.propose("desired", "desired", overlay, was.text))
        except LookoutError as error:
            log.warning("desired.refused", epoch=message.epoch, version=message.version, reason=error.message)
            changer.note(errors=KeyProblem.all_of(error), refused=stamp)
        else:
            self._deploy_again(was)

    def _deploy_again(self, was: InForce) -> None:
        now, statuses = self._changer.now, {str(one.pipeline): one for one in self._deployments.status()}
        for name, reference in now.overlay.models.items():
            pipeline, status = was.loaded.config.pipelines.get(name), statuses.get(name)
            if status is None or pipeline is None or pipeline.model != reference:
                continue  # it changed: the deployer was told with the configuration
            if status.reference == canonical(reference) and _is_well(status.state):
                continue
            try:
                self._deployments.deploy(PipelineName(name), reference)
            except LookoutError as error:
                problem = KeyProblem(f"models.{name}", reference, error.message)
                self._changer.note(errors=(*self._changer.now.errors, problem))
        self.look_at_models()


def _is_well(state: State) -> bool:
    """Tell whether a deployment is under way, or ended as it should."""
    return state not in TERMINAL or state is State.COMMITTED
