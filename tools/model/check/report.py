"""Everything that is found out about a model file, and its verdicts, as one record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.errors import InputError
from agent.inspect.runtime import ask_runtime
from tools.model.check import facts as reading
from tools.model.check import fusion, support, targets
from tools.model.check.facts import Facts
from tools.model.check.fusion import Pattern
from tools.model.check.support import Support
from tools.model.check.targets import TARGETS, Judged
from tools.model.check.trial import Trial, try_out


class Checked(msgspec.Struct, frozen=True):
    """The whole report. ``runtime``: version of the ONNX Runtime that was asked and tried."""

    facts: Facts
    providers: tuple[Support, ...]
    mobile: tuple[Support, ...]
    patterns: tuple[Pattern, ...]
    trial: Trial
    runtime: str
    verdicts: tuple[Judged, ...]

    @property
    def exit_code(self) -> int:
        """0: fine on every target; 3: doubts, or one of several will not run; 1: will not run on any."""
        found = {judged.verdict for judged in self.verdicts}
        if found == {"will not run"}:
            return 1
        return 0 if found <= {"fine"} else 3


def check_model(path: Path, names: Sequence[str] = ()) -> Checked:
    """Look at the file for the targets ``names`` (all without).

    Raises :class:`InputError` (unknown target), :class:`~agent.errors.ModelError` (no ONNX file at all).
    """
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        raise InputError(f"target {unknown[0]!r}: known are {', '.join(TARGETS)}")
    runtime = ask_runtime()
    model, facts = reading.read(path, runtime)
    trial, optimised = try_out(path)
    providers = support.providers(model, runtime)
    patterns = fusion.patterns(model.graph, optimised)
    evidence = targets.Evidence(facts, {one.provider: one for one in providers}, patterns, trial)
    return Checked(
        facts=facts,
        providers=providers,
        mobile=support.mobile(model),
        patterns=patterns,
        trial=trial,
        runtime=runtime.version,
        verdicts=tuple(targets.judge(evidence, TARGETS[name]) for name in dict.fromkeys(names or TARGETS)),
    )
