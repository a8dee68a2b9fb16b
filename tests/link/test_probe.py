"""The probe's packet and its reading of what comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link.probe import connect_packet, read_answer


def test_the_probe_is_bare() -> None:
    packet = connect_packet("lookout-probe-00000000")
    assert packet[0] == 0x10
    assert packet[1] == len(packet) - 2
    assert packet[2:10] == b"\x00\x04MQTT\x05\x02"  # version 5, clean start and nothing else
    assert packet[12] == 0  # no properties


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", None),
        (b"\x20", None),
        (b"\x20\x03\x00\x00\x00", "5"),
        (b"\x20\x03\x00\x87\x00", "5"),  # not authorised, and still MQTT 5
        (b"\x20\x09", "5"),
        (b"\x20\x02\x00\x01", "3.1.1"),
        (b"\x20\x02\x00\x05", "3.1.1"),
    ],
)
def test_answers_are_told_apart_by_their_length(data: bytes, verdict: str | None) -> None:
    assert read_answer(data) == verdict


@given(st.binary(min_size=1, max_size=20).filter(lambda data: data[0] != 0x20))
def test_anything_else_is_no_broker(data: bytes) -> None:
    with pytest.raises(ValueError, match="CONNACK"):
        read_answer(data)
