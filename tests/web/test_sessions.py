"""Sessions end, wrong tokens are counted, and both stay bounded whoever comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.web.sessions import (
    FREE,
    LOCK_S,
    MAX_PEERS,
    MAX_SESSIONS,
    SESSION_S,
    Attempts,
    Sessions,
    party,
)
from tests.depth import examples


def test_a_session_is_known_until_its_end_or_its_time():
    sessions = Sessions()
    sessions.open("word", 100.0)
    assert sessions.knows("word", 100.0 + SESSION_S - 1)
    assert not sessions.knows("word", 100.0 + SESSION_S)
    assert not sessions.knows("other", 100.0)
    sessions.close("word")
    sessions.close("word")
    assert not sessions.knows("word", 100.0)


def test_beyond_so_many_sessions_the_oldest_ends():
    sessions = Sessions()
    for number in range(MAX_SESSIONS + 1):
        sessions.open(str(number), 0.0)
    assert not sessions.knows("0", 1.0)
    assert sessions.knows("1", 1.0)


def test_after_so_many_wrong_tokens_nothing_is_heard_for_a_minute_and_then_one_more_try():
    attempts = Attempts()
    for _ in range(FREE):
        assert attempts.locked_s("192.0.2.1", 0.0) == 0
        attempts.wrong("192.0.2.1", 0.0)
    assert attempts.locked_s("192.0.2.1", 1.0) == LOCK_S - 1
    assert attempts.locked_s("192.0.2.2", 1.0) == 0
    assert attempts.locked_s("192.0.2.1", LOCK_S) == 0
    attempts.wrong("192.0.2.1", LOCK_S)
    assert attempts.locked_s("192.0.2.1", LOCK_S + 1) == LOCK_S - 1


def test_a_right_token_forgets_the_wrong_ones_and_so_does_a_long_time():
    attempts = Attempts()
    for _ in range(FREE):
        attempts.wrong("192.0.2.1", 0.0)
    attempts.right("192.0.2.1")
    assert attempts.locked_s("192.0.2.1", 0.0) == 0
    for _ in range(FREE):
        attempts.wrong("192.0.2.1", 0.0)
    attempts.wrong("192.0.2.1", 11 * LOCK_S)
    assert attempts.locked_s("192.0.2.1", 11 * LOCK_S) == 0


def test_a_whole_ipv6_network_is_one_peer_and_so_are_both_ways_to_write_an_ipv4_address():
    assert party("2001:db8::1") == party("2001:db8::ffff:1") == "2001:db8::/64"
    assert party("2001:db8:0:1::1") != party("2001:db8::1")
    assert party("::ffff:192.0.2.1") == party("192.0.2.1")
    assert party("fe80::1%eth0") == "fe80::/64"
    assert party("no address") == "no address"


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 10))))
def test_whoever_tries_no_more_than_so_many_guesses_get_through_in_any_time(tries):
    """Replay tries of many peers; count, for each, those that a token was compared for."""
    attempts, now_s, heard = Attempts(), 0.0, {}
    for number, pause_s in tries:
        now_s += pause_s
        peer = f"10.0.{number // 250}.{number % 250}"
        if attempts.locked_s(peer, now_s) == 0:
            heard.setdefault(peer, []).append(now_s)
            attempts.wrong(peer, now_s)
    assert len(attempts._wrong) <= MAX_PEERS
    for times in heard.values():
        assert len(times) <= FREE + (times[-1] - times[0]) / LOCK_S + 1
