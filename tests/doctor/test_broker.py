"""The way to real brokers: what is found at each step, and that nobody's session is disturbed."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import utc_ms
from agent.doctor import mqtt
from agent.doctor.case import Case
from agent.doctor.findings import Finding
from agent.doctor.judge import broker as judge
from agent.doctor.look import broker
from tests.conftest import free_port
from tests.fakes.authority import Authority
from tests.link.conftest import AmqttBroker

MakeCase = Callable[..., Case]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"))


def found(case: Case) -> dict[str, Finding]:
    return {one.name.removeprefix("broker "): one for one in judge.judge(broker.look(case), utc_ms())}


def secured(mosquitto: Any, authority: Authority, server: tuple[Path, Path] | None = None, extra: str = "") -> Any:
    certificate, key = server or authority.server
    login = extra or "allow_anonymous true"
    return mosquitto(f"cafile {authority.ca}\ncertfile {certificate}\nkeyfile {key}\n{login}")


def test_a_broker_with_tls_and_a_password_is_taken_all_the_way(
    case: MakeCase, mosquitto: Any, authority: Authority, tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "gate", "s3cret-word"], check=True)
    made = secured(mosquitto, authority, extra=f"allow_anonymous false\npassword_file {passwords}")
    way = {"host": "127.0.0.1", "port": made.port, "username": "gate", "tls": {"ca_file": str(authority.ca)}}
    seen = found(case(mqtt={**way, "password": "s3cret-word"}))
    assert {name: one.verdict for name, one in seen.items()} == {
        "name": "ok", "port": "ok", "certificate": "ok", "login": "ok",
    }  # fmt: skip
    assert seen["login"].values["protocol"] == "5"
    assert {"days_left.the broker's", "days_left.its authority's"} <= set(seen["certificate"].values)
    wrong = found(case(mqtt={**way, "password": "another-one"}))["login"]
    assert (wrong.verdict, "password" in wrong.remedy) == ("failed", True)
    assert "another-one" not in wrong.found + wrong.remedy


def test_a_certificate_of_another_authority_or_of_yesterday_is_not_trusted(
    case: MakeCase, mosquitto: Any, authority: Authority, other: Authority
) -> None:
    made = secured(mosquitto, authority)
    seen = found(case(mqtt={"host": "127.0.0.1", "port": made.port, "tls": {"ca_file": str(other.ca)}}))
    assert seen["port"].verdict == "ok"
    assert (seen["certificate"].verdict, "mqtt.tls.ca_file" in seen["certificate"].remedy) == ("failed", True)
    assert "login" not in seen
    made = secured(mosquitto, authority, authority.expired_server())
    seen = found(case(mqtt={"host": "127.0.0.1", "port": made.port, "tls": {"ca_file": str(authority.ca)}}))
    assert (seen["certificate"].verdict, "expired" in seen["certificate"].found) == ("failed", True)


def test_nothing_there_and_no_such_name_are_told_apart(case: MakeCase) -> None:
    seen = found(case(mqtt={"host": "127.0.0.1", "port": free_port()}))
    assert (seen["name"].verdict, seen["port"].verdict) == ("ok", "failed")
    seen = found(case(mqtt={"host": "nowhere.invalid", "port": 1883}))
    assert list(seen) == ["name"]
    assert seen["name"].verdict == "failed"


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(case: MakeCase) -> None:
    made = AmqttBroker()
    try:
        seen = found(case(mqtt={"host": "127.0.0.1", "port": made.port}))
        assert (seen["login"].verdict, seen["login"].values["protocol"]) == ("ok", "3.1.1")
        asked_for = found(case(mqtt={"host": "127.0.0.1", "port": made.port, "protocol": "5"}))
        assert asked_for["login"].verdict == "failed"
    finally:
        made.kill()


def test_a_session_of_the_device_lives_on_while_the_doctor_logs_in(case: MakeCase, mosquitto: Any) -> None:
    made = mosquitto()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="lookout-gate-7", protocol=paho.MQTTv5)
    ended = threading.Event()
    up = threading.Event()
    client.on_disconnect = lambda *_: ended.set()
    client.on_connect = lambda *_: up.set()
    client.connect("127.0.0.1", made.port)
    client.loop_start()
    try:
        assert up.wait(10)
        seen = found(case(device={"id": "gate-7"}, mqtt={"host": "127.0.0.1", "port": made.port}))
        assert seen["login"].verdict == "ok"
        assert not ended.wait(0.5)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def silent() -> Iterator[int]:
    """Something that takes connections and says nothing."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(16)
        yield made.getsockname()[1]


def test_a_broker_that_says_nothing_is_told_as_such_and_in_time(case: MakeCase, silent: int) -> None:
    began = time.monotonic()
    login = found(case(mqtt={"host": "127.0.0.1", "port": silent}))["login"]
    assert (login.verdict, "did not answer" in login.found) == ("failed", True)
    assert time.monotonic() - began < broker.WAY_S + 5


def test_a_password_file_that_is_not_there_fails_before_anything_is_dialled(case: MakeCase) -> None:
    seen = found(case(mqtt={"host": "127.0.0.1", "port": 1, "username": "a", "password_file": "absent"}))
    assert (list(seen), seen["broker"].verdict) == (["broker"], "failed")
    assert "mqtt.password_file" in seen["broker"].found
    hidden = found(case(mqtt={"host": "127.0.0.1", "port": 1, "username": "a", "password_file": "credential:x"}))
    assert (hidden["broker"].verdict, hidden["broker"].remedy) == ("skipped", "sudo lookout doctor")


# --- the bytes --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_whatever_a_broker_answers_is_a_code_too_little_or_no_connack(data: bytes) -> None:
    try:
        code = mqtt.read_connack(data)
    except ValueError:
        return
    assert code is None or 0 <= code <= 255


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x20\x02\x00\x00", 0),
        (b"\x20\x02\x00\x05", 0x87),
        (b"\x20\x03\x00\x86\x00", 0x86),
        (b"\x20\x0b\x00\x00" + bytes(9), 0),
        (b"\x20", None),
        (b"", None),
    ],
)
def test_codes_of_both_versions_are_counted_alike(data: bytes, code: int | None) -> None:
    assert mqtt.read_connack(data) == code


@given(st.text(max_size=300), st.none() | st.text(max_size=300))
def test_a_connect_says_how_long_it_is(username: str, password: str | None) -> None:
    packet = mqtt.connect_packet("5", "lookout-doctor-1", username, password)
    length, at, shift = 0, 1, 0
    while True:
        length |= (packet[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not packet[at - 1] & 0x80:
            break
    assert len(packet) == at + length
