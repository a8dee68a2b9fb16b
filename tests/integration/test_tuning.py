"""At a model's first trial a device finds out how it runs best here, says so, and remembers it over restarts."""

from __future__ import annotations

import os
import sqlite3

import msgspec
import pytest

from . import shelf
from .device import PIPELINE, Device

CORES = len(os.sched_getaffinity(0))


def tunings(device: Device) -> int:
    """How often the device has tuned a model in its life."""
    return device.log.read_text().count("model.tuned")


@pytest.mark.skipif(CORES < 2, reason="one core: there is nothing to choose")
def test_a_model_is_tuned_once_and_run_as_was_found(world, broker) -> None:
    device = world.device(
        port=broker.port, start=False, inference={"tune": True}, pipelines={PIPELINE: {"model": shelf.STEADY}}
    )
    person = world.person(broker.port, device)
    device.start()
    status = device.wait_status(lambda seen: seen.pipelines[0].deployment == "committed", 90)
    options = status.pipelines[0].options
    assert options is not None
    assert 1 <= options.threads <= (os.cpu_count() or 1)
    assert tunings(device) == 1

    said = msgspec.to_builtins(options)
    assert set(said) == {"threads", "spin", "arena", "concurrency"}
    receipt = person.wait(lambda: [one["receipt"] for one in person.said(f"deploy/{PIPELINE}") if one.get("receipt")])
    assert receipt[-1]["trial"]["variants"][0]["options"] == said
    person.wait(lambda: any(one["models"][PIPELINE] for one in person.said("info")))
    told = [one["models"][PIPELINE] for one in person.said("info") if one["models"][PIPELINE]]
    assert told[-1]["options"] == said

    device.stop()
    with sqlite3.connect(device.state / "journal.db") as journal:
        assert journal.execute("SELECT count(*) FROM tunings").fetchone() == (1,)
    journal.close()
    device.start()
    again = device.wait_serving(shelf.STEADY, 60)
    assert again.pipelines[0].options == options
    assert tunings(device) == 1

    device.stop()
    device.config["inference"] = {"tune": False, "threads": 1}
    device.start()
    fixed = device.wait_serving(shelf.STEADY, 60).pipelines[0].options
    assert fixed is not None
    assert (fixed.threads, fixed.spin) == (1, False)
