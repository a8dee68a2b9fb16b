from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from rich.console import Console

from tests.tools.demo.fake_device import FakeDevice
from tools.demo import scenario, world
from tools.demo.failure import DemoFailed
from tools.demo.ledger import Ledger
from tools.demo.screen import Screen
from tools.demo.world import World


class FakeAgent:
    """A process that lives until it is told otherwise."""

    pid = 1
    exit_status: int | None = None

    def tail(self, lines: int = 30) -> list[str]:
        return ["cannot open the disk"]


@pytest.fixture
def stage() -> Iterator[Callable[..., World]]:
    """A factory of worlds around a fake device with the twists that are given."""
    with ExitStack() as stack:

        def build(**twists: Any) -> World:
            fake = stack.enter_context(FakeDevice(**twists))
            screen = Screen(Console(file=io.StringIO()))
            return World(screen, Ledger(), fake, FakeAgent(), 10)

        yield build


def broken(played: World) -> list[str]:
    return [claim.claimed for claim in played.ledger.claims if not claim.kept]


def both_models(played: World) -> World:
    scenario.first_model(played)
    scenario.swap(played)
    return played


def test_an_honest_device_keeps_every_claim(stage: Callable[..., World]) -> None:
    played = both_models(stage())
    for attempt in scenario.ATTEMPTS:
        scenario.refuse(played, attempt)
    scenario.claim_order(played)
    assert broken(played) == []
    assert played.ledger.all_kept
    assert len(played.ledger.claims) == 13
    assert set(played.ledger.figures["refused"]) == {"faces:1.2.0", "faces:1.3.0", "faces:1.4.0"}


def test_a_lost_frame_breaks_its_claim(stage: Callable[..., World]) -> None:
    assert broken(both_models(stage(lost=1))) == ["the swap loses no frame"]


def test_a_gap_of_several_frames_breaks_its_claim(stage: Callable[..., World]) -> None:
    assert broken(both_models(stage(gap_ms=200.0))) == ["the swap delays no frame by more than a frame"]


def test_a_receipt_that_hides_a_missing_frame_is_found_out(stage: Callable[..., World]) -> None:
    assert broken(both_models(stage(swallow_at_swap=2))) == ["the operator misses no frame either"]


def test_skipped_frames_that_the_receipt_admits_are_no_loss(stage: Callable[..., World]) -> None:
    assert broken(both_models(stage(swallow_at_swap=2, skipped=2))) == []


def test_a_frame_answered_twice_breaks_the_order(stage: Callable[..., World]) -> None:
    played = both_models(stage(repeats_a_frame=True))
    scenario.claim_order(played)
    assert "every frame is answered once and in order" in broken(played)


def test_a_bad_release_that_is_taken_breaks_its_claims(stage: Callable[..., World], monkeypatch: Any) -> None:
    monkeypatch.setattr(world, "FRAME_TIMEOUT_S", 0.2)
    played = both_models(stage(takes_bad_releases=True))
    with pytest.raises(DemoFailed, match=r"frames answered by faces:1\.1\.0"):
        scenario.refuse(played, scenario.ATTEMPTS[0])
    assert any("is refused" in claim for claim in broken(played))


def test_a_refusal_for_another_reason_breaks_its_claim(stage: Callable[..., World]) -> None:
    played = both_models(stage(wrong_reason=True))
    scenario.refuse(played, scenario.ATTEMPTS[2])
    assert broken(played) == ["faces:1.4.0 is refused: its graph answers NaN"]


def test_cameras_left_alone_during_a_refusal_break_the_claim(stage: Callable[..., World], monkeypatch: Any) -> None:
    monkeypatch.setattr(scenario, "LONGEST_PAUSE_S", 0.3)
    played = both_models(stage(pause_on_bad_s=0.6))
    scenario.refuse(played, scenario.ATTEMPTS[1])
    assert broken(played) == ["meanwhile faces:1.1.0 goes on"]


def test_a_refused_command_ends_the_demo_with_the_devices_words(stage: Callable[..., World]) -> None:
    with pytest.raises(DemoFailed, match="busy"):
        scenario.first_model(stage(accepts_commands=False))


def test_an_agent_that_died_is_noticed_at_once_and_quoted(stage: Callable[..., World]) -> None:
    played = stage()
    played.agent.exit_status = 1
    with pytest.raises(DemoFailed, match="cannot open the disk"):
        world.await_device(played)
    played.agent.exit_status = None
