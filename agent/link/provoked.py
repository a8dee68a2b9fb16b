"""Letters that a broker answers by hanging up. Pure.

MQTT 5 brokers say how large a packet may be; older ones end the connection, and would do so for ever, since what was
not acknowledged is sent again first. So a letter that was the largest under way, each of :data:`TIMES` times in a row
that the broker hung up soon after it was sent, is taken for the reason, and given up. Small letters never are.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.link.wire import Letter

TIMES = 5
SOON_S = 5.0
SMALL_BYTES = 4096


def largest(under_way: Iterable[tuple[Letter | None, float]], now_s: float) -> Letter | None:
    """Return the largest letter that is unacknowledged and was sent just now; None where none is large."""
    found = [letter for letter, sent_s in under_way if letter is not None and now_s - sent_s <= SOON_S]
    worst = max(found, key=lambda letter: letter.size, default=None)
    return worst if worst is not None and worst.size > SMALL_BYTES else None


class Provoked:
    """Counts hang-ups of one broker; used by one thread."""

    def __init__(self) -> None:
        self._letter: int | None = None
        self._times = 0

    def hung_up(self, letter: Letter | None) -> bool:
        """Take note that the broker hung up, and on which letter; tell whether to give that one up."""
        if letter is None or letter.id != self._letter:
            self._letter, self._times = None if letter is None else letter.id, 0
        self._times += 1
        return letter is not None and self._times >= TIMES
