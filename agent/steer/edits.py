"""Edits of the configuration file, as they are found on the disk: taken up, or left where they are. One thread.

An edit that is wrong, or whose bytes were refused before, is never rewritten: the last good file goes on, and why is
told. While a change is on probation the file is not looked at; it is once that has ended.
"""

from __future__ import annotations

import structlog

from agent.config.record import ConfigRecord
from agent.errors import InputError, LookoutError
from agent.link.messages import KeyProblem
from agent.steer.changer import Changer
from agent.steer.inforce import not_used
from agent.steer.proposals import Composer

log = structlog.get_logger(part="config")


class Edits:
    """See the module. ``waits``: the file has to be looked at once the probation has ended."""

    def __init__(self, changer: Changer, composer: Composer, record: ConfigRecord) -> None:
        self.waits = False
        self._changer = changer
        self._composer = composer
        self._record = record

    def look(self) -> None:
        """Look at the file, and take up what somebody wrote."""
        changer = self._changer
        self.waits = changer.now.pending is not None
        if self.waits:
            return
        try:
            self._take()
        except InputError as error:
            log.warning("config.file_refused", reason=error.message)
            changer.note(file=not_used("it is wrong, see errors"), errors=KeyProblem.all_of(error), refused=None)
        except LookoutError as error:  # the disk; or a part that could not take it: that is undone and told already
            log.warning("config.file_not_taken", reason=error.message)
            if not changer.now.file:
                changer.note(file=not_used(error.message))

    def _take(self) -> None:
        changer = self._changer
        proposal = self._composer.edited(self._composer.read(), changer.now.overlay)
        refused = self._record.refused_file(proposal.digest)
        if proposal.digest != changer.now.digest and refused is None:
            changer.take(proposal)
            return
        why = "" if refused is None or proposal.digest == changer.now.digest else not_used(refused.reason)
        if changer.now.file != why:
            changer.note(file=why)
