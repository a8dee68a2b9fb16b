"""What runs at a start of the agent: the file, or the last good one. Never without a configuration once there was one.

In this order: a change whose probation was cut off by the agent's end is undone; one that waited for a planned restart,
or that was cut off by the end of the whole host (not too often), goes on probation now. Then the file on the disk is
looked at: bytes that are not those in force are an edit made while the agent was off, taken if they are right, and on
probation if they touch what :mod:`agent.config.guarded` says. Bytes that are wrong, or that were refused before, are
left where they lie, never rewritten: the last good ones run, and the reason is told in ``notes``. Only the first start
ever, and a file at another path, must be right.

The record is written before anything is returned. Where it cannot be written, what was good goes on. Nothing is logged
here, because logs are not set up yet, and nothing of a file's text is in what is told. Called once, on the main thread,
under the lock of the state folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent import clock
from agent.config.changes import Change, Standing, Trial, digest_of
from agent.config.desired import ConfigRefused, Overlay
from agent.config.guarded import Guard, changed_keys, guards
from agent.config.keypath import dotted
from agent.config.layers import Loaded, read_file
from agent.config.places import state_of
from agent.config.record import ConfigRecord
from agent.config.whole import Whole, compose, compose_allowed
from agent.errors import ConfigError, Problem, StorageError
from agent.link.messages import KeyProblem

CUT_OFF = "the agent ended before the change had proved good"


@dataclass(frozen=True)
class Resume:
    """A change that goes on probation at this start. ``before``: what ran before it, None where that cannot be read."""

    change: Change
    before: Loaded | None
    guard: Guard


@dataclass(frozen=True)
class Chosen:
    """What runs. ``base`` is file and environment alone; ``text`` the file's bytes in force (``file``: their digest).

    ``notes`` say what is not as the operator wrote it; ``reverted`` why a change was undone at this start, or empty.
    """

    loaded: Loaded
    base: Loaded
    overlay: Overlay
    revision: int
    file: str
    text: bytes = field(repr=False)
    record: ConfigRecord = field(repr=False)
    notes: tuple[KeyProblem, ...] = ()
    reverted: str = ""
    resume: Resume | None = None


def choose(path: Path, environ: Mapping[str, str], record_of: Callable[[Path], ConfigRecord]) -> Chosen:
    """Choose what runs; ``record_of`` opens the record in the state folder that it is given, and takes its lock first.

    Raises :class:`ConfigError` only where there is no last good configuration either, and what ``record_of`` raises.
    """
    text, unreadable = _read(path)
    return _Boot(path, environ, record_of(state_of(path, environ, text))).choose(text, unreadable)


def _read(path: Path) -> tuple[bytes | None, tuple[Problem, ...]]:
    try:
        return read_file(path), ()
    except ConfigError as error:
        return None, error.problems


@dataclass(frozen=True)
class _InForce:
    """What is in force so far. ``whole`` None: the bytes in force are no valid configuration any more."""

    standing: Standing
    text: bytes = field(repr=False)
    whole: Whole | None = None
    resume: Resume | None = None


class _Boot:
    """One start; see the module."""

    def __init__(self, path: Path, environ: Mapping[str, str], record: ConfigRecord) -> None:
        self._path = path
        self._environ = environ
        self._record = record
        self._notes: list[KeyProblem] = []
        self._reverted = ""
        self._writable = True
        self._invalid: ConfigError | None = None

    def choose(self, text: bytes | None, unreadable: tuple[Problem, ...]) -> Chosen:
        """Return what runs, of the file's bytes (None: it cannot be read) and the record."""
        if self._record.problem:
            self._note(self._record.problem)
        found = self._in_force()
        is_other = found is not None and self._record.path != str(self._path.absolute())
        if found is None or is_other:
            found = self._adopted(text, unreadable, Overlay() if found is None else found.standing.overlay)
        else:
            found = self._edited(found, text, unreadable)
        if found.whole is None:
            assert self._invalid is not None
            raise self._invalid
        standing = found.standing
        return Chosen(
            loaded=found.whole.loaded,
            base=found.whole.base,
            overlay=found.whole.overlay,
            revision=standing.revision,
            file=standing.file,
            text=found.text,
            record=self._record,
            notes=tuple(self._notes),
            reverted=self._reverted,
            resume=found.resume,
        )

    def _note(self, message: str) -> None:
        self._notes.append(KeyProblem("", None, message))

    def _tell(self, problems: tuple[Problem, ...], consequence: str) -> None:
        """Note what is wrong, and what runs instead."""
        self._note(consequence)
        self._notes += map(KeyProblem.of, problems)

    # --- what the record says ----------------------------------------------------------------------------------------

    def _in_force(self) -> _InForce | None:
        """Return what is in force by the record; None where there is none, or its bytes were lost."""
        standing, change = self._record.standing, self._record.pending
        if standing is None:
            return None
        resume: Resume | None = None
        if change is not None and (change.planned_restart or change.cut_by_reboot(self._record.boot_id)):
            resume = self._begun_again(standing, change)
        if change is not None and resume is None:
            standing = self._undone(standing, change, self._reverted or CUT_OFF)
        text = self._record.text(standing.file)
        if text is None:
            self._note("the record lost the bytes of the last good file: the file on the disk runs")
            return None
        return _InForce(standing, text, *self._composed(standing, text, resume))

    def _begun_again(self, standing: Standing, change: Change) -> Resume | None:
        """Begin the probation of a change that waited for this start; None where it cannot be, and must be undone."""
        try:
            text = self._record.text(standing.file)
            after = compose(self._path, self._environ, text or b"", standing.overlay).loaded
            self._record.begin_again()
        except (ConfigError, ConfigRefused, StorageError) as error:
            self._reverted = f"the change could not be put in force at this start: {error.message}"
            return None
        before = self._loaded_of(change.previous)
        keys = changed_keys(before.config, after.config) if before else ()
        return Resume(self._record.pending or change, before, guards(keys, from_afar=change.kind != "file"))

    def _loaded_of(self, standing: Standing) -> Loaded | None:
        text = self._record.text(standing.file)
        try:
            return None if text is None else compose(self._path, self._environ, text, standing.overlay).loaded
        except (ConfigError, ConfigRefused):
            return None

    def _undone(self, standing: Standing, change: Change, reason: str) -> Standing:
        """Finish the revert of a change; where that cannot be made durable, it holds for this run."""
        self._reverted = reason
        self._note(f"revision {change.revision} was undone: {reason}")
        try:
            return self._record.undo(reason, at_ms=clock.utc_ms())
        except StorageError as error:
            self._note(f"that cannot be remembered: {error.message}")
            self._writable = False
            return msgspec.structs.replace(change.previous, revision=standing.revision)

    def _composed(self, standing: Standing, text: bytes, resume: Resume | None) -> tuple[Whole | None, Resume | None]:
        """Make what is in force whole: without what the overlay may not set, or without it, where that is wrong."""
        try:
            whole, cut = compose_allowed(self._path, self._environ, text, standing.overlay)
        except ConfigError as error:  # another version of the agent, or another environment
            self._invalid = error
            return None, None
        except ConfigRefused as error:
            self._tell(error.problems, "the remote overlay is left out: it does not fit this agent any more")
            return compose(self._path, self._environ, text, Overlay()), resume
        if cut.paths:
            self._tell(cut.problems, f"left out of the remote overlay: {', '.join(cut.paths)}")
        return whole, resume

    # --- what the disk says ------------------------------------------------------------------------------------------

    def _adopted(self, text: bytes | None, unreadable: tuple[Problem, ...], overlay: Overlay) -> _InForce:
        """Take the file as it is: the first start ever, or with a file at another path. Raises ConfigError."""
        if text is None:
            read_file(self._path)  # raises, unless the file came this very moment
            raise ConfigError(str(unreadable[0]), problems=unreadable)
        whole = self._fitting(text, overlay)
        at_ms, path = clock.utc_ms(), str(self._path.absolute())
        try:
            standing = self._record.adopt(text, path=path, overlay=whole.overlay, at_ms=at_ms)
        except StorageError as error:
            self._note(f"the configuration cannot be remembered: {error.message}")
            standing = Standing(0, whole.overlay, digest_of(text))
        return _InForce(standing, text, whole)

    def _fitting(self, text: bytes, overlay: Overlay) -> Whole:
        """Compose, without the overlay where it does not go with this file. Raises ConfigError."""
        try:
            whole, cut = compose_allowed(self._path, self._environ, text, overlay)
        except ConfigRefused as error:
            self._tell(error.problems, "the remote overlay is left out: it does not fit this file")
            return compose(self._path, self._environ, text, Overlay())
        if cut.paths:
            self._tell(cut.problems, f"left out of the remote overlay: {', '.join(cut.paths)}")
        return whole

    def _edited(self, found: _InForce, text: bytes | None, unreadable: tuple[Problem, ...]) -> _InForce:
        """Take an edit that was made while the agent was off, if it is right and was not refused before."""
        if text is None:
            self._tell(unreadable, "the file cannot be read: the last good one runs")
            return found
        if digest_of(text) == found.standing.file or found.resume is not None or not self._writable:
            return found
        refused = self._record.refused_file(digest_of(text))
        if refused is not None and found.whole is not None:
            self._note(f"the file was refused ({refused.reason}) and is the same still: the last good one runs")
            return found
        try:
            whole, cut = compose_allowed(self._path, self._environ, text, found.standing.overlay)
        except (ConfigError, ConfigRefused) as error:
            self._tell(error.problems, "the file was edited and is wrong: the last good one runs")
            self._invalid = self._invalid and ConfigError(error.message, field=error.field, problems=error.problems)
            return found
        if cut.paths:
            self._tell(cut.problems, f"left out of the remote overlay: {', '.join(cut.paths)}")
        try:
            return self._taken(found, text, whole)
        except StorageError as error:
            self._note(f"the edited file cannot be taken, because that cannot be remembered: {error.message}")
            return found if found.whole else _InForce(found.standing, text, whole)

    def _taken(self, found: _InForce, text: bytes, whole: Whole) -> _InForce:
        """Put an edit in force, on probation where it must prove itself. Raises StorageError."""
        if found.whole is None:  # nothing that it could be compared with, or go back to
            path = str(self._path.absolute())
            standing = self._record.adopt(text, path=path, overlay=whole.overlay, at_ms=clock.utc_ms())
            return _InForce(standing, text, whole)
        keys = changed_keys(found.whole.loaded.config, whole.loaded.config)
        if not keys and whole.overlay == found.standing.overlay:
            return _InForce(self._record.same_file(text), text, whole)
        guard = guards(keys, from_afar=False)
        trial = Trial(guard.needs_confirm, before=self._record.vitals) if guard.on_probation else None
        standing = self._record.advance(
            overlay=whole.overlay,
            text=text,
            who="file",
            kind="file",
            paths=tuple(dotted(key) for key in keys),
            at_ms=clock.utc_ms(),
            trial=trial,
        )
        change = self._record.pending
        resume = Resume(change, found.whole.loaded, guard) if change is not None else None
        return _InForce(standing, text, whole, resume)
