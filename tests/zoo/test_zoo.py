"""Every bad model of the zoo is caught, in words, and the good one goes on serving."""

from __future__ import annotations

import pytest

from agent.deploy.machine import State
from tests.zoo import table
from tests.zoo.animals import ZOO
from tests.zoo.conftest import GOOD, Park

NUMBERS = {name: f"2.{number}.0" for number, name in enumerate(ZOO)}


def cases() -> list[object]:
    """Every animal; those that no sample holds are left to ``make test-faults``."""
    return [
        pytest.param(name, id=name.replace(" ", "-"), marks=() if animal.sample else pytest.mark.faults)
        for name, animal in ZOO.items()
    ]


@pytest.mark.parametrize("name", cases())
def test_it_is_caught_in_words_and_the_good_model_goes_on(name: str, park: Park) -> None:
    animal, version = ZOO[name], NUMBERS[name]
    park.wait_rest()
    answered, told = len(park.results), len(park.statuses)
    if animal.caught == "probation":
        park.wait(lambda: len(park.results) > answered + 55, "a baseline of frames")
    park.publish_animal(version, animal)
    outcome = park.deploy(version, animal.module)
    if animal.caught == "committed":
        assert outcome.ok, outcome
        park.wait(lambda: park.last.state is State.ROLLED_BACK, "it is given up")
        assert version not in str(park.last.current)
    else:
        assert not outcome.ok, outcome
    reason = park.last.reason or ""
    states = [one.state.value for one in park.statuses[told:] if (one.reference or "").endswith(version)]
    seen = list(dict.fromkeys(states))
    table.saw(name, seen[-2], reason)
    assert seen[-1] == animal.ends, reason
    assert seen[-2] == animal.caught, reason
    for words in animal.words:
        assert words in reason, reason
    park.wait_rest()
    went_on = {result.release.version for result in park.results[answered:]}
    assert went_on <= ({GOOD, version} if animal.ends == "rolled_back" else {GOOD})
    sequences = [result.frame.sequence for result in park.results[answered:]]
    assert sequences == sorted(set(sequences)), "in order, each once"
    park.wait(lambda: len(park.workers.living()) == 1, "nothing is left behind")
    if animal.ends == "failed":
        assert park.pipeline.statistics().lost == 0


def test_the_page_in_docs_lists_the_whole_zoo() -> None:
    table.write_if_asked()
    assert table.listed() == {name: animal.caught for name, animal in ZOO.items()}
