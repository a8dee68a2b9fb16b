"""The agent is killed at each step of a deployment: afterwards a good model serves, and the journal says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.registry.store import Store
from agent.types import Digest
from tools.demo.releases import flip_a_byte

from . import shelf
from .device import Device, serves

LASTING = {"probation": {"frames": 5, "seconds": 1}}
"""A probation long enough to be killed in, short enough to be waited for."""


@pytest.mark.parametrize(
    "state",
    [
        "fetching", "probation",
        *(pytest.param(state, marks=pytest.mark.faults) for state in ("resolving", "verifying", "trial", "committed")),
    ],
)  # fmt: skip
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


def test_a_committed_model_that_rots_on_the_disk_is_not_run_the_previous_serves_and_it_is_fetched_anew(at_work):
    device, person = at_work()
    digest = person.deployed(shelf.STEADY)["current"]["digest"]
    person.sees(shelf.STEADY, 1)
    device.stop()
    flip_a_byte(model_file(device, digest))
    since = len(person.deployments())
    device.start()
    person.wait_state(shelf.STEADY, "probation", since=since)
    person.wait(lambda: person.deployments()[-1]["state"] == "committed", 30)
    told = person.deployments()[since:]
    assert any("model.onnx" in (report["reason"] or "") and "damaged" in report["reason"] for report in told)
    assert any(report["current"]["model"] == "tiny" for report in told if report["current"]), "the previous served"
    person.sees(shelf.STEADY)


def test_a_device_whose_only_model_rots_says_so_keeps_reporting_and_takes_it_again(at_work):
    device, person = at_work()
    digest = device.status().pipelines[0].digest
    assert digest is not None
    device.stop()
    flip_a_byte(model_file(device, digest))
    device.start()
    device.wait_status(lambda s: any("model.onnx" in reason for reason in s.degraded))
    status = device.wait_status(lambda s: s.cameras[0].health == "streaming")
    assert status.pipelines[0].model is None
    person.deployed(shelf.TINY)
    person.sees(shelf.TINY)
    assert device.status().degraded == ()


def model_file(device: Device, digest: str) -> Path:
    """Where the device keeps the model file of a release."""
    stored = Store(device.state / "store").release(Digest(digest))
    assert stored is not None
    return stored.path(stored.manifest.variants[0].file)


def test_a_deployment_cut_off_by_a_clean_stop_goes_on_at_the_next_start(at_work):
    device, person = at_work()
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, "verifying", since=since)
    assert device.stop() == 0
    since = len(person.deployments())
    device.start()
    person.wait_state(shelf.NEWER, "committed", since=since)
    person.sees(shelf.NEWER, 1)
