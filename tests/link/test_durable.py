"""The durable outbox on real files: what survives, in which order, within which bounds, and how fast it leaves."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.clock import NS_PER_S
from agent.errors import StorageError
from agent.link import stream
from agent.link.drain import Drain
from agent.link.durable import DurableOutbox, OutboxLimits
from agent.link.keeper import CHUNK, RETRY_S
from agent.link.letters import LetterStore
from agent.link.starts import claim_start
from agent.link.topics import Topics
from agent.link.wire import Letter
from tests.depth import examples

TOPICS = Topics("lookout", "cam1")
EVENTS, RESULTS = 5, 100


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000 * NS_PER_S

    def __call__(self) -> int:
        return self.now_ns

    def later(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


class Shelf:
    """An outbox that may be killed: its files are copied as they are, and opened by another one."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder, self.clock, self.limits = folder, Clock(), OutboxLimits(**limits)
        self._lives = itertools.count(1)
        self.outbox = self._open(folder / "0")
        self.ids = itertools.count(1)

    def _open(self, folder: Path) -> DurableOutbox:
        self.file = folder / "outbox.db"
        return DurableOutbox(self.file, TOPICS, self.limits, clock_ns=self.clock)

    def kill(self, *, topics: Topics = TOPICS, off_s: float = 0.0) -> None:
        """SIGKILL and start again: nothing that only memory knew is left, and the monotonic clock begins anew."""
        after = self.folder / str(next(self._lives))
        shutil.copytree(self.file.parent, after)
        self.outbox.close()
        shutil.rmtree(self.file.parent)
        self.clock.now_ns = round(off_s * NS_PER_S)
        self.file = after / "outbox.db"
        self.outbox = DurableOutbox(self.file, topics, self.limits, clock_ns=self.clock)
        self.ids = itertools.count(self.outbox.last_id + 1)
        self.outbox.connected(self.clock())

    def letter(self, **changes: Any) -> Letter:
        name = changes.pop("stream", "events/yard")
        base = Letter(next(self.ids), TOPICS.root + name, b"x" * 10, 1, False, name, EVENTS, True, None, None)
        return msgspec.structs.replace(base, **changes)

    def put(self, *letters: Letter) -> list[int]:
        self.outbox.put_all(letters, self.clock())
        return [one.id for one in letters]

    def many(self, count: int, **changes: Any) -> list[int]:
        return self.put(*(self.letter(**changes) for _ in range(count)))

    def take(self) -> Letter | None:
        found = self.outbox.next(self.clock(), window_open=True)
        if found is None:  # perhaps it has to be read first
            self.outbox.turn()
            found = self.outbox.next(self.clock(), window_open=True)
        return found

    def drain(self, count: int = 10**9, *, done: bool = True) -> list[int]:
        """Take and acknowledge letters while there are some."""
        out: list[int] = []
        while len(out) < count and (found := self.take()) is not None:
            out.append(found.id)
            if done and found.qos == 1:
                self.outbox.done(found.id)
        return out

    def settle(self) -> None:
        """Let the thread's work be done: what was acknowledged is deleted, what is unflushed flushed."""
        self.clock.later(2)
        self.outbox.turn()

    def on_disk(self) -> int:
        return sum(one.stat().st_size for one in self.file.parent.iterdir())


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[..., Shelf]]:
    """A factory of outboxes."""
    with contextlib.ExitStack() as stack:

        def make(**limits: Any) -> Shelf:
            made = Shelf(tmp_path, **({"drain_per_s": 1e9} | limits))
            stack.callback(lambda: made.outbox.close())
            return made

        yield make


def no_room(*_: object) -> None:
    raise StorageError("outbox.db: database or disk is full; free disk space")


# --- what survives ---------------------------------------------------------------------------------------------------


def test_a_kill_loses_nothing_that_was_put_and_changes_nothing(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    first = one.letter(payload=b'{"n":1}')
    answer = one.letter(
        stream="results", topic="asker/inbox", priority=RESULTS, correlation=b"\x00\xff", payload=b"\xff"
    )
    plain = one.letter(stream="results", topic=TOPICS.root + "result/device/ping", priority=RESULTS)
    one.put(first, answer, plain)
    one.kill()
    assert [one.take(), one.take(), one.take(), one.take()] == [answer, plain, first, None]
    assert not one.outbox.idle()  # nothing is acknowledged yet


def test_what_was_handed_out_and_not_acknowledged_comes_again_with_its_id(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    ids = one.many(5)
    assert one.drain(2) == ids[:2]
    assert one.drain(2, done=False) == ids[2:4]
    one.settle()
    one.kill()
    assert one.drain() == ids[2:]
    assert one.outbox.idle()
    one.settle()
    one.kill()
    assert one.outbox.idle()


def test_new_letters_queue_behind_those_of_the_start_before(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    old = one.many(3)
    one.kill()
    new = one.many(3)
    assert min(new) > max(old)
    assert one.drain() == old + new


def test_letters_follow_a_device_that_has_another_name_now(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    one.put(one.letter(), one.letter(stream="results", topic="lookout/asker/inbox"))
    one.kill(topics=Topics("site/a", "cam2"))
    topics = [found.topic for _ in range(2) if (found := one.take()) is not None]
    assert topics == ["site/a/cam2/events/yard", "lookout/asker/inbox"]


def test_a_damaged_file_is_set_aside_and_told(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    one.many(50)
    one.outbox.stop()
    one.outbox.close()
    one.file.write_bytes(b"\0" * 8192)
    one.outbox = DurableOutbox(one.file, TOPICS, one.limits, clock_ns=one.clock)
    assert "set aside" in (one.outbox.statistics().problem or "")
    assert one.drain() == []
    assert one.many(1) == one.drain()


def test_states_and_what_is_not_durable_stay_in_memory(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    one.put(
        one.letter(durable=False),
        one.letter(qos=0, stream="detections/yard"),
        one.letter(stream="state/yard", retain=True, replaces="state/yard"),
    )
    one.kill()
    assert one.drain() == []


def test_without_a_broker_nothing_is_written(shelf: Callable[..., Shelf]) -> None:
    one = shelf(writes=False)
    before = one.on_disk()
    ids = one.many(20)
    assert one.on_disk() == before
    one.outbox.reconfigure(msgspec.structs.replace(one.limits, writes=True))
    ids += one.many(20)
    assert one.drain() == ids  # a broker came: both queues keep the order of the stream
    one.settle()
    one.many(3)
    one.kill()
    assert len(one.drain()) == 3


# --- order -----------------------------------------------------------------------------------------------------------


def test_order_holds_in_each_stream_while_most_letters_are_on_the_disk_only(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    streams = ["events/a", "events/b", "events/c"]
    ids: dict[str, list[int]] = {name: [] for name in streams}
    for number in range(2000):
        name = streams[number * number % 3]
        ids[name] += one.many(1, stream=name)
    assert one.outbox.statistics().bytes < 3 * stream.READY * 200
    one.kill()
    seen: dict[str, list[int]] = {name: [] for name in streams}
    for number in range(1 << 20):
        found = one.take()
        if found is None:
            break
        seen[found.stream].append(found.id)
        one.outbox.done(found.id)
        if number == 500:
            ids["events/a"] += one.many(300, stream="events/a")
    assert seen == ids


def test_results_overtake_events_also_those_on_the_disk(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    events = one.many(700)
    result = one.many(1, stream="results", priority=RESULTS)
    state = one.many(1, stream="state/yard", priority=10, durable=False)
    one.kill()
    state = one.many(1, stream="state/yard", priority=10, durable=False)
    assert one.drain() == [*result, *state, *events]


def test_durable_and_passing_letters_of_one_stream_keep_its_order(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    letters = [one.letter(stream="results", durable=number % 3 == 0, priority=number % 2) for number in range(30)]
    for letter in letters:
        one.put(letter)
    assert one.drain() == [letter.id for letter in letters]


def test_a_rewind_restores_the_order(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    ids = one.many(600)
    assert one.drain(20, done=False) == ids[:20]
    one.outbox.done(ids[3])
    one.outbox.rewind()
    assert one.drain() == [number for number in ids if number != ids[3]]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_a_full_outbox_drops_the_oldest_events_first_and_says_so(shelf: Callable[..., Shelf]) -> None:
    one = shelf(max_bytes=2_000_000)
    results = one.many(20, stream="results", priority=RESULTS, payload=b"r" * 500)
    ids: list[int] = []
    for number in range(60):
        ids += one.many(50, stream=f"events/{'ab'[number % 2]}", payload=b"e" * 900)
        one.outbox.turn()
        assert one.on_disk() <= 2_000_000
    told = one.outbox.statistics()
    assert told.dropped_durable > 1000
    assert "outbox.max_mb (2) was not enough" in (told.problem or "")
    one.kill()
    left = one.drain()
    assert left[:20] == results
    assert sorted(left[20:]) == ids[told.dropped_durable :]  # the newest, over both streams, and every drop was counted


def test_what_is_handed_out_is_not_dropped(shelf: Callable[..., Shelf]) -> None:
    one = shelf(max_bytes=1_000_000)
    ids = one.many(5, payload=b"e" * 900)
    assert one.drain(3, done=False) == ids[:3]
    for _ in range(40):
        one.many(50, payload=b"e" * 900)
    one.kill()
    assert one.drain(4)[:3] == ids[:3]


def test_a_lower_bound_holds_at_once(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    ids = one.many(3000, payload=b"e" * 900)
    one.outbox.reconfigure(msgspec.structs.replace(one.limits, max_bytes=1_000_000))
    one.outbox.turn()
    left = one.drain()
    assert 300 < len(left) < 1000
    assert left == ids[-len(left) :]


def test_letters_grow_old_by_the_hours_that_the_agent_ran(shelf: Callable[..., Shelf]) -> None:
    one = shelf(max_age_s=3600.0)
    old = one.many(10)
    one.clock.later(2000)
    young = one.many(10)
    one.settle()
    one.kill(off_s=77)  # whatever the clock shows after a reboot
    assert one.outbox.statistics().aged == 0
    one.clock.later(1700)
    one.outbox.turn()
    told = one.outbox.statistics()
    assert (told.aged, told.waiting) == (len(old), len(young))
    assert one.drain() == young


def test_an_expired_letter_is_not_sent_even_after_a_restart(shelf: Callable[..., Shelf]) -> None:
    one = shelf()
    one.put(one.letter(expires_at_ns=one.clock() + 5 * NS_PER_S))
    (lasting,) = one.put(one.letter(expires_at_ns=one.clock() + 500 * NS_PER_S))
    one.kill(off_s=3)
    one.clock.later(6)
    assert one.drain() == [lasting]
    assert one.outbox.statistics().expired == 1


def test_a_disk_that_takes_nothing_costs_memory_and_then_the_oldest(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_UNSAVED", 30)
    one = shelf()
    saved = one.many(300)
    one.outbox.database.close()
    kept = one.many(30)
    assert "memory only" in (one.outbox.statistics().problem or "")
    assert one.outbox.statistics().unsaved == 30
    kept += one.many(5)
    assert one.outbox.statistics().dropped_durable == 5
    at_hand = min(stream.READY, len(saved))
    assert one.drain() == saved[:at_hand]  # the others wait for the disk, and what came after them for its turn


def test_a_disk_that_takes_nothing_keeps_the_letters_of_streams_that_are_new(shelf: Callable[..., Shelf]) -> None:
    """Those that come while nothing is tried, and those beyond the first transaction of an attempt that failed."""
    one = shelf()
    one.outbox.database.close()
    kept = one.put(*(one.letter(stream=f"events/{k}") for k in range(2 * CHUNK)))
    kept += one.many(3, stream="events/later")
    assert one.outbox.statistics().unsaved == len(kept)
    assert sorted(one.drain()) == kept


def test_a_letter_that_leaves_memory_while_it_is_written_is_not_sent_again(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelf()
    insert = LetterStore.insert
    monkeypatch.setattr(LetterStore, "insert", no_room)
    (early,) = one.many(1)

    def slow(store: LetterStore, *args: Any) -> None:
        insert(store, *args)
        assert one.drain() == [early]

    monkeypatch.setattr(LetterStore, "insert", slow)
    one.clock.later(RETRY_S + 1)
    (late,) = one.many(1)
    monkeypatch.setattr(LetterStore, "insert", insert)
    one.settle()
    one.kill()
    assert one.drain() == [late]


# --- how fast --------------------------------------------------------------------------------------------------------


def test_what_waited_through_an_outage_leaves_at_a_bounded_rate(shelf: Callable[..., Shelf]) -> None:
    one = shelf(drain_per_s=50.0)
    old = one.many(500)
    one.outbox.connected(one.clock())
    gone = one.drain()
    assert len(gone) == 5
    for _ in range(5):
        one.clock.later(1)
        gone += (now := one.drain())
        assert len(now) == 50
    assert gone == old[: len(gone)]


def test_what_is_new_is_not_held_up_but_keeps_its_place_in_its_stream(shelf: Callable[..., Shelf]) -> None:
    one = shelf(drain_per_s=10.0)
    old = one.many(30, stream="events/a")
    one.outbox.connected(one.clock())
    assert one.drain() == old[:1]
    fresh = one.many(40, stream="events/b")
    assert one.drain() == fresh
    behind = one.many(20, stream="events/a")  # 20 more may leave for it, so that the backlog shrinks all the same
    assert one.drain() == old[1:21]
    one.clock.later(1)
    assert one.drain() == (old + behind)[21:31]
    one.clock.later(10)
    one.drain()
    one.clock.later(10)
    one.drain()
    one.clock.later(10)
    one.drain()
    assert one.drain() == []
    fresh = one.many(100, stream="events/a")
    assert one.drain() == fresh  # nothing of an outage is left before them


def test_the_session_is_woken_when_more_may_leave(shelf: Callable[..., Shelf]) -> None:
    one = shelf(drain_per_s=10.0)
    woken: list[int] = []
    one.outbox.listen(lambda: woken.append(one.clock()))
    one.many(30)
    one.outbox.connected(one.clock())
    one.drain()
    woken.clear()
    due_ns = one.outbox.turn()
    assert not woken
    assert 0 < due_ns - one.clock() <= NS_PER_S
    one.clock.now_ns = due_ns
    one.outbox.turn()
    assert woken
    assert len(one.drain()) >= 1


def test_a_bucket_never_gives_more_than_a_seconds_worth_at_once() -> None:
    drain = Drain(20.0)
    drain.begin(0)
    for at_s, most in ((0, 2), (1000, 20), (1001, 20), (1001.5, 10)):
        gone = 0
        while drain.open(round(at_s * NS_PER_S)):
            drain.spend()
            gone += 1
        assert gone == most, at_s


# --- kind to the disk ------------------------------------------------------------------------------------------------


def test_what_is_acknowledged_in_time_costs_no_flush(shelf: Callable[..., Shelf]) -> None:
    one = shelf(flush_ms=1000)
    for _ in range(20):
        one.many(3)
        one.drain()
        one.clock.later(0.3)
        one.outbox.turn()
    assert one.outbox.statistics().flushes == 0
    one.many(2)
    one.clock.later(0.9)
    assert one.outbox.turn() <= one.clock() + NS_PER_S // 10 + 1
    assert one.outbox.statistics().flushes == 0
    one.clock.later(0.1)
    one.outbox.turn()
    assert one.outbox.statistics().flushes == 1
    one.clock.later(100)
    one.outbox.turn()
    assert one.outbox.statistics().flushes == 1


def test_the_write_ahead_log_stays_short(shelf: Callable[..., Shelf]) -> None:
    one = shelf(max_bytes=64_000_000)
    for _ in range(120):
        one.many(100, payload=b"e" * 900)
        one.drain()
        one.settle()
    assert one.on_disk() < 12_000_000  # of 30 MB and more that were written


# --- ids are never used twice ----------------------------------------------------------------------------------------


def test_no_two_starts_have_one_number_whatever_is_lost(tmp_path: Path) -> None:
    used: list[int] = []
    now_ms = 1_800_000_000_000

    def start(lose: str | None = None) -> int:
        nonlocal now_ms
        now_ms += 20
        for left in tmp_path.glob(f"{lose}.db*"):
            left.write_bytes(b"damaged" * 1000)
        boxes = [DurableOutbox(tmp_path / f"{name}.db", TOPICS) for name in ("a", "b")]
        used.append(claim_start([box.database for box in boxes], at_least=7, utc_ms=now_ms))
        for box in boxes:
            box.close()
        return used[-1]

    assert start() == now_ms  # nobody knows which were used before
    assert start() == used[0] + 1
    assert start(lose="a") > used[1]
    assert start(lose="b") > used[2]
    assert start(lose="*") == now_ms
    now_ms -= 10**9  # the clock went back: what the files remember holds
    assert start() == used[-2] + 1
    assert len(set(used)) == len(used)
    assert used == sorted(used)


def test_a_start_that_cannot_be_noted_takes_the_time(tmp_path: Path) -> None:
    box = DurableOutbox(tmp_path / "outbox.db", TOPICS)
    claim_start([box.database], at_least=0, utc_ms=1_000)
    box.close()
    assert claim_start([box.database], at_least=0, utc_ms=5_000) == 5_000


# --- whatever happens, in whichever order ----------------------------------------------------------------------------


class DurableMachine(RuleBasedStateMachine):
    """Every letter is accounted for, in order within its stream, over kills."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self._folder.name), drain_per_s=1e9)
        self.waiting: dict[int, Letter] = {}
        """Durable ones that are not acknowledged."""
        self.passing: dict[int, Letter] = {}
        """The others."""
        self.out: dict[int, Letter] = {}
        self.full = False

    def teardown(self) -> None:
        self.shelf.outbox.close()
        self._folder.cleanup()

    @rule(
        count=st.integers(1, 200),
        name=st.sampled_from(["events/a", "events/b", "results"]),
        durable=st.sampled_from([True, True, True, False]),
        priority=st.integers(0, 2),
        size=st.integers(0, 3000),
    )
    def put(self, count: int, name: str, durable: bool, priority: int, size: int) -> None:
        letters = [
            self.shelf.letter(stream=name, durable=durable, priority=priority, payload=b"x" * size)
            for _ in range(min(count, 20 if self.full else count) if durable else 1)
        ]
        self.shelf.put(*letters)
        (self.waiting if durable else self.passing).update({one.id: one for one in letters})

    @rule(count=st.integers(1, 150))
    def take(self, count: int) -> None:
        for _ in range(count):
            found = self.shelf.take()
            queued = {k: v for k, v in (self.waiting | self.passing).items() if k not in self.out}
            if found is None:
                assert not queued
                return
            assert queued[found.id] == found
            assert found.id == min(number for number, one in queued.items() if one.stream == found.stream)
            self.out[found.id] = found

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        for number in data.draw(st.sets(st.sampled_from(sorted(self.out)), max_size=50)) if self.out else ():
            self.shelf.outbox.done(number)
            del self.out[number]
            self.waiting.pop(number, None)
            self.passing.pop(number, None)

    @rule()
    def rewind(self) -> None:
        self.shelf.outbox.rewind()
        self.shelf.outbox.connected(self.shelf.clock())
        self.out.clear()

    @rule()
    def turn(self) -> None:
        self.shelf.settle()

    @rule()
    def fill_the_disk(self) -> None:
        self.full = True
        self.shelf.outbox._store.insert = no_room

    @rule()
    def free_the_disk(self) -> None:
        vars(self.shelf.outbox._store).pop("insert", None)
        self.shelf.clock.later(RETRY_S + 1)
        self.shelf.settle()
        self.full = False

    @rule()
    def kill(self) -> None:
        self.free_the_disk()
        self.shelf.settle()
        self.shelf.kill()
        self.out.clear()
        self.passing.clear()

    @invariant()
    def all_is_counted(self) -> None:
        told = self.shelf.outbox.statistics()
        assert told.unacknowledged == len(self.out)
        assert told.waiting == len(self.waiting) + len(self.passing) - len(self.out)
        assert told.dropped == told.dropped_durable == told.expired == 0
        assert self.full or not told.unsaved
        assert told.bytes >= 0
        assert self.shelf.outbox.idle() == (not self.waiting and not self.passing)
        assert self.full or told.problem is None


TestDurableMachine = DurableMachine.TestCase
TestDurableMachine.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
