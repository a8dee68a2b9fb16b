"""At a variant's first trial on a host: measure under which options ONNX Runtime runs it best. Blocks: job lanes only.

In a process of its own, before the worker of the trial is started, so that neither that one's memory nor the trial's
verdicts are touched. What is measured is remembered; which options are *taken* is decided anew at each load, by what
the pipeline needs (:mod:`agent.infer.tuning`, asked by :class:`agent.deploy.loading.Loader`). Whatever fails here
speaks against nobody: the model is then run as configured, and the trial will say what is wrong with it.
"""

from __future__ import annotations

import structlog

from agent.deploy.lanes import Cancel, Cancelled
from agent.deploy.loading import CPU, Loader
from agent.deploy.pictures import timing_pictures
from agent.deploy.ports import TunePort
from agent.deploy.records import DeploySettings
from agent.deploy.tunings import Tuning, Tunings
from agent.errors import LookoutError
from agent.infer.tuning import without_arena
from agent.registry.store import StoredRelease
from agent.types import RunCost

SECONDS_EACH = 0.6
"""Time for each of the options, all rounds together: a hundred runs of a fast model, a handful of a slow one."""

log = structlog.get_logger(part="deploy")


class Tuner:
    """Tunes single variants on this host; nothing where there is nothing to choose."""

    def __init__(self, port: TunePort, tunings: Tunings, loader: Loader, settings: DeploySettings) -> None:
        self._port = port
        self._tunings = tunings
        self._loader = loader
        self._settings = settings

    def under(self, loader: Loader, settings: DeploySettings) -> Tuner:
        """Return one that goes by other settings."""
        return Tuner(self._port, self._tunings, loader, settings)

    def tune(
        self, stored: StoredRelease, variant: int, *, fps: float | None, memory_bytes: int, cancel: Cancel
    ) -> None:
        """Measure, unless that was done before. Raises :class:`Cancelled`."""
        options = self._settings.options
        if len(options) < 2 or self._loader.providers_of(stored, variant) != (CPU,):
            return
        known = self._tunings.find(stored.id.digest, variant)
        if known is not None and set(options) <= set(known.asked):
            return
        need = self._loader.need(stored, fps)
        try:
            with timing_pictures(stored, variant) as pictures:
                costs = self._loader.with_copy(
                    stored,
                    variant,
                    self._loader.order(stored, variant, score=None, fps=fps, memory_bytes=memory_bytes),
                    lambda load: self._port.measure(
                        load,
                        pictures[0],
                        options,
                        seconds_each=SECONDS_EACH,
                        then=lambda costs: without_arena(costs, need) if costs else (),
                        cancel=cancel.event,
                    ),
                )
        except LookoutError as error:
            if cancel.event.is_set():
                raise Cancelled("cancelled in its tuning") from error
            log.warning(
                "model.not_tuned",
                release=str(stored.id),
                variant=variant,
                reason=error.message,
            )
            return
        self._tunings.keep(stored.id.digest, variant, Tuning(options, costs))
        log.info(
            "model.tuned",
            release=str(stored.id),
            variant=variant,
            measured=[_said(cost) for cost in costs],
        )


def _said(cost: RunCost) -> str:
    options = cost.options
    words = f"{options.threads} threads{', spinning' if options.spin else ''}{'' if options.arena else ', no arena'}"
    if options.concurrency > 1:
        words += f", {options.concurrency} frames at once"
    return f"{words}: {cost.run_ms:.2f} ms, {cost.cpu_ms:.2f} ms of processor"
