"""``configs/mosquitto`` at a real mosquitto: who gets in, and what each may say and hear."""

from __future__ import annotations

import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.conftest import ROOT, Broker, free_port, start_mosquitto, wait_for_port
from tests.fakes.authority import Authority

from . import shelf

FILES = ROOT / "configs" / "mosquitto"
PASSWORDS = {name: f"of-{name}" for name in ("ops.operator", "ops.watcher", "ops.homeassistant", "shed")}
WAIT_S = 10


@dataclass
class Doors:
    """The broker as its files describe it, but for folders and ports."""

    authority: Authority
    broker: Broker
    ports: dict[int, int]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("mosquitto")
    authority = Authority(folder / "lookout")
    passwords = folder / "lookout" / "passwords"
    passwords.touch()
    for name, password in PASSWORDS.items():
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), name, password], check=True, capture_output=True)
    (folder / "lookout" / "acl").write_bytes((FILES / "acl").read_bytes())
    ports = {port: free_port() for port in (8883, 8884, 8885)}
    text = (FILES / "mosquitto.conf").read_text()
    text = text.replace("/etc/mosquitto/lookout", f"{folder}/lookout").replace("/var/lib/mosquitto/", f"{folder}/")
    text = re.sub(r"^listener (\d+)$", lambda found: f"listener {ports[int(found[1])]} 127.0.0.1", text, flags=re.M)
    text = text.replace("log_dest syslog", f"log_dest file {folder}/log")
    broker = start_mosquitto(folder, text)
    for port in ports.values():
        wait_for_port(port)
    yield Doors(authority, broker, ports)
    broker.kill()


@dataclass
class Client:
    """Somebody at the broker, over MQTT 5, so that refusals have a reason."""

    doors: Doors
    door: int
    user: str | None = None
    password: str | None = None
    certificate: str | None = None
    client_id: str = ""
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def __enter__(self) -> Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(self.doors.authority.ca))
        if self.certificate is not None:
            context.load_cert_chain(*self.doors.authority.device(self.certificate))
        client.tls_set_context(context)
        if self.user is not None:
            client.username_pw_set(self.user, self.password)
        self.answer: Any = None
        self._told = threading.Condition()
        client.on_connect = lambda _c, _d, _f, reason, _p: self._tell(reason)
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self._tell(reason)
        client.on_publish = lambda _c, _d, _m, reason, _p: self._tell(reason)
        client.on_subscribe = lambda _c, _d, _m, reasons, _p: self._tell(reasons[0])
        client.on_message = self._hear
        self.client = client
        client.connect("127.0.0.1", self.doors.ports[self.door])
        client.loop_start()
        self.welcome = self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _tell(self, reason: ReasonCode) -> None:
        with self._told:
            self.answer = self.answer or reason
            self._told.notify()

    def _hear(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._told:
            self.heard.append((message.topic, message.payload))
            self._told.notify()

    def _wait(self) -> ReasonCode:
        with self._told:
            assert self._told.wait_for(lambda: self.answer is not None, WAIT_S)
            found, self.answer = self.answer, None
            return found

    def may_say(self, topic: str, payload: bytes = b"x", properties: Properties | None = None) -> bool:
        self.client.publish(topic, payload, qos=1, properties=properties)
        return not self._wait().is_failure

    def listen(self, topic: str) -> None:
        self.client.subscribe(topic, 1)
        self._wait()

    def hears(self, topic: str, payload: bytes) -> bool:
        with self._told:
            return self._told.wait_for(lambda: (topic, payload) in self.heard, WAIT_S)

    def hears_from(self, topic: str) -> bool:
        with self._told:
            return self._told.wait_for(lambda: any(of == topic for of, _ in self.heard), WAIT_S)


def device(doors: Doors, name: str = "yard") -> Client:
    return Client(doors, 8883, certificate=name)


def operator(doors: Doors, user: str = "ops.operator") -> Client:
    return Client(doors, 8884, user=user, password=PASSWORDS[user])


def turned_away(client: Client) -> bool:
    """Whether the broker does not let this one in; with TLS 1.3 it says so only after the handshake."""
    try:
        with client:
            return bool(client.welcome.is_failure)
    except (ssl.SSLError, ConnectionError):
        return True


def test_nobody_gets_in_without_a_name_or_with_a_wrong_password(doors):
    for door in (8884, 8885):
        with Client(doors, door) as nobody:
            assert nobody.welcome.is_failure
        with Client(doors, door, user="shed", password="wrong") as liar:
            assert liar.welcome.is_failure


def test_no_certificate_no_entry(doors):
    client = Client(doors, 8883, user="ops.operator", password=PASSWORDS["ops.operator"])
    assert turned_away(client)


def test_a_device_says_its_own_things_and_none_of_anothers(doors):
    with device(doors) as yard, operator(doors, "ops.watcher") as watcher:
        watcher.listen("lookout/#")
        for tail in ("status", "info", "state/cam", "detections/cam", "events/cam", "snapshots/cam", "telemetry",
                     "deploy/main", "update/main", "reported", "result/model/deploy", "logs"):  # fmt: skip
            assert yard.may_say(f"lookout/yard/{tail}"), tail
            assert not yard.may_say(f"lookout/gate/{tail}"), tail
            assert watcher.hears(f"lookout/yard/{tail}", b"x")
        assert not any(topic.startswith("lookout/gate/") for topic, _ in watcher.heard)


def test_a_device_commands_nobody_and_desires_nothing(doors):
    with device(doors) as yard:
        for target in ("yard", "gate", "_all", "_group/doors"):
            assert not yard.may_say(f"lookout/{target}/cmd/model/deploy")
        for target in ("yard", "gate"):
            assert not yard.may_say(f"lookout/{target}/desired")


def test_a_device_hears_what_is_meant_for_it_and_nothing_of_anothers(doors):
    with device(doors) as yard, device(doors, "gate") as gate, operator(doors) as boss:
        for topic in ("lookout/#", "lookout/gate/#", "#", "lookout/yard/cmd/+/+"):
            yard.listen(topic)
        assert gate.may_say("lookout/gate/info", b"of the gate")
        assert boss.may_say("lookout/gate/cmd/device/ping", b"for the gate")
        assert boss.may_say("lookout/gate/desired", b"for the gate")
        assert boss.may_say("lookout/yard/cmd/device/ping", b"for the yard")
        assert boss.may_say("lookout/_all/cmd/device/ping", b"for all")
        assert boss.may_say("lookout/_group/doors/cmd/device/ping", b"for doors")
        assert boss.may_say("lookout/yard/desired", b"last")
        assert yard.hears("lookout/yard/desired", b"last")
        assert {topic for topic, _ in yard.heard} == {
            "lookout/yard/cmd/device/ping",
            "lookout/_all/cmd/device/ping",
            "lookout/_group/doors/cmd/device/ping",
            "lookout/yard/desired",
        }


def test_an_operator_commands_and_forges_no_device(doors):
    with operator(doors) as boss:
        for tail in ("status", "events/cam", "reported", "result/model/deploy"):
            assert not boss.may_say(f"lookout/yard/{tail}")
    with operator(doors, "ops.watcher") as watcher:
        assert not watcher.may_say("lookout/yard/cmd/device/ping")
        assert not watcher.may_say("lookout/yard/desired")
    with operator(doors, "ops.homeassistant") as home:
        assert home.may_say("lookout/yard/cmd/model/deploy")
        assert not home.may_say("lookout/yard/cmd/config/patch")
        assert not home.may_say("lookout/yard/desired")


def test_a_device_with_a_password_is_as_bounded_as_one_with_a_certificate(doors):
    with Client(doors, 8885, user="shed", password=PASSWORDS["shed"]) as shed:
        assert shed.may_say("lookout/shed/info")
        assert not shed.may_say("lookout/yard/info")
        assert not shed.may_say("lookout/shed/desired")


def test_a_device_cannot_throw_another_one_out_by_its_client_id(doors):
    with device(doors) as yard, device(doors, "gate") as gate:
        assert not yard.welcome.is_failure
        with Client(doors, 8883, certificate="gate", client_id="lookout-yard") as thief:
            assert not thief.welcome.is_failure
            assert yard.may_say("lookout/yard/info", b"still here")
            assert not thief.may_say("lookout/yard/info")
        del gate


def test_a_revoked_device_is_not_let_in(doors):
    doors.authority.run("device", "lost")
    kept = [path.read_bytes() for path in doors.authority.device("lost")]
    doors.authority.run("revoke", "lost")
    for path, content in zip(doors.authority.device("kept"), kept, strict=True):
        path.write_bytes(content)
    doors.broker.kill()
    doors.broker.restart()
    wait_for_port(doors.ports[8883])
    client = Client(doors, 8883, certificate="kept")
    assert turned_away(client)


def test_a_whole_device_works_at_this_broker(doors, world, veteran):
    """The agent with a certificate of its own: it is commanded, and nothing that it says is refused."""
    made = world.device(state=veteran, start=False)
    certificate, key = doors.authority.device(made.name)
    for source, name in ((doors.authority.ca, "ca.pem"), (certificate, "device.pem"), (key, "device.key")):
        (made.folder / name).write_bytes(source.read_bytes())
    made.config["mqtt"] = {
        "host": "localhost",
        "port": doors.ports[8883],
        "tls": {"ca_file": "ca.pem", "cert_file": "device.pem", "key_file": "device.key"},  # beside agent.yaml
    }
    made.start()
    made.wait_status(lambda seen: seen.broker.state == "connected")
    made.wait_serving(shelf.TINY)
    with operator(doors) as boss:
        boss.listen(f"lookout/{made.name}/#")
        assert boss.may_say(f"lookout/{made.name}/cmd/device/ping", b'{"v": 1, "id": "one"}')
        assert boss.hears(f"lookout/{made.name}/status", b"online")
        assert boss.hears_from(f"lookout/{made.name}/result/device/ping")
    log = made.log.read_text()
    assert "publish.refused" not in log
    assert "not_subscribed" not in log


def test_the_files_name_no_secret_and_no_anonymous_door():
    text = (FILES / "mosquitto.conf").read_text()
    assert "allow_anonymous false" in text
    assert text.count("tls_version tlsv1.2") == len(re.findall(r"^listener ", text, re.M)) == 3
    assert not list(Path(FILES).glob("*.key"))
