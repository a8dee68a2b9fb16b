"""The schema: each key says what it is for, when it applies and who may change it; and what may never be remote."""

from __future__ import annotations

import fnmatch

import pytest
from pydantic import ValidationError

from agent.config import describe
from agent.config.describe import Key
from agent.config.schema import Config, Inference, inference_threads

KEYS = describe.keys()
WEIGHT = {"live": 0, "part": 1, "agent": 2}

NEVER_REMOTE = [
    "schema", "paths", "paths.*", "cameras.*.source.path",
    "mqtt.username", "mqtt.username_file", "mqtt.password", "mqtt.password_file", "mqtt.prefix", "mqtt.tls",
    "mqtt.tls.*", "mqtt.reconnect_s",
    "registry.min_version",
    "registry.trust_clock",
    "registry.proxy",
    "registry.*_file",
    "cameras.*.source.pipeline",
    "cameras.*.rotate",
    "cameras.*.crop",
    "cameras.*.masks",
    "cameras.*.mask_inference",
]  # fmt: skip
"""What an operator, or whoever has the broker, must never reach: see the promises in the design."""


def minimal(**more: object) -> dict[str, object]:
    return {
        "cameras": {"front": {"source": {"kind": "device", "device": 0}}},
        "pipelines": {"main": {"cameras": ["front"]}},
        **more,
    }


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.path}-{'-'.join(key.kinds)}")
def test_every_key_says_what_it_is_for_when_it_applies_and_whether_it_is_remote(key: Key) -> None:
    assert key.applies in WEIGHT
    assert isinstance(key.remote, bool)
    assert key.description
    assert key.description[0].isupper()
    assert key.description.endswith("."), key.description
    assert key.type
    assert key.default


@pytest.mark.parametrize("key", [key for key in KEYS if key.section], ids=lambda key: key.path)
def test_a_section_is_as_heavy_as_its_heaviest_key_and_as_remote_as_its_most_remote(key: Key) -> None:
    below = [other for other in KEYS if other.place[: len(key.place)] == key.place and other != key]
    assert below
    assert WEIGHT[key.applies] == max(WEIGHT[other.applies] for other in below)
    assert key.remote == any(other.remote for other in below)


@pytest.mark.parametrize("pattern", NEVER_REMOTE)
def test_what_a_hostile_broker_must_not_change_is_not_remote(pattern: str) -> None:
    found = [key for key in KEYS if fnmatch.fnmatchcase(key.path, pattern)]
    assert found
    assert not any(key.remote for key in found)


def test_whatever_names_a_path_or_holds_a_secret_is_not_remote() -> None:
    for key in KEYS:
        if key.secret or key.place[-1] in ("path", "state", "runtime") or key.place[-1].endswith("_file"):
            assert not key.remote, key.path


def test_every_number_is_bounded() -> None:
    for key in KEYS:
        if "number" in key.type:
            assert "≤" in key.bounds, key.path
            assert "≥" in key.bounds or ">" in key.bounds, key.path


def test_the_smallest_configuration_is_valid_and_frozen() -> None:
    config = Config.model_validate(minimal())
    assert config.inference.providers == ("CPUExecutionProvider",)
    with pytest.raises(ValidationError):
        config.mqtt.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"mqtt": {"port": True}},
        {"mqtt": {"port": "1883"}},
        {"mqtt": {"port": 0}},
        {"report": {"telemetry_s": float("nan")}},
        {"report": {"detections_hz": float("inf")}},
        {"registry": {"url": "ftp://x/y"}},
        {"registry": {"url": "file://relative"}},
        {"registry": {"url": "https:///nohost"}},
        {"registry": {"url": "https://host/?q=1"}},
        {"registry": {"url": "http://h:port/"}},
        {"registry": {"min_version": {"faces": "1.2"}}},
        {"registry": {"min_version": {"Faces!": "1.2.0"}}},
        {"registry": {"cert_file": "x.pem"}},
        {"registry": {"key_file": "x.key"}},
        {"registry": {"proxy": "socks5://h:1"}},
        {"registry": {"proxy": "http://h:1/path"}},
        {"registry": {"url": "http://models.example.org/", "token_file": "token"}},
        {"registry": {"url": "http://localhost.example.org/", "token_file": "token"}},
        {"registry": {"url": "http://127.0.0.1:1@example.org/", "token_file": "token"}},
        {"mqtt": {"host": "mqtt://h"}},
        {"mqtt": {"host": "h:1883"}},
        {"mqtt": {"host": "a b"}},
        {"mqtt": {"prefix": "/a"}},
        {"mqtt": {"prefix": "a/#"}},
        {"mqtt": {"prefix": "$SYS"}},
        {"mqtt": {"host": "h", "password": "x", "password_file": "y", "username": "u"}},
        {"mqtt": {"host": "h", "password": "x"}},
        {"mqtt": {"host": "h", "username": "u", "username_file": "y"}},
        {"mqtt": {"tls": {"cert_file": "x"}}},
        {"inference": {"providers": []}},
        {"inference": {"providers": ["CUDA"]}},
        {"inference": {"providers": ["CPUExecutionProvider", "CPUExecutionProvider"]}},
        {"device": {"id": "Front Door"}},
        {"device": {"id": "front\n"}},
        {"pipelines": {"main": {"cameras": ["front"], "model": "yolox"}}},
        {"pipelines": {"main": {"cameras": ["front", "front"]}}},
        {"pipelines": {"main": {"cameras": ["front"]}, "two": {"cameras": ["front"]}}},
        {"pipelines": {"main": {"cameras": ["back"]}}},
        {"cameras": {"front": {"source": {"kind": "url", "url": "file:///etc/passwd"}}}},
        {"cameras": {"front": {"source": {"kind": "device", "device": "/etc/passwd"}}}},
        {"cameras": {"front": {"source": {"kind": "device", "device": "/dev/../etc/passwd"}}}},
        {"cameras": {"front": {"source": {"kind": "url", "url": "rtsp://h/", "pace": "lossless"}}}},
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({**minimal(), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"mqtt": {"protocol": 5}},
        {"mqtt": {"host": "fe80::1"}},
        {"mqtt": {"tls": {}}},
        {"registry": {"url": "file:///media/stick"}},
        {"registry": {"min_version": {"faces": "1.2.0"}, "trust_clock": True, "poll_s": 0}},
        {"registry": {"url": "https://models.example.org/", "token_file": "token", "cert_file": "a", "key_file": "b"}},
        {"registry": {"url": "http://127.0.0.1:8080/", "token_file": "token", "proxy": "http://u:p@h:3128"}},
        {"pipelines": {"main": {"cameras": ["front"], "model": "yolox-nano@^1.2"}}},
        {"cameras": {"front": {"source": {"kind": "device", "device": "/dev/v4l/by-id/usb-x"}}}},
        {"cameras": {"front": {"source": {"kind": "url", "url": "rtsp://u:p@[fe80::1]:554/x"}}}},
    ],
)
def test_what_is_natural_to_write_is_taken(change: dict[str, object]) -> None:
    Config.model_validate({**minimal(), **change})


def test_a_secret_is_not_in_the_text_of_the_configuration() -> None:
    config = Config.model_validate(minimal(mqtt={"username": "u", "password": "hunter2"}))
    assert "hunter2" not in repr(config)
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(Config.model_validate(minimal(registry={"proxy": "http://u:hunter2@h:1"})))


@pytest.mark.parametrize(("configured", "cores", "threads"), [(0, 1, 1), (0, 2, 1), (0, 4, 3), (2, 1, 2)])
def test_threads_are_as_configured_else_one_fewer_than_the_cores(configured: int, cores: int, threads: int) -> None:
    assert inference_threads(Inference(threads=configured), cores) == threads


def test_a_path_finds_its_key_through_names_and_kinds() -> None:
    assert [key.path for key in describe.at(("cameras", "front", "source", "url"))] == ["cameras.*.source.url"]
    assert {key.kinds for key in describe.find("cameras.front.source.path")} == {("file",), ("images",)}
    assert describe.children(("cameras", "x", "source"), "url") == [
        "kind", "url", "transport", "open_timeout_ms", "read_timeout_ms",
    ]  # fmt: skip
    assert describe.is_secret(("mqtt", "password", "below"))
    assert describe.suggest("mqtt.pasword") == "mqtt.password"
    assert describe.find("no.such.key") == ()
