"""The agent is killed at each step of a deployment: afterwards a good model serves, and the journal says which."""

from __future__ import annotations

import pytest

from . import shelf
from .device import serves

LASTING = {"probation": {"frames": 5, "seconds": 2}}
"""A probation long enough to be killed in, short enough to be waited for."""


@pytest.mark.parametrize("state", ["resolving", "fetching", "verifying", "trial", "probation", "committed"])
def test_killed_as_soon_as_a_state_is_reported_a_good_model_serves_and_the_deployment_ends_well(state, at_work):
    device, person = at_work(deploy=LASTING)
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, state, since=since)
    device.kill()
    after = len(person.deployments())
    device.start()
    status = device.wait_status(lambda s: s.pipelines[0].model is not None)
    assert serves(status, shelf.TINY) or serves(status, shelf.NEWER)
    report = person.wait_state(shelf.NEWER, "committed", since=after)
    assert report["current"]["version"] == "1.1.0"
    assert report["previous"]["version"] == "1.0.0"
    status = device.wait_serving(shelf.NEWER)
    assert (status.pipelines[0].deployment, status.degraded) == ("committed", ())
    assert person.command("model/rollback")["ok"], "the previous one is still known"
    person.sees(shelf.TINY, 1)


def test_the_second_death_of_the_agent_in_a_probation_rolls_back_and_condemns_the_candidate(at_work):
    device, person = at_work(deploy={"probation": {"frames": 5, "seconds": 60}})
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, "probation", since=since)
    device.kill()
    device.start()
    person.sees(shelf.NEWER, 1)  # the first death is forgiven: it serves again, on a new probation
    device.kill()
    since = len(person.deployments())
    device.start()
    report = person.wait_state(shelf.NEWER, "rolled_back", since=since)
    assert "died 2 times" in report["reason"]
    person.sees(shelf.TINY)
    since = person.deploy(shelf.NEWER)
    assert "quarantine" in person.wait_state(shelf.NEWER, "failed", since=since)["reason"]


def test_a_deployment_cut_off_by_a_clean_stop_goes_on_at_the_next_start(at_work):
    device, person = at_work()
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, "verifying", since=since)
    assert device.stop() == 0
    since = len(person.deployments())
    device.start()
    person.wait_state(shelf.NEWER, "committed", since=since)
    person.sees(shelf.NEWER, 1)
