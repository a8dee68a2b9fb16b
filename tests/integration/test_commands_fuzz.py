"""Random and mutated commands at a whole device: an answer each, and it sees on. ``make test-faults`` sends 5,000."""

from __future__ import annotations

from .barrage import CONFIG, Barrage


def test_whatever_is_sent_as_a_command_is_answered_once_and_the_device_sees_on(at_work):
    barrage = Barrage(*at_work(**CONFIG))
    barrage.fire(150)
    barrage.settle()
    assert len(barrage.codes) > 4, barrage.codes  # of many kinds
