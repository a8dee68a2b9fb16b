"""A secret that the process has seen comes out nowhere, whoever logs it, however it is written, wherever it stands."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import known_secrets
from agent.config.layers import load
from agent.config.schema import Logs
from agent.config.shown import hidden, shown
from agent.diagnose import Diagnoser, Section
from agent.errors import CommandError
from agent.known_secrets import MAX_CHARS, hide, remember
from agent.link.forms import DeviceDiagnose, LogsTail
from agent.link.messages import encode
from agent.link.verbs import Deferred
from agent.logs.afar import AskedLogs
from agent.logs.children import forward
from agent.logs.processors import MAX_TEXT_CHARS
from agent.logs.setup import configure
from agent.redact import MARK
from agent.types import Outgoing
from tests.depth import examples


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_known", {})
    monkeypatch.setattr(known_secrets, "_pattern", None)


SECRET = "Ünîc/ode \"q'uoted\\ & p%ss w?rd="
WAYS = [
    SECRET,
    f"before{SECRET}after",
    quote(SECRET),
    quote(SECRET, safe=""),
    json.dumps({"x": SECRET}),
    json.dumps({"x": SECRET}, ensure_ascii=False),
    repr(SECRET),
    repr(SECRET.encode()),
    f"x{'y' * (MAX_TEXT_CHARS - 10)}{SECRET}",
    "y" * (MAX_TEXT_CHARS + 2 * MAX_CHARS - 5) + SECRET,
]


@pytest.mark.parametrize("text", WAYS)
def test_a_secret_is_hidden_however_it_is_written(text: str, out: io.BytesIO) -> None:
    remember([SECRET])
    configure(Logs(), out)
    structlog.get_logger(part="x").info("event", text=text)
    written = json.loads(out.getvalue())["text"]
    for part in (SECRET, "uoted", "ode", "w?rd", "p%ss", "p%25ss", "w%3Frd"):
        assert part not in written


def test_each_line_of_a_key_is_a_secret_and_a_word_of_three_letters_is_none() -> None:
    remember(["-----BEGIN KEY-----\nAbCd0123\nXyZ45678\n-----END KEY-----\n", "abc", ""])
    assert hide("abc AbCd0123 and XyZ45678") == f"abc {MARK} and {MARK}"


def test_what_is_remembered_is_bounded() -> None:
    remember(f"secret-{n:05d}" for n in range(known_secrets.MAX_KNOWN))
    remember([f"another-{n}" for n in range(3)])
    assert len(known_secrets._known) == known_secrets.MAX_KNOWN
    assert hide("another-0 another-2") == f"{MARK} {MARK}"


CONFIG = """
schema: 1
mqtt: {host: broker, username: someone, password: swordfish-1}
cameras:
  a: {source: {kind: url, url: "rtsp://admin:sword%2Dfish-2@10.0.0.1/x?token=swordfish-3"}}
  b: {source: {kind: gstreamer, pipeline: "rtspsrc location=rtsp://h/x user-id=me user-pw=swordfish-4 ! appsink"}}
pipelines: {p: {cameras: [a, b]}}
registry: {url: "https://registry/x", proxy: "http://me:swordfish-5@proxy:3128"}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.yaml"
    file.write_text(CONFIG)
    return file


def test_whoever_loads_a_configuration_has_its_secrets_hidden_from_then_on(config_file: Path, out: io.BytesIO) -> None:
    load(config_file, {"LOOKOUT__MQTT__PASSWORD": "swordfish-6"})
    configure(Logs(), out)
    structlog.get_logger(part="x").info("event", text="sword-fish-2 swordfish-3 swordfish-4 swordfish-5 swordfish-6")
    assert "fish" not in out.getvalue().decode()


def test_a_configuration_is_shown_without_its_secrets(config_file: Path) -> None:
    loaded = load(config_file, {})
    text = json.dumps(shown(loaded))
    assert "fish" not in text
    assert shown(loaded, "mqtt.password") == MARK
    assert shown(loaded, "cameras.a.source.url") == f"rtsp://{MARK}@10.0.0.1/x?token={MARK}"
    assert shown(loaded, "mqtt")["username"] == "someone"
    assert shown(loaded, "registry.token_file") is None
    assert shown(loaded, "registry.poll_s") == 3600.0
    assert hidden({"mqtt": {"password": "x", "port": 1}}) == {"mqtt": {"password": MARK, "port": 1}}


@pytest.mark.parametrize("path", ["mqtt.pasword", "nothing", "mqtt.password.x", "cameras.c", "."])
def test_a_path_that_leads_nowhere_is_told(config_file: Path, path: str) -> None:
    with pytest.raises(CommandError) as caught:
        shown(load(config_file, {}), path)
    assert caught.value.field == "args.path"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path_factory.mktemp("j") / "socket"))
        listener.setblocking(False)
        yield listener


TOLD = "Tr0ub4dor&3"
containers = st.recursive(
    st.sampled_from([TOLD, f"x{TOLD}y", f"rtsp://u:{TOLD}@h/", repr(TOLD), TOLD.encode(), quote(TOLD, safe="")])
    | st.none()
    | st.integers()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["k", TOLD, "password", f"a{TOLD}"]) | st.text(max_size=4), inner, max_size=3)
        | inner.map(lambda value: ValueError(value))
    ),
    max_leaves=8,
)


@settings(max_examples=examples(60))
@given(
    record=st.dictionaries(
        st.sampled_from(["at", "level", "event", "part", "child", "text", TOLD, "exc_info", "topic"]),
        containers,
        min_size=1,
        max_size=5,
    )
)
def test_a_known_secret_comes_out_of_no_exit(
    journal: socket.socket, tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    remember([TOLD])
    file = tmp_path_factory.mktemp("f")
    with (file / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        logs = configure(
            Logs(level="debug", fold_s=0), stream, environ, file=file / "log", journal=Path(journal.getsockname())
        )
        published: list[Outgoing] = []
        AskedLogs(logs, published.append).tail(LogsTail(level="debug"))
        forward("worker-1", record)
        try:
            raise ValueError(record)
        except ValueError:
            structlog.get_logger(part="x").exception("failed", **{"fields": record})
        logs.desk.close()
    logs.levels.configure("info", {})
    diagnoser = Diagnoser(
        [Section("x", lambda: {"record": repr(record), TOLD: [TOLD]})],
        why_not=dict,
        logs=logs.ring.tail,
        snapshot=lambda _: Deferred(),
    )
    journalled = journal.recv(1 << 20) + journal.recv(1 << 20)
    exits = {
        "journal": journalled,
        "file": (file / "log").read_bytes(),
        "ring": repr(logs.ring.tail(10)).encode(),
        "tail": b"".join(encode(message.payload) for message in published),
        "diagnose": encode(diagnoser.diagnose(DeviceDiagnose())),
    }
    assert len(published) == 2
    for name, text in exits.items():
        assert TOLD.encode() not in text, name
        assert b"Tr0ub4dor" not in text, name
