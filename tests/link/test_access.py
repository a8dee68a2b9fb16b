"""TLS, certificates, passwords: what is accepted, what is refused in which words, how renewed files are taken up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.schema import Mqtt
from agent.link import access, renewal
from agent.link.faults import BrokerFault
from agent.link.renewal import LOOK_S, RETRY_S, SPREAD_S, Renewal
from tests.conftest import Broker, free_port, wait_for_port
from tests.fakes.authority import Authority
from tests.link.conftest import Link


def error_of(device: Link) -> Any:
    return device.wait_until(lambda: device.session.statistics().last_error)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody here has reason to trust."""
    return Authority(tmp_path_factory.mktemp("other"))


TlsBroker = Callable[..., Broker]


@pytest.fixture
def tls_broker(mosquitto: Any, authority: Authority) -> TlsBroker:
    def start(extra: str = "", server: tuple[Path, Path] | None = None) -> Broker:
        certificate, key = server or authority.server
        made: Broker = mosquitto(
            f"cafile {authority.ca}\ncertfile {certificate}\nkeyfile {key}\nallow_anonymous true\n{extra}"
        )
        return made

    return start


@contextlib.contextmanager
def old_tls(authority: Authority) -> Iterator[int]:
    """A server that knows TLS 1.1 at most."""
    port = free_port()
    certificate, key = authority.server
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(certificate), "-key", str(key), "-tls1_1",
         "-cipher", "DEFAULT@SECLEVEL=0", "-quiet"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(port)
        yield port
    finally:
        server.kill()
        server.communicate()


def trusting(authority: Authority, **more: Any) -> dict[str, Any]:
    return {"ca_file": str(authority.ca), **more}


def own(pair: tuple[Path, Path]) -> dict[str, str]:
    return {"cert_file": str(pair[0]), "key_file": str(pair[1])}


# --- what is trusted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_trusted_certificate_is_connected_to(
    protocol: str, link: Any, tls_broker: TlsBroker, authority: Authority
) -> None:
    device = link(tls_broker().port, protocol=protocol, tls=trusting(authority))
    device.wait_connected()
    peer = device.session._visit.connection._client.socket()
    assert peer.version() in ("TLSv1.2", "TLSv1.3")


def test_a_broker_whose_tls_is_older_than_1_2_is_refused(link: Any, authority: Authority) -> None:
    with old_tls(authority) as port:
        error = error_of(link(port, tls=trusting(authority)))
    assert error.code == "broker_refused"
    assert "no TLS 1.2 or newer" in error.message


def test_no_context_goes_below_1_2_whatever_the_system_allows(authority: Authority) -> None:
    context = access.load(Mqtt.model_validate({"host": "h", "tls": trusting(authority)}), None).tls
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("what", "says", "remedy"),
    [
        ("wrong authority", "not trusted", "mqtt.tls.ca_file must hold"),
        ("no authority", "not trusted", "mqtt.tls.ca_file must hold"),
        ("expired", "certificate has expired", "renewed at the broker"),
        ("wrong name", "mismatch", "mqtt.host must be a name"),
    ],
)
def test_each_reason_not_to_trust_a_broker_has_its_own_remedy(
    what: str,
    says: str,
    remedy: str,
    link: Any,
    tls_broker: TlsBroker,
    authority: Authority,
    other: Authority,
    tmp_path: Path,
) -> None:
    server = None
    tls = trusting(authority)
    if what == "wrong authority":
        tls = trusting(other)
    elif what == "no authority":
        tls = {}
    elif what == "expired":
        server = authority.expired_server()
    else:
        elsewhere = Authority(tmp_path / "elsewhere", names=("broker.example.org",))
        tls, server = trusting(elsewhere), elsewhere.server
    error = error_of(link(tls_broker(server=server).port, tls=tls))
    assert error.code == "broker_refused"
    assert says in error.message
    assert remedy in error.message


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_a_certificate_of_ours_is_shown_where_the_broker_asks_for_one(
    protocol: str, link: Any, tls_broker: TlsBroker, authority: Authority, other: Authority
) -> None:
    there = tls_broker("require_certificate true")
    error = error_of(link(there.port, tls=trusting(authority), protocol=protocol))
    assert "wants a certificate of this device; set mqtt.tls.cert_file" in error.message
    foreign = link(there.port, tls=trusting(authority, **own(other.device("cam2"))), device="cam2", protocol=protocol)
    assert "mqtt.tls.cert_file" in error_of(foreign).message
    good = link(there.port, tls=trusting(authority, **own(authority.device("cam3"))), device="cam3", protocol=protocol)
    good.wait_connected()


def test_plain_against_tls_and_tls_against_plain_are_told_apart(
    link: Any, tls_broker: TlsBroker, mosquitto: Any
) -> None:
    plain = error_of(link(tls_broker().port))
    assert "mqtt.tls" in plain.message
    tls = error_of(link(mosquitto().port, tls={}))
    assert "mqtt.port" in tls.message


# --- files -----------------------------------------------------------------------------------------------------------


def loaded(credentials: Path | None = None, **mqtt: Any) -> access.Access:
    return access.load(Mqtt.model_validate({"host": "h", **mqtt}), credentials)


def refusal(credentials: Path | None = None, **mqtt: Any) -> BrokerFault:
    with pytest.raises(BrokerFault) as caught:
        loaded(credentials, **mqtt)
    return caught.value


def test_each_file_that_cannot_be_used_is_named_with_its_key_and_reason(
    authority: Authority, other: Authority, tmp_path: Path
) -> None:
    junk, locked = tmp_path / "junk.pem", tmp_path / "locked.key"
    junk.write_text("not this one")
    subprocess.run(
        ["openssl", "genrsa", "-aes128", "-passout", "pass:x", "-out", str(locked), "1024"],
        check=True,
        capture_output=True,
    )
    certificate, key = authority.device("cam1")
    for tls, field, reason in (
        ({"ca_file": "/nowhere/ca.pem"}, "mqtt.tls.ca_file (/nowhere/ca.pem)", "No such file"),
        ({"ca_file": str(junk)}, "mqtt.tls.ca_file", "not the PEM file"),
        ({"cert_file": str(junk), "key_file": str(key)}, "mqtt.tls.cert_file", "not the PEM file"),
        (
            {"cert_file": str(certificate), "key_file": "/nowhere/key"},
            "mqtt.tls.key_file (/nowhere/key)",
            "No such file",
        ),
        ({"cert_file": str(certificate), "key_file": str(locked)}, "mqtt.tls.key_file", "encrypted"),
        ({"cert_file": str(certificate), "key_file": str(other.device("cam1")[1])}, "mqtt.tls.key_file", "name a pair"),
    ):
        message = refusal(tls=tls).message
        assert field in message
        assert reason in message
    for text, reason in ((b"", "empty"), (b"\xff", "UTF-8"), (b"a\0b", "NUL")):
        junk.write_bytes(text)
        message = refusal(username="u", password_file=str(junk)).message
        assert "mqtt.password_file" in message
        assert reason in message


def test_a_credential_is_a_file_in_systemds_folder(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("yard\n")
    (tmp_path / "password").write_text("secret word\r\n")
    files = {"username_file": "credential:user", "password_file": "credential:password"}
    found = loaded(tmp_path, **files)
    assert (found.username, found.password) == ("yard", "secret word")
    assert "LoadCredential=user" in refusal(None, **files).message
    for name in ("credential:", "credential:../etc/shadow", "credential:..", "credential:a/b"):
        assert "without /" in refusal(tmp_path, username="u", password_file=name).message


def test_a_password_that_was_read_from_a_file_is_hidden_from_then_on(tmp_path: Path) -> None:
    from agent.known_secrets import hide

    (tmp_path / "password").write_text("tr0ubad0ur\n")
    loaded(username="u", password_file=str(tmp_path / "password"))
    assert "tr0ubad0ur" not in hide("the broker said tr0ubad0ur")


def test_user_name_and_password_come_out_of_files(link: Any, mosquitto: Any, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "yard", "right"], check=True, capture_output=True)
    (tmp_path / "user").write_text("yard\n")
    (tmp_path / "secret").write_text("right\n")
    there = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    link(
        there.port, username_file="credential:user", password_file=f"{tmp_path}/secret", credentials=tmp_path
    ).wait_connected()


# --- renewed files ---------------------------------------------------------------------------------------------------


def test_files_are_taken_up_within_a_minute() -> None:
    assert 2 * LOOK_S + SPREAD_S < 60


def test_files_that_still_change_are_not_judged_and_the_moment_is_drawn() -> None:
    old, half, new = ((1, 1, 1, 1),), ((1, 2, 2, 0),), ((1, 2, 3, 9),)
    watched = Renewal(old, 0.0)
    assert not watched.due(LOOK_S - 1)
    assert watched.due(LOOK_S)
    assert not watched.changed(half, 10.0)
    assert not watched.changed(new, 20.0)
    assert watched.changed(new, 30.0)
    assert not watched.changed(new, 40.0)
    watched.usable(40.0, 0.5)
    assert not watched.leave(40.0 + SPREAD_S / 2 - 1)
    assert watched.leave(40.0 + SPREAD_S / 2)


def test_files_that_cannot_be_used_are_judged_again_later_though_they_did_not_change() -> None:
    watched = Renewal(((1, 1, 1, 1),), 0.0)
    bad = ((2, 2, 2, 2),)
    watched.changed(bad, 10.0)
    assert watched.changed(bad, 20.0)
    watched.unusable(20.0)
    assert not watched.changed(bad, 30.0)
    assert watched.changed(bad, 20.0 + RETRY_S)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and spreads in a fraction of a second."""
    monkeypatch.setattr(renewal, "LOOK_S", 0.2)
    monkeypatch.setattr(renewal, "SPREAD_S", 0.2)
    monkeypatch.setattr("agent.link.visit.LOOK_S", 0.1)


def replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def shown_name(device: Link) -> str:
    return device.session.statistics().credentials_problem


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_renewed_certificate_is_taken_up_on_a_living_connection(
    protocol: str, link: Any, tls_broker: TlsBroker, authority: Authority, operator: Any, tmp_path: Path, mosquitto: Any
) -> None:
    there = tls_broker(
        f"require_certificate true\nuse_identity_as_username true\n"
        f"listener {(plain := free_port())} 127.0.0.1\nlog_type all\nlog_dest file {tmp_path}/log\n"
    )
    wait_for_port(plain)
    watcher = operator(plain)
    certificate, key = tmp_path / "device.pem", tmp_path / "device.key"
    for path, source in zip((certificate, key), authority.device("old"), strict=True):
        path.write_bytes(source.read_bytes())
    device = link(there.port, protocol=protocol, tls=trusting(authority, **own((certificate, key))))
    device.wait_connected()
    for path, source in zip((key, certificate), reversed(authority.device("new")), strict=True):
        replace(path, source.read_bytes())
        time.sleep(0.05)
    device.wait_connected(session=2)
    assert shown_name(device) == ""
    assert "u'new'" in (tmp_path / "log").read_text()
    watcher.wait_for_payload("lookout/cam1/status", b"online")
    if protocol == "5":  # the will waits, and the device is back before it is sent: nobody noticed
        assert b"offline" not in [message.payload for message in watcher.on("lookout/cam1/status")]
    assert device.session.statistics().failures == 0


@pytest.mark.usefixtures("quick")
def test_broken_files_leave_the_living_connection_alone_and_are_told(
    link: Any, tls_broker: TlsBroker, authority: Authority, other: Authority, tmp_path: Path
) -> None:
    there = tls_broker("require_certificate true")
    files = {"ca.pem": authority.ca}
    files |= dict(zip(("device.pem", "device.key"), authority.device("cam1"), strict=True))
    for name, source in files.items():
        (tmp_path / name).write_bytes(source.read_bytes())
    ca, certificate, key = (tmp_path / name for name in files)
    device = link(there.port, tls={"ca_file": str(ca), **own((certificate, key))})
    device.wait_connected()
    for path, content, reason in (
        (key, b"half a k", "mqtt.tls.key_file"),
        (key, other.device("cam1")[1].read_bytes(), "name a pair"),
        (ca, other.ca.read_bytes(), "not trusted"),  # tried on a connection of its own
    ):
        before = path.read_bytes()
        replace(path, content)
        device.wait_until(lambda says=reason: says in shown_name(device))
        assert "goes on with the old ones" in shown_name(device)
        replace(path, before)
        device.wait_until(lambda: shown_name(device) == "")
    assert device.session.statistics().session == 1
    assert device.session.statistics().state == "connected"


@pytest.mark.usefixtures("quick")
def test_a_renewed_password_that_the_broker_refuses_is_told_and_the_old_one_is_used(
    link: Any, mosquitto: Any, tmp_path: Path
) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "yard", "one"], check=True, capture_output=True)
    secret.write_text("one\n")
    there = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    device = link(there.port, username="yard", password_file=str(secret))
    device.wait_connected()
    replace(secret, b"two\n")  # sooner than the broker's
    device.wait_connected(session=2)
    assert "renewed credentials were refused" in shown_name(device)
    assert "one" not in shown_name(device).split()
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "yard", "two"], check=True, capture_output=True)
    there.kill()
    there.restart()
    device.wait_connected(session=3)
    assert shown_name(device) == ""


def test_files_that_vanished_do_not_keep_a_device_from_coming_back(
    link: Any, tls_broker: TlsBroker, authority: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.ca.read_bytes())
    device = link(tls_broker().port, tls={"ca_file": str(ca)})
    device.wait_connected()
    ca.unlink()
    device.session._visit.connection._client.socket().shutdown(socket.SHUT_RDWR)
    device.wait_connected(session=2)
    assert str(ca) in shown_name(device)
    assert "the last ones that worked are used" in shown_name(device)


def test_relative_paths_start_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    from agent import settings
    from agent.config.layers import load

    (tmp_path / "agent.yaml").write_text(
        "schema: 1\n"
        "cameras: {a: {source: {kind: pattern}}}\n"
        "pipelines: {p: {cameras: [a]}}\n"
        "mqtt:\n"
        "  host: broker\n"
        "  username_file: user\n"
        "  password_file: credential:password\n"
        "  tls: {ca_file: certs/ca.pem, cert_file: /etc/device.pem, key_file: device.key}\n"
    )
    found = settings.broker(load(tmp_path / "agent.yaml", {}))
    assert found.tls is not None
    assert access.named_files(found) == {
        "mqtt.username_file": f"{tmp_path}/user",
        "mqtt.password_file": "credential:password",
        "mqtt.tls.ca_file": f"{tmp_path}/certs/ca.pem",
        "mqtt.tls.cert_file": "/etc/device.pem",
        "mqtt.tls.key_file": f"{tmp_path}/device.key",
    }
