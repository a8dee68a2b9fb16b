"""The agent's side of a tuning: starts the short-lived process and has it measure. Any thread; blocks for seconds.

A process serves one :meth:`TuneClient.measure`: first every set of options, then, where the caller has more to ask
after having seen these (``then``), those too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from agent.errors import ChildError, LookoutError, ModelError
from agent.process.child import ChildSpec, Spawner
from agent.process.errand import Errand
from agent.process.messages import Error, Load, Tune, Tuned
from agent.process.priority import IDLE_NICE
from agent.serve.handle import ENVIRONMENT
from agent.types import RunCost, RunOptions

MODULE = "agent.serve.tune"
START_S = 30.0
"""What starting the process and loading the model may take on top of the time for measuring."""

Further = Callable[[tuple[RunCost, ...]], tuple[RunOptions, ...]]


class TuningCancelled(LookoutError):
    """The caller set its ``cancel`` event."""

    code = "cancelled"


class TuneClient:
    """Measures what models cost under different options, each in a process of its own."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner

    def measure(
        self,
        load: Load,
        picture: Path,
        options: tuple[RunOptions, ...],
        *,
        seconds_each: float,
        then: Further,
        cancel: threading.Event,
    ) -> tuple[RunCost, ...]:
        """Return what was measured of ``options`` and of those that ``then`` asks for, having seen it.

        Where time runs short, some are missing. Raises :class:`ModelError`, :class:`ChildDied`, :class:`ChildHung`,
        :class:`ChildError`, :class:`TuningCancelled`.
        """
        name = str(load.spec.release.model)
        timeout_s = START_S + 2 * seconds_each * (len(options) + 1)
        errand = Errand(
            self._spawner,
            ChildSpec("tune", MODULE, nice=IDLE_NICE, oom_score_adj=900, env=ENVIRONMENT),
            timeout_s=timeout_s,
            too_long=f"{name}: tuning took longer than {timeout_s:.3g} s",
            died=lambda how: f"{name}: its tuning ended before its answer ({how})",
            cancel=cancel,
            cancelled=lambda: TuningCancelled("cancelled in its tuning"),
        )
        with errand:
            costs = _ask(errand, Tune(load, str(picture), options, seconds_each * len(options)))
            further = then(costs)
            if further:
                costs += _ask(errand, Tune(load, str(picture), further, seconds_each * len(further)))
        return costs


def _ask(errand: Errand, request: Tune) -> tuple[RunCost, ...]:
    answer = errand.ask(request)
    if isinstance(answer, Tuned):
        return answer.costs
    if isinstance(answer, Error):
        raise (ModelError if answer.code == ModelError.code else ChildError)(answer.message, field=answer.field)
    raise ChildError(f"the tuning answered {type(answer).__name__}: agent and child differ, reinstall")
