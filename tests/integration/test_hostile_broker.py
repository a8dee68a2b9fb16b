"""Promise 3: a hostile broker chooses among signed releases and remote keys; nothing else that it sends has an effect.

The broker of these tests is the enemy: it heeds no rule of MQTT, and whatever a broker can send, a real agent gets. All
attacks are on one device. After each of them it still sees, with the model that was signed, under the configuration
that its owner wrote, as the same process; and after all of them Python itself bears witness (audit events of every
process of the device) to what was started, written and connected to.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import time
from pathlib import Path

import pytest

from agent.link.forms import FORMS
from agent.process.memory import pss_bytes
from tests.fakes.hostile_broker import HostileBroker

from . import shelf
from .processes import family, until

OURS = {"agent.capture.main", "agent.serve.main", "agent.registry.fetch", "agent.inspect.main"}
PATIENCE_S = 120.0
"""For an answer that comes after those to ten thousand commands."""

MORE_MB = 60.0
"""What a siege may cost in memory."""


class Siege:
    """The device, and what it was before."""

    def __init__(self, device, broker) -> None:
        self.device, self.broker = device, broker
        self.root = f"lookout/{device.name}/"
        self._ids = itertools.count(1)
        device.wait_serving(shelf.TINY)
        self.pid = device.pid
        self.files = self.look_at_files()
        self.config = self.in_force()
        self.memory = pss_bytes(device.pid)

    # --- what the enemy does -----------------------------------------------------------------------------------------

    def send(self, topic, payload, **options) -> None:
        self.broker.publish(self.root + topic, payload, **options)

    def command(self, verb, args=None, *, patience_s=PATIENCE_S, **envelope):
        """Send a command and return its answer."""
        result, identity = f"{self.root}result/{verb}", f"siege-{next(self._ids)}"
        mark, since = f'"id":"{identity}","ok":'.encode(), len(self.broker.seen)
        self.send(f"cmd/{verb}", {"v": 1, "id": identity, "args": args or {}, **envelope})

        def answer():
            mine = (m.payload for m in self.broker.seen[since:] if m.topic == result and mark in m.payload)
            return next(map(json.loads, mine), None)

        return self.broker.wait(answer, patience_s)

    # --- what must hold ----------------------------------------------------------------------------------------------

    def look_at_files(self) -> dict[str, str]:
        """The digest of each file of the device that is neither state nor log nor this test's."""
        folder = self.device.folder
        mine = (self.device.state, folder / "run", self.device.temporary, self.device.log)
        found = [path for path in folder.rglob("*") if path.is_file() and not any(path.is_relative_to(m) for m in mine)]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def in_force(self):
        answer = self.command("config/get")
        assert answer["ok"], answer
        return answer["result"]["config"]

    def changed(self) -> list[str]:
        """Sections in which the configuration in force differs from what it was."""
        now = self.in_force()
        return [name for name in now if now[name] != self.config.get(name)]

    def company(self) -> set[str | None]:
        """What runs beside the agent."""
        return {process.module for process in family(self.pid) if process.pid != self.pid}

    def must_hold(self) -> None:
        """It sees, with the signed model, as the same process, with no other beside it, and grew no fatter."""
        self.device.wait_serving(shelf.TINY)
        assert self.device.pid == self.pid
        until(lambda: self.company() <= OURS, 5, lambda: f"beside it run {self.company()}")  # one may just begin
        if self.broker.connected:
            assert self.changed() == []
        assert (pss_bytes(self.pid) - self.memory) / 1e6 < MORE_MB


@pytest.fixture(scope="module")
def siege(shared_world, veteran):
    broker = HostileBroker()
    device = shared_world.device(
        port=broker.port,
        state=veteran,
        start=False,
        registry={"min_version": {"steady": "1.1.0"}},
        remote={"restart": False, "confirm_s": 5},
        home_assistant={"enabled": True},
        mqtt={"password": "the-secret-of-the-owner", "username": "cam", "reconnect_s": 0.2},
    )
    device.env["PYTHONPATH"] = str(Path(__file__).parent / "spy_deeds")
    device.start()
    yield Siege(device, broker)
    broker.close()


@pytest.fixture(autouse=True)
def _and_then_all_is_as_it_was(siege):
    yield
    siege.must_hold()


# --- releases --------------------------------------------------------------------------------------------------------

UNSIGNED = ["tiny:9.9.9", "nothing:1.0.0", "nothing@stable", "steady:1.0.0"]
"""The last is signed, and below the floor that the owner set."""


@pytest.mark.parametrize(
    "reference",
    [
        "tiny:9.9.9", "steady:1.0.0", shelf.DAMAGED,
        *(pytest.param(one, marks=pytest.mark.faults) for one in (*UNSIGNED[1:3], shelf.YANKED, shelf.LYING)),
    ],
)  # fmt: skip
def test_a_release_that_is_not_signed_or_too_old_or_withdrawn_or_damaged_never_serves(siege, reference):
    before = len(siege.broker.on(siege.root + "deploy/watch"))
    assert siege.command("model/deploy", {"reference": reference, "force": True})["ok"]

    def ended():
        mine = [
            told for told in siege.broker.on(siege.root + "deploy/watch")[before:] if told["reference"] == reference
        ]
        return next((told for told in mine if told["state"] in ("failed", "rolled_back", "committed")), None)

    told = siege.broker.wait(ended)
    assert told["state"] == "failed"
    assert told["reason"]
    assert told["current"]["version"] == "1.0.0"


NO_REFERENCE = ["../../../etc/passwd:1.0.0", "/etc/passwd", "file:///etc/passwd", "http://evil.example/m:1",
                "tiny:$(id)", "-tiny:1.0.0", "tiny", "\0:1.0.0", "TINY:1.0.0", "tiny:1.0.0\0"]  # fmt: skip


def test_what_names_no_release_is_refused_at_once(siege):
    for reference in NO_REFERENCE:
        error = siege.command("model/deploy", {"reference": reference})["error"]
        assert error["code"] in ("bad_reference", "bad_argument"), (reference, error)


def test_among_signed_releases_it_may_choose_and_the_way_back_is_open(siege):
    assert siege.command("model/deploy", {"reference": shelf.NEWER})["ok"]
    siege.device.wait_serving(shelf.NEWER)
    siege.broker.wait(lambda: siege.broker.on(siege.root + "deploy/watch")[-1]["state"] == "committed")
    assert siege.command("model/rollback")["ok"]
    siege.device.wait_serving(shelf.TINY)


# --- configuration ---------------------------------------------------------------------------------------------------

FORBIDDEN = {
    "state folder": ({"paths": {"state": "/tmp/enemy"}}, "paths.state"),
    "broker": ({"mqtt": {"host": "evil.example"}}, "mqtt.host"),
    "broker's port": ({"mqtt": {"port": 1}}, "mqtt.port"),
    "password": ({"mqtt": {"password": "known"}}, "mqtt.password"),
    "password file": ({"mqtt": {"password_file": "/etc/shadow"}}, "mqtt.password_file"),
    "no TLS": ({"mqtt": {"tls": {"ca_file": "/tmp/enemy.pem"}}}, "mqtt.tls"),
    "registry": ({"registry": {"url": "http://evil.example"}}, "registry.url"),
    "root of trust": ({"registry": {"trust_clock": False}}, "registry.trust_clock"),
    "proxy": ({"registry": {"proxy": "http://evil.example"}}, "registry.proxy"),
    "floor": ({"registry": {"min_version": {"steady": "0.0.1"}}}, "registry.min_version"),
    "factory": ({"pipelines": {"watch": {"factory": "/tmp/enemy"}}}, "pipelines.watch.factory"),
    "GStreamer": (
        {"cameras": {"yard": {"source": {"kind": "gstreamer", "pipeline": "filesrc location=/etc/shadow ! appsink"}}}},
        "cameras.yard.source",
    ),
    "file": ({"cameras": {"yard": {"source": {"kind": "file", "path": "/etc/shadow"}}}}, "cameras.yard.source"),
    "new camera on a file": (
        {"cameras": {"spy": {"source": {"kind": "images", "path": "/"}}}},
        "cameras.spy.source",
    ),
    "allow-list": ({"remote": {"brokers": ["evil.example"]}}, "remote.brokers"),
    "restart": ({"remote": {"restart": True}}, "remote.restart"),
    "confirm": ({"remote": {"confirm_s": 3600}}, "remote.confirm_s"),
    "log file": ({"logs": {"file": "/etc/cron.d/enemy"}}, "logs"),
    "prefix": ({"mqtt": {"prefix": "evil"}}, "mqtt.prefix"),
    "unknown": ({"plugins": {"load": "os.system"}}, "plugins"),
    "schema": ({"schema": 2}, "schema"),
}


def names(problems, key) -> bool:
    """Whether one of the problems is about ``key`` or something in it."""
    return any(str(problem["path"]).startswith(key) for problem in problems)


def test_a_desired_with_a_key_that_is_not_the_operators_is_refused_whole_and_the_key_named(siege):
    for version, (name, (config, key)) in enumerate(FORBIDDEN.items(), 1):
        whole = {**config, "governor": {"enabled": False}}
        siege.send("desired", {"v": 1, "epoch": 1, "version": version, "config": whole}, retained=True)

        def refused(version=version):
            return next((r for r in siege.broker.on(siege.root + "reported") if r["refused"] == [1, version]), None)

        assert names(siege.broker.wait(refused)["errors"], key), name
    assert siege.changed() == [], "whole or not at all"


def test_a_patch_with_such_a_key_is_refused_and_says_which(siege):
    for name, (patch, key) in FORBIDDEN.items():
        error = siege.command("config/patch", {"patch": patch})["error"]
        assert error["code"] != "internal"
        assert names(error["problems"], key), (name, error)
    assert siege.changed() == []


def test_remote_keys_are_the_operators_and_so_the_brokers(siege):
    assert siege.command("config/patch", {"patch": {"report": {"telemetry_s": 2.0}}})["ok"]
    until(lambda: siege.changed() == ["report"], 10)
    assert siege.command("config/patch", {"patch": {"report": {"telemetry_s": None}}})["ok"]
    until(lambda: siege.changed() == [], 10)


def test_no_answer_tells_a_secret(siege):
    for verb, args in (
        ("config/get", {"history": True}),
        ("device/diagnose", {}),
        ("config/get", {"path": "mqtt.password"}),
    ):
        siege.command(verb, args)
    with siege.broker.changed:
        assert not [m for m in siege.broker.seen if b"the-secret-of-the-owner" in m.payload]


# --- commands --------------------------------------------------------------------------------------------------------

EXTREMES = [None, True, -1, 0, 2**63, 1e308, "", "x" * 60_000, "../../etc/passwd", "$(reboot)", "\0", [], {}, [[[]]]]


HARMLESS = {
    "config/patch": {"patch": {}},
    "config/confirm": {"revision": 2**40},
    "config/revert": {"revision": 2**40},
    "logs/level": {"level": "info"},
    "logs/tail": {"seconds": 0},
}


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.faults)])
def test_each_argument_of_each_verb_beyond_its_bounds_is_answered_with_an_error_or_taken_as_it_is(every, siege):
    attacks = [(verb, field, value) for verb in FORMS for field in FORMS[verb].__struct_fields__ for value in EXTREMES]
    for verb, field, value in attacks[::every]:  # there are 14 extremes: each field and each extreme has its turn
        allowed = verb in ("model/rollback", "config/revert") and value in (None, 0)
        if not allowed:
            answer = siege.command(verb, {**HARMLESS.get(verb, {}), field: value})
            assert answer["ok"] or answer["error"]["code"] not in ("internal", "error"), (verb, field, value, answer)


PLACES = [
    "lookout/_all/cmd/device/restart",
    "status",
    "desired",
    "reported",
    "cmd/model/deploy",
    "$SYS/broker",
    "#",
    "a/+",
]


def test_an_answer_is_sent_nowhere_where_it_would_be_taken_for_something_else(siege):
    for place in PLACES:
        place = place if place[0] in "l$#a" else siege.root + place
        before = len(siege.broker.on(siege.root + "result/device/ping"))
        siege.send("cmd/device/ping", {"v": 1}, response_topic=place, correlation=b"x" * 65_000)
        told = siege.broker.wait(lambda before=before: siege.broker.on(siege.root + "result/device/ping")[before:])
        assert told[0]["error"]["code"] == "bad_response_topic"
        assert not [m for m in siege.broker.seen if m.topic == place and b'"ok"' in m.payload]


# --- what nobody asked for -------------------------------------------------------------------------------------------


FORGED = [
    ("status", b"offline"),
    ("status", b"\xff" * 1000),
    ("info", b'{"v":1,"device":"another","boot":99}'),
    ("info", b"not JSON"),
    ("reported", b'{"v":1,"epoch":9,"version":9,"state":"committed","config":{"paths":{"state":"/"}}}'),
    ("deploy/watch", b'{"v":1,"state":"committed","reference":"evil:1.0.0"}'),
    ("desired", b""),
    ("desired", b"not JSON"),
    ("desired", b'{"v":1,"version":-1}'),
    ("desired", b"[" * 60_000),
    ("desired", b"x" * 900_000),
    ("cmd/device", b'{"v":1}'),
    ("cmd/device/restart/now", b'{"v":1}'),
    ("", b""),
]


@pytest.mark.parametrize("retained", [True, False])
def test_forged_messages_of_its_own_change_nothing(siege, retained):
    for topic, payload in FORGED:
        siege.send(topic, payload, retained=retained)
        assert siege.command("device/ping")["ok"]
    status = [m.payload for m in siege.broker.seen if m.topic == siege.root + "status"]
    assert status[-1] == b"online"


def test_messages_on_topics_that_nobody_subscribed_to_change_nothing(siege):
    for topic in (
        "etc/passwd",
        "lookout/another/cmd/device/restart",
        "lookout/_group/x/cmd/device/restart",
        "homeassistant/device/enemy/config",
        "$SYS/x",
        "x" * 60_000,
        "/",
        "lookout",
    ):
        for qos in (0, 1):
            siege.broker.publish(topic, {"v": 1}, qos=qos)
    assert siege.command("device/ping")["ok"]


def test_home_assistant_may_be_born_a_hundred_times(siege):
    discovery = re.compile(r"homeassistant/.*/config")
    before = len([m for m in siege.broker.seen if discovery.fullmatch(m.topic)])
    for _ in range(100):
        siege.broker.publish("homeassistant/status", b"online")
    assert siege.command("device/ping")["ok"]
    time.sleep(1)
    assert len([m for m in siege.broker.seen if discovery.fullmatch(m.topic)]) - before <= 100


# --- the protocol ----------------------------------------------------------------------------------------------------


def back(siege, connections):
    """Wait until the device has connected anew, and answers, be it at a second attempt."""
    siege.broker.wait(lambda: siege.broker.connections > connections, 60)

    def answers():
        with contextlib.suppress(OSError, AssertionError):  # it was sent on a connection that had just ended
            return siege.command("device/ping", patience_s=10)["ok"]

    until(answers, 60)


NO_MQTT = {
    "noise": b"\xff" * 4096,
    "no UTF-8": b"\x30\x04\x00\x02\xff\xfe",
    "256 MB": b"\x30\xff\xff\xff\x7f" + b"x" * 2_000_000,
}
"""A few: ``tests/link/test_commands_hostile.py`` has the others, at a link that does not wait between its attempts."""


def test_what_is_no_mqtt_costs_a_connection_at_most(siege):
    for data in NO_MQTT.values():
        siege.broker.peer()
        connections = siege.broker.connections
        with contextlib.suppress(OSError):  # it may hang up in the middle
            siege.broker.raw(data)
        siege.broker.drop()
        back(siege, connections)


def test_packets_of_a_megabyte_cost_a_refusal_or_a_connection(siege):
    for size in (64 * 1024 + 1, 500_000, 1_000_000):
        siege.send("cmd/device/ping", b"x" * size)
    siege.broker.wait(
        lambda: (
            sum(
                t["error"]["code"] == "too_large"
                for t in siege.broker.on(siege.root + "result/device/ping")
                if not t["ok"]
            )
            >= 3
        )
    )
    connections = siege.broker.connections
    with contextlib.suppress(OSError):  # it may hang up in the middle
        siege.send("cmd/device/ping", b"x" * 1_200_000)
    back(siege, connections)


def test_messages_that_it_never_completes_do_not_fill_the_memory(siege):
    """QoS 2 was not asked for: a broker that begins three hundred deliveries of it and ends none."""
    connections = siege.broker.connections
    with contextlib.suppress(OSError):  # it hangs up at the first
        for _ in range(300):
            siege.send("cmd/device/ping", b"x" * 900_000, qos=2)
    siege.broker.drop()
    back(siege, connections)


@pytest.mark.parametrize("commands", [2_000, pytest.param(10_000, marks=pytest.mark.faults)])
def test_a_flood_of_commands_is_worked_off_while_frames_go_on(commands, siege):
    known = list(FORMS)
    lost = siege.device.status().cameras[0].lost
    for number in range(commands):
        verb = "device/ping" if number % 4 else known[number // 4 % len(known)]
        wrong = {"v": 1, "args": {} if verb == "device/ping" else {"nonsense": number}}
        siege.send(f"cmd/{verb}", wrong, qos=number % 2)
    siege.device.wait_serving(shelf.TINY)
    until(lambda: siege.command("device/ping")["ok"], 60)
    assert siege.device.status().cameras[0].lost == lost


# --- the verdict -----------------------------------------------------------------------------------------------------


PATHS = {
    "open": lambda what: what[:1],
    "os.rename": lambda what: what[:2],
    "os.symlink": lambda what: what[1:2],  # what it points to is words
    "os.link": lambda what: what[1:2],
    **dict.fromkeys(
        ("os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.truncate"), lambda what: what[:1]
    ),
}
"""Of a deed, the paths that it changed."""


def deeds(device) -> list[list[str]]:
    """What every process of the device did to the world, as Python told it."""
    logs = device.temporary.glob("spy-deeds-*")
    return [line.split("\t") for log in logs for line in log.read_text(errors="replace").splitlines()]


def test_no_program_was_started_but_the_agents_own_children(siege):
    started = [what for event, *what in deeds(siege.device) if event == "subprocess.Popen"]
    assert started, "the witness was there"
    for (command,) in [(" ".join(what),) for what in started]:
        assert any(module in command for module in OURS), command
    other = {
        event
        for event, *_ in deeds(siege.device)
        if event.startswith(("os.system", "os.exec", "os.posix", "os.fork", "os.spawn", "pty"))
    }
    assert other == set()


def test_no_file_outside_the_state_folder_was_touched(siege):
    assert siege.look_at_files() == siege.files
    device = siege.device
    allowed = tuple(map(str, (device.state, device.folder / "run", device.temporary, "/proc/", "/dev/null", "state/")))
    paths = {path for event, *what in deeds(device) for path in PATHS.get(event, lambda _: ())(what)}
    paths = {path for path in paths if not path.isdecimal()}  # a file that is open already
    assert {path for path in paths if not path.startswith(allowed) and "__pycache__" not in path} == set()


def test_it_connected_to_the_broker_and_the_registry_and_to_nobody_else(siege):
    ports = {str(siege.broker.port), siege.device.config["registry"]["url"].rpartition(":")[2].strip("/")}
    reached = [json.dumps(what) for event, *what in deeds(siege.device) if event == "socket.connect"]
    inet = [one for one in reached if re.search(r"\('", one)]
    assert inet, "the witness was there"
    assert [one for one in inet if not ("127.0.0.1" in one and any(port in one for port in ports))] == []


def test_a_session_that_is_taken_over_is_told_and_costs_no_frame(siege):
    """The last, for the device then keeps away for a minute or two."""
    siege.broker.take_over()
    siege.device.wait_status(lambda status: "another client" in str(status))
    siege.device.wait_serving(shelf.TINY)
    assert siege.device.status().cameras[0].lost == 0
