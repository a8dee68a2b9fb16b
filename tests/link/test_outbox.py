"""The outbox in memory against an obvious model, and its stated policy when full."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.link.outbox import MemoryOutbox
from agent.link.wire import Letter
from tests.depth import examples


def letter(number: int, **changes: object) -> Letter:
    base = Letter(number, f"t/{number}", b"x" * 10, 1, False, "s", 0, False, None, None)
    return msgspec.structs.replace(base, **changes)


def drain(outbox: MemoryOutbox, now_ns: int = 0) -> list[int]:
    out = []
    while (found := outbox.next(now_ns, window_open=True)) is not None:
        out.append(found.id)
    return out


def test_higher_priority_goes_first_but_never_past_its_own_stream() -> None:
    outbox = MemoryOutbox()
    outbox.put(letter(1, stream="a", priority=0), 0)
    outbox.put(letter(2, stream="a", priority=9), 0)
    outbox.put(letter(3, stream="b", priority=5), 0)
    outbox.put(letter(4, stream="c", priority=0), 0)
    assert drain(outbox) == [3, 1, 2, 4]


def test_a_newer_letter_of_one_key_takes_the_olders_place() -> None:
    outbox = MemoryOutbox()
    outbox.put(letter(1, replaces="k", payload=b"old"), 0)
    outbox.put(letter(2), 0)
    outbox.put(letter(3, replaces="k", payload=b"new"), 0)
    first = outbox.next(0, window_open=True)
    assert first is not None
    assert (first.id, first.payload) == (1, b"new")
    assert drain(outbox) == [2]
    assert outbox.statistics().replaced == 1


def test_what_was_handed_out_waits_again_unless_a_newer_one_replaced_it() -> None:
    outbox = MemoryOutbox()
    for number, key in ((1, None), (2, "k"), (3, None)):
        outbox.put(letter(number, replaces=key), 0)
    assert drain(outbox) == [1, 2, 3]
    outbox.put(letter(4, replaces="k"), 0)
    outbox.done(1)
    outbox.rewind()
    assert drain(outbox) == [3, 4]


def test_a_final_letter_takes_the_olders_place_and_gives_its_own_to_none() -> None:
    outbox = MemoryOutbox()
    for number, payload, final in ((1, b"trial", False), (2, b"failed", True), (3, b"a", False), (4, b"b", False)):
        outbox.put(letter(number, replaces="k", payload=payload, final=final), 0)
    first, second = (outbox.next(0, window_open=True) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.payload, second.payload) == (b"failed", b"b")
    outbox.put(letter(5, replaces="k", payload=b"c"), 0)
    outbox.rewind()
    again = [outbox.next(0, window_open=True) for _ in range(2)]
    assert [one.payload for one in again if one is not None] == [b"failed", b"c"]
    assert outbox.next(0, window_open=True) is None


def test_a_final_letter_that_waits_is_not_queued_twice_at_a_new_connection() -> None:
    outbox = MemoryOutbox()
    outbox.put(letter(1, replaces="k", payload=b"failed", final=True), 0)
    outbox.put(letter(2, replaces="k", payload=b"failed", final=True), 0)
    assert drain(outbox) == [1]


def test_with_the_window_shut_only_qos_0_goes() -> None:
    outbox = MemoryOutbox()
    outbox.put(letter(1, priority=9), 0)
    outbox.put(letter(2, qos=0, stream="b"), 0)
    assert (found := outbox.next(0, window_open=False)) is not None
    assert found.id == 2
    assert outbox.next(0, window_open=False) is None
    assert drain(outbox) == [1]


def test_the_expired_are_dropped_and_old_qos_0_even_when_nobody_takes() -> None:
    outbox = MemoryOutbox()
    for number in range(1, 11):
        outbox.put(letter(number, qos=0, expires_at_ns=number), 0)
    outbox.put(letter(11, expires_at_ns=20), 8)
    assert outbox.statistics().waiting == 3
    assert drain(outbox, 20) == []
    assert outbox.statistics().expired == 11
    assert outbox.idle()


def test_a_full_outbox_drops_the_oldest_of_the_lowest_priority_and_durables_last() -> None:
    outbox = MemoryOutbox(max_letters=3)
    outbox.put(letter(1, priority=5, stream="a"), 0)
    outbox.put(letter(2, priority=1, stream="b"), 0)
    outbox.put(letter(3, priority=0, durable=True, stream="c"), 0)
    outbox.put(letter(4, priority=1, stream="d"), 0)  # 2 goes
    outbox.put(letter(5, priority=0, durable=True, stream="e"), 0)  # 4 goes
    outbox.put(letter(6, priority=0, stream="f"), 0)  # itself
    assert outbox.statistics().dropped == 3
    outbox.put(letter(7, priority=0, durable=True, stream="g"), 0)  # 1 goes, the last that is not durable
    assert outbox.statistics().dropped_durable == 0
    outbox.put(letter(8, priority=0, durable=True, stream="h"), 0)  # only durables are left: the oldest goes
    assert outbox.statistics().dropped_durable == 1
    assert sorted(drain(outbox)) == [5, 7, 8]


def test_bytes_are_bounded_too() -> None:
    outbox = MemoryOutbox(max_bytes=10_000)
    for number in range(1, 30):
        outbox.put(letter(number, payload=b"x" * 1000), 0)
        assert outbox.statistics().bytes <= 10_000
    assert drain(outbox) == list(range(22, 30))
    assert outbox.statistics().dropped == 21


class OutboxMachine(RuleBasedStateMachine):
    """Counts and orders hold whatever happens in whichever order."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = MemoryOutbox(max_letters=8, max_bytes=4000)
        self.ids = 0
        self.now = 0
        self.put_count = 0
        self.handed: dict[int, Letter] = {}
        self.finished = 0
        self.first_seen: dict[str, int] = {}

    @rule(
        qos=st.sampled_from([0, 1]),
        stream=st.sampled_from("abc"),
        priority=st.integers(0, 2),
        durable=st.booleans(),
        key=st.sampled_from([None, "k", "l"]),
        age=st.sampled_from([None, 3]),
        size=st.integers(0, 900),
        final=st.booleans(),
    )
    def put(
        self,
        qos: int,
        stream: str,
        priority: int,
        durable: bool,
        key: str | None,
        age: int | None,
        size: int,
        final: bool,
    ) -> None:
        self.ids += 1
        self.put_count += 1
        expires = self.now + 2 if qos == 0 else (None if age is None else self.now + age)
        self.outbox.put(
            letter(
                self.ids,
                qos=qos,
                stream=stream,
                priority=priority,
                durable=durable,
                replaces=key,
                expires_at_ns=expires,
                payload=b"x" * size,
                final=final,
            ),
            self.now,
        )

    @rule(window_open=st.booleans())
    def take(self, window_open: bool) -> None:
        found = self.outbox.next(self.now, window_open=window_open)
        if found is None:
            return
        assert found.qos == 0 or window_open
        assert found.expires_at_ns is None or found.expires_at_ns > self.now
        assert found.id not in self.handed
        # Within a stream nothing older is handed out after something newer (until a rewind).
        assert found.id > self.first_seen.get(found.stream, 0) or found.replaces is not None
        self.first_seen[found.stream] = max(found.id, self.first_seen.get(found.stream, 0))
        if found.qos == 1:
            self.handed[found.id] = found
        else:
            self.finished += 1

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.handed:
            done = data.draw(st.sampled_from(sorted(self.handed)))
            del self.handed[done]
            self.finished += 1
            self.outbox.done(done)

    @rule()
    def rewind(self) -> None:
        self.outbox.rewind()
        self.handed.clear()
        self.first_seen.clear()

    @rule(by=st.integers(1, 3))
    def later(self, by: int) -> None:
        self.now += by

    @invariant()
    def every_letter_is_accounted_for_and_the_bounds_hold(self) -> None:
        s = self.outbox.statistics()
        gone = s.replaced + s.expired + s.dropped + s.dropped_durable + self.finished
        assert self.put_count == gone + s.waiting + s.unacknowledged
        assert s.unacknowledged == len(self.handed)
        assert s.waiting + s.unacknowledged <= 8 + len(self.handed)
        assert s.bytes <= 4000 or not s.waiting
        assert s.bytes >= 0
        assert self.outbox.idle() == (s.waiting == s.unacknowledged == 0)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
