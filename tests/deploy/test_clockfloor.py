"""The clock is believed where nothing speaks against it; the floor is durable and bounds itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.clock import synchronised, utc_ms
from agent.deploy.clockfloor import BUILT_MS, TrustedClock
from agent.deploy.journal import Journal
from agent.deploy.ledger import TrustLedger
from agent.errors import TrustError

YEAR_MS = 365 * 24 * 3600 * 1000
NOW_MS = BUILT_MS + YEAR_MS


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms, self.synced = NOW_MS, True

    def clock(self, journal: Journal, *, trust: bool = False) -> TrustedClock:
        return TrustedClock(journal, trust=trust, now_ms=lambda: self.ms, synchronised=lambda: self.synced)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.db")


def test_this_release_was_built_in_the_past() -> None:
    assert 0 < BUILT_MS < utc_ms()


def test_the_kernel_is_asked() -> None:
    assert synchronised() in (True, False)


def test_a_clock_that_nothing_keeps_right_is_not_believed_unless_the_operator_says_so(journal: Journal) -> None:
    time = Time()
    assert time.clock(journal).utc_ms() == NOW_MS
    time.synced = False
    assert "registry.trust_clock" in (time.clock(journal).doubt() or "")
    assert time.clock(journal).utc_ms() is None
    assert time.clock(journal, trust=True).utc_ms() == NOW_MS


@pytest.mark.parametrize("years", [-10, -2])
def test_a_clock_before_the_build_is_wrong_for_certain(journal: Journal, years: int) -> None:
    time = Time()
    time.ms = BUILT_MS + years * YEAR_MS
    assert "earlier than" in (time.clock(journal).doubt() or "")


def test_the_floor_is_the_latest_time_at_which_metadata_was_good_and_outlives_the_agent(tmp_path: Path) -> None:
    time = Time()
    journal = Journal(tmp_path / "journal.db")
    ledger = TrustLedger(journal, time.clock(journal))
    ledger.refreshed("a" * 64, {"root": 1, "timestamp": 4}, (), time.ms)
    time.ms -= 1000
    ledger.refreshed("a" * 64, {"root": 1, "timestamp": 4}, (), time.ms)  # never lowered
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert "earlier than" in (time.clock(again).doubt() or "")
    time.ms += 1000
    assert time.clock(again).doubt() is None


def test_a_clock_that_jumps_ahead_while_the_registry_answers_does_not_raise_the_floor(journal: Journal) -> None:
    time = Time()
    ledger, judged_at_ms = TrustLedger(journal, time.clock(journal)), time.ms
    time.ms += 10 * YEAR_MS
    ledger.refreshed("a" * 64, {"root": 1, "timestamp": 4}, (), judged_at_ms)
    time.ms = NOW_MS
    assert time.clock(journal).doubt() is None


def test_a_clock_set_ten_years_ahead_and_back_leaves_no_trace(journal: Journal) -> None:
    """Metadata has expired by such a clock: no refresh succeeds, so no floor is raised."""
    time = Time()
    time.ms += 10 * YEAR_MS
    assert time.clock(journal).doubt() is None
    time.ms = NOW_MS
    assert time.clock(journal).doubt() is None


# --- versions --------------------------------------------------------------------------------------------------------


def test_lower_versions_are_refused_over_restarts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.accept_versions({"root": 1, "timestamp": 5}, anchor="a")
    journal.close()
    journal = Journal(tmp_path / "journal.db")
    with pytest.raises(TrustError, match="rolled back"):
        journal.accept_versions({"root": 1, "timestamp": 4}, anchor="a")
    assert (journal.anchor(), journal.versions()) == ("a", {"root": 1, "timestamp": 5})


def test_below_a_newer_root_roles_may_begin_anew_but_a_root_never_goes_back(journal: Journal) -> None:
    journal.accept_versions({"root": 2, "timestamp": 1_000_000}, anchor="a")
    with pytest.raises(TrustError):  # the root rose, but gave this role no new keys
        journal.accept_versions({"root": 3, "timestamp": 7}, anchor="a")
    with pytest.raises(TrustError):  # no newer root
        journal.accept_versions({"root": 2, "timestamp": 7}, anchor="a", begun_anew=["timestamp"])
    journal.accept_versions({"root": 3, "timestamp": 7}, anchor="a", begun_anew=["timestamp"])
    assert journal.versions()["timestamp"] == 7
    with pytest.raises(TrustError):
        journal.accept_versions({"root": 2, "timestamp": 8}, anchor="a", begun_anew=["root"])


def test_another_anchor_begins_anew(journal: Journal) -> None:
    journal.accept_versions({"root": 9, "timestamp": 9}, anchor="a")
    journal.accept_versions({"root": 1, "timestamp": 1}, anchor="b")
    assert (journal.anchor(), journal.versions()) == ("b", {"root": 1, "timestamp": 1})


def test_what_was_seen_before_anchors_were_noted_still_counts(journal: Journal) -> None:
    journal.accept_versions({"timestamp": 5})
    with pytest.raises(TrustError):
        journal.accept_versions({"timestamp": 4}, anchor="a")


def test_the_operators_word_for_the_clock_is_taken_and_taken_back_while_the_agent_runs(tmp_path) -> None:
    journal = Journal(tmp_path / "journal.db")
    clock = TrustedClock(journal, trust=False, synchronised=lambda: False)
    assert clock.doubt() is not None
    clock.reconfigure(trust=True)
    assert clock.doubt() is None
    clock.reconfigure(trust=False)
    assert clock.doubt() is not None
    journal.close()
