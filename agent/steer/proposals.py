"""From what somebody wants to a whole and valid configuration, or to everything that is wrong with it.

A :class:`Proposal` has been checked all through and changes nothing yet. Everything here raises
:class:`~agent.config.desired.ConfigRefused` or :class:`~agent.errors.ConfigError`, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from agent.config.changes import Kind, digest_of
from agent.config.checks import did_you_mean
from agent.config.desired import ConfigRefused, Overlay
from agent.config.layers import Loaded, read_file
from agent.config.whole import Whole, compose, compose_allowed
from agent.errors import CommandError, Problem
from agent.link.messages import Desired, KeyProblem

MAX_DESIRED_BYTES = 64 * 1024


@dataclass(frozen=True)
class Proposal:
    """A configuration that could be in force: ``overlay`` over a file's bytes ``text``, and what they come to.

    ``notes``: what had to be left out of the overlay, because an edited file does not allow it any more.
    """

    kind: Kind
    who: str
    overlay: Overlay
    text: bytes = field(repr=False)
    loaded: Loaded
    notes: tuple[KeyProblem, ...] = ()

    @property
    def digest(self) -> str:
        """The name of the file's bytes."""
        return digest_of(self.text)


class BadDesired(CommandError):
    """What came on ``desired`` is no such message."""

    code = "bad_desired"


class Composer:
    """Makes proposals for one file and environment. Any thread."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = dict(environ)

    def read(self) -> bytes:
        """Return the bytes of the file as it lies on the disk. Raises ConfigError."""
        return read_file(self._file)

    def propose(self, kind: Kind, who: str, overlay: Overlay, text: bytes) -> Proposal:
        """Return what an overlay over the file's bytes comes to."""
        whole = self._whole(text, overlay)
        return Proposal(kind, who, overlay, text, whole.loaded)

    def edited(self, text: bytes, overlay: Overlay) -> Proposal:
        """Return what an edited file comes to, without what it does not let the overlay set any more."""
        whole, cut = compose_allowed(self._file, self._environ, text, overlay)
        return Proposal("file", "file", whole.overlay, text, whole.loaded, tuple(map(KeyProblem.of, cut.problems)))

    def _whole(self, text: bytes, overlay: Overlay) -> Whole:
        if overlay.models:
            base = compose(self._file, self._environ, text, Overlay()).base
            strangers = tuple(_strangers(overlay, base))
            if strangers:
                raise ConfigRefused(strangers)
        try:
            return compose(self._file, self._environ, text, overlay)
        except ConfigRefused as error:
            raise ConfigRefused(_as_written(overlay, error.problems)) from None


def read_desired(payload: bytes) -> Desired:
    """Read the message of the topic ``desired``. Raises :class:`BadDesired`."""
    if len(payload) > MAX_DESIRED_BYTES:
        raise BadDesired(f"desired has {len(payload)} bytes; at most {MAX_DESIRED_BYTES} are taken")
    try:
        return msgspec.json.decode(payload, type=Desired)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        said = str(error)[:256]
        raise BadDesired(f'desired cannot be read: {said}; send {{"v":1,"version":1,"config":{{…}}}}') from None


def _strangers(overlay: Overlay, base: Loaded) -> Iterator[Problem]:
    """Tell which models are wanted for pipelines that there are not: in these words, not as keys that are missing."""
    added = overlay.config.get("pipelines")
    known = [*base.config.pipelines, *(added if isinstance(added, Mapping) else ())]
    for name, reference in overlay.models.items():
        if name not in known:
            yield Problem(_key(name), repr(reference)[:80], "there is no such pipeline", did_you_mean(name, known))


def _as_written(overlay: Overlay, problems: tuple[Problem, ...]) -> list[Problem]:
    """Return the problems at the paths that the operator wrote: ``models.main``, not the key that it stands for."""
    wanted = {f"pipelines.{name}.model": _key(name) for name in overlay.models}
    return [replace(problem, path=wanted.get(problem.path, problem.path)) for problem in problems]


def _key(pipeline: Any) -> str:
    return f"models.{str(pipeline)[:64]}"
