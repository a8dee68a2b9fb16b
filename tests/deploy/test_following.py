"""The decision about what the registry said: pure, over every shape of a reference."""

from __future__ import annotations

import msgspec
import pytest

from agent.deploy.following import Do, followed, notice
from agent.deploy.machine import State
from agent.deploy.records import SlotRelease
from agent.deploy.row import Row
from agent.process.messages import Resolved, Surveyed
from agent.types import Digest, ModelName, PipelineName


def slot(version: str, model: str = "faces") -> SlotRelease:
    return SlotRelease(ModelName(model), version, Digest(f"digest-{model}-{version}"))


ROW = Row(PipelineName("main"), State.COMMITTED, "faces@^1.0.0", current=slot("1.1.0"), previous=slot("1.0.0"))


def said(reference: str, version: str | None, **yanked: str) -> Surveyed:
    found = Resolved(problem="gone") if version is None else Resolved(version, slot(version).digest)
    return Surveyed(
        {reference: found}, {key.replace("_", ".").replace("v", "faces:"): why for key, why in yanked.items()}
    )


def decide(row: Row, found: Surveyed, *, last: str | None = None, heed: bool = False, quarantined: tuple[str, ...] = (),
           floors: dict[str, str] | None = None) -> Do:  # fmt: skip
    return notice(
        row,
        found,
        last_taken=last,
        quarantined={Digest(one) for one in quarantined},
        floors=floors or {},
        on_yank="rollback" if heed else "warn",
    ).do


@pytest.mark.parametrize(
    ("reference", "version", "do"),
    [
        ("faces@^1.0.0", "1.2.0", Do.DEPLOY),
        ("faces@^1.0.0", "1.1.0", Do.NOTHING),
        ("faces@^1.0.0", "1.0.0", Do.NOTHING),  # a range goes upwards only
        ("faces@stable", "1.2.0", Do.DEPLOY),
        ("faces@stable", "1.0.0", Do.DEPLOY),  # a channel goes where it points
        ("faces@stable", None, Do.NOTHING),
        ("faces:1.1.0", "1.1.0", Do.NOTHING),
    ],
)
def test_a_channel_leads_anywhere_and_a_range_upwards(reference: str, version: str | None, do: Do) -> None:
    assert decide(msgspec.structs.replace(ROW, reference=reference), said(reference, version)) is do


@pytest.mark.parametrize("state", list(State))
def test_only_a_reference_that_is_still_wanted_is_followed(state: State) -> None:
    found = followed(msgspec.structs.replace(ROW, state=state))
    assert (found is not None) == (state in (State.COMMITTED, State.FAILED, State.ROLLED_BACK))


def test_what_was_taken_once_or_is_in_quarantine_is_not_taken_again() -> None:
    new = slot("1.2.0").digest
    assert decide(ROW, said("faces@^1.0.0", "1.2.0"), last=f"faces@^1.0.0 {new}") is Do.NOTHING
    assert decide(ROW, said("faces@^1.0.0", "1.2.0"), last=f"faces@stable {new}") is Do.DEPLOY
    assert decide(ROW, said("faces@^1.0.0", "1.2.0"), quarantined=(new,)) is Do.NOTHING


def test_a_yank_prefers_what_the_reference_means_now_to_previous() -> None:
    found = said("faces@^1.0.0", "1.0.5", v1_1_0="bad")
    assert decide(ROW, found) is Do.NOTHING
    assert decide(ROW, found, heed=True) is Do.DEPLOY
    assert decide(ROW, said("faces@^1.0.0", None, v1_1_0="bad"), heed=True) is Do.ROLL_BACK


def test_a_yank_goes_back_to_nothing_that_is_bad_itself() -> None:
    gone = said("faces@^1.0.0", None, v1_1_0="bad")
    assert decide(ROW, gone, heed=True, quarantined=(slot("1.0.0").digest,)) is Do.NOTHING
    assert decide(ROW, gone, heed=True, floors={"faces": "1.0.1"}) is Do.NOTHING
    assert decide(ROW, said("faces@^1.0.0", None, v1_1_0="bad", v1_0_0="too"), heed=True) is Do.NOTHING
    assert decide(msgspec.structs.replace(ROW, previous=None), gone, heed=True) is Do.NOTHING
    assert decide(msgspec.structs.replace(ROW, state=State.ROLLED_BACK), gone, heed=True) is Do.NOTHING
