"""What may be set from afar: only remote keys, only allowed hosts, whatever a hostile broker sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from agent.config import describe
from agent.config.allowed import check_remote
from agent.config.desired import ConfigRefused, Overlay, patched
from agent.config.guarded import changed_keys
from agent.config.layers import Loaded, load
from agent.config.whole import compose, compose_allowed
from agent.redact import MARK
from tests.depth import examples

FILE = b"""\
device: {id: dev}
cameras:
  net: {source: {kind: url, url: "rtsp://me:hunter2@cam/1"}}
  disk: {source: {kind: file, path: video.avi}}
  csi: {source: {kind: gstreamer, pipeline: "nvarguscamerasrc ! appsink"}}
  test: {source: {kind: pattern, fps: 5}}
pipelines:
  main: {cameras: [net, disk], model: "yolox-nano:1.0.0"}
  side: {cameras: [csi, test]}
zones:
  yard: {camera: net, polygon: [[0, 0], [1, 0], [1, 1]]}
mqtt: {host: broker.local, port: 1883, username: u, password: hunter2}
registry: {url: "https://models.example/repo"}
remote:
  brokers: ["second.local:8883", "Any.Local", "[::1]:1884"]
  registries: ["https://mirror.example:443/repo/", "file:///media/stick"]
"""


@pytest.fixture(scope="module")
def base() -> Loaded:
    return load(Path("/nowhere/agent.yaml"), {}, text=FILE)


def apply(patch: dict[str, Any]) -> Loaded:
    return compose(Path("/nowhere/agent.yaml"), {}, FILE, patched(Overlay(), patch)).loaded


def complaints(base: Loaded, patch: dict[str, Any]) -> set[str]:
    overlay = patched(Overlay(), patch)
    return {problem.path for problem in check_remote(overlay, base.config.remote, base.config)}


# --- what is allowed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "patch",
    [
        {"report": {"telemetry_s": 5.0}},
        {"cameras": {"net": {"source": {"url": "rtsp://cam/2"}, "max_fps": 5.0}}},
        {"cameras": {"net": {"source": {"kind": "device", "device": "0"}}}},
        {"cameras": {"disk": {"source": {"pace": "lossless", "loop": True}}}},
        {"cameras": {"disk": {"source": {"kind": "url", "url": "http://cam/stream", "open_timeout_ms": 500}}}},
        {"cameras": {"csi": {"source": {"kind": "pattern", "fps": 3.0}}}},
        {"cameras": {"n": {"source": {"kind": "pattern"}}}, "pipelines": {"side": {"cameras": ["csi", "test", "n"]}}},
        {"pipelines": {"main": {"remap": {"car": "vehicle"}, "scores": {"person": 0.5}}}},
        {"pipelines": {"main": {"shapes": {"per.son": {"min_area": 0.1}}}}},
        {"zones": {"yard": {"limits": {"person": {"score": 0.5}}}}},
        {"mqtt": {"host": "second.local", "port": 8883}},
        {"mqtt": {"host": "SECOND.local.", "port": 8883}},
        {"mqtt": {"host": "any.local"}},
        {"mqtt": {"host": "any.local", "port": 1}},
        {"mqtt": {"host": "0:0:0:0:0:0:0:1", "port": 1884}},
        {"mqtt": {"host": "broker.local"}},
        {"mqtt": {"keepalive_s": 60}},
        {"registry": {"url": "https://mirror.example/repo"}},
        {"registry": {"url": "https://MODELS.example:443/repo/"}},
        {"registry": {"url": "file:///media/stick"}},
        {"device": {"id": "other", "groups": ["a"]}},
        {},
    ],
)  # fmt: skip
def test_remote_keys_and_allowed_hosts_are_taken(base: Loaded, patch: dict[str, Any]) -> None:
    assert complaints(base, patch) == set()
    apply(patch)


def test_a_source_of_another_kind_replaces_the_one_below() -> None:
    loaded = apply({"cameras": {"disk": {"source": {"kind": "url", "url": "http://cam/1"}}}})
    assert loaded.config.cameras["disk"].source.kind == "url"
    assert loaded.source("cameras.disk.source.url").layer == "remote"
    assert loaded.source("cameras.disk.source.path").layer == "default"
    assert loaded.source("cameras.disk").layer == "remote"
    assert apply({"cameras": {"net": {"source": {"kind": "url"}}}}).config.cameras["net"].source.kind == "url"


# --- what is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "where"),
    [
        ({"paths": {"state": "/x"}}, "paths.state"),
        ({"paths": {}}, "paths"),
        ({"remote": {"brokers": ["evil"]}}, "remote.brokers"),
        ({"remote": {"confirm_s": 1.0}}, "remote.confirm_s"),
        ({"mqtt": {"password": "x"}}, "mqtt.password"),
        ({"mqtt": {"password": {"x": 1}}}, "mqtt.password.x"),
        ({"mqtt": {"password_file": "/etc/shadow"}}, "mqtt.password_file"),
        ({"mqtt": {"tls": {}}}, "mqtt.tls"),
        ({"mqtt": {"tls": {"ca_file": "/x"}}}, "mqtt.tls.ca_file"),
        ({"mqtt": {"tls": []}}, "mqtt.tls"),
        ({"mqtt": {"prefix": "x"}}, "mqtt.prefix"),
        ({"mqtt": {"host": "evil.example"}}, "mqtt.host"),
        ({"mqtt": {"host": "second.local"}}, "mqtt.host"),  # allowed at another port only
        ({"mqtt": {"port": 8883}}, "mqtt.port"),
        ({"mqtt": {"host": ["second.local"], "port": 8883}}, "mqtt.host"),
        ({"mqtt": {"host": "second.local", "port": True}}, "mqtt.host"),
        ({"mqtt": {"host": "second.local", "port": 8883.0}}, "mqtt.port"),
        ({"mqtt": {"host": "second.local\u0000", "port": 8883}}, "mqtt.host"),
        ({"mqtt": {"host": "\u017fecond.local", "port": 8883}}, "mqtt.host"),  # a long s
        ({"registry": {"url": "file:///etc"}}, "registry.url"),
        ({"registry": {"url": "http://mirror.example/repo"}}, "registry.url"),
        ({"registry": {"url": "https://me@mirror.example/repo"}}, "registry.url"),
        ({"registry": {"url": "https://mirror.example/repo/../other"}}, "registry.url"),
        ({"registry": {"url": "https://mirror.example/repo?x"}}, "registry.url"),
        ({"registry": {"url": "https://[mirror"}}, "registry.url"),
        ({"registry": {"url": ["https://mirror.example/repo"]}}, "registry.url"),
        ({"registry": {"min_version": {"yolox-nano": "0.0.1"}}}, "registry.min_version.yolox-nano"),
        ({"registry": {"min_version": {}}}, "registry.min_version"),
        ({"registry": {"token_file": "/x"}}, "registry.token_file"),
        ({"registry": {"trust_clock": True}}, "registry.trust_clock"),
        ({"pipelines": {"main": {"factory": "/x"}}}, "pipelines.main.factory"),
        ({"cameras": {"disk": {"source": {"path": "/etc/passwd"}}}}, "cameras.disk.source.path"),
        ({"cameras": {"net": {"source": {"kind": "file", "path": "/x"}}}}, "cameras.net.source.path"),
        ({"cameras": {"new": {"source": {"kind": "images", "path": "/x"}}}}, "cameras.new.source.path"),
        ({"cameras": {"new": {"source": {"path": "/x"}}}}, "cameras.new.source.path"),
        ({"cameras": {"new": {"source": {"kind": ["file"], "path": "/x"}}}}, "cameras.new.source.path"),
        ({"cameras": {"net": {"source": {"kind": "gstreamer", "pipeline": "a ! b"}}}}, "cameras.net.source.kind"),
        ({"cameras": {"new": {"source": {"kind": "gstreamer", "pipeline": "a ! b"}}}}, "cameras.new.source.pipeline"),
        ({"cameras": {"csi": {"source": {"pipeline": "a ! b"}}}}, "cameras.csi.source.pipeline"),
        ({"cameras": {"csi": {"source": {"open_timeout_ms": 500}}}}, "cameras.csi.source.open_timeout_ms"),
        ({"cameras": {"net": {"source": {"kind": "nonsense"}}}}, "cameras.net.source.kind"),
        ({"cameras": {"net": {"masks": []}}}, "cameras.net.masks"),
        ({"cameras": {"net": {"crop": [0, 0, 1, 1]}}}, "cameras.net.crop"),
        ({"cameras": {"net": {"mask_inference": True}}}, "cameras.net.mask_inference"),
        ({"deploy": {"safe_mode_after": 0}}, "deploy.safe_mode_after"),
        ({"logs": {"file": "/x"}}, "logs.file"),
        ({"schema": 1}, "schema"),
        ({"unknown": 1}, "unknown"),
        ({"mqtt.host": "second.local"}, "mqtt.host"),
        ({"report": {"telemetry_s": {"deeper": 1}}}, "report.telemetry_s.deeper"),
        ({"pipelines": {"main": {"remap": {"a": {"b": "c"}}}}}, "pipelines.main.remap.a.b"),
        ({"": 1}, ""),
    ],
)  # fmt: skip
def test_everything_else_is_refused_by_name(base: Loaded, patch: dict[str, Any], where: str) -> None:
    assert where in complaints(base, patch)
    with pytest.raises(ConfigRefused) as caught:
        apply(patch)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "patch",
    [
        {"mqtt": 5},
        {"mqtt": []},
        {"cameras": []},
        {"cameras": {"net": 5}},
        {"cameras": {"net": {"source": 5}}},
        {"cameras": {"net": {"source": []}}},
        {"cameras": {"new": {}}},
        {"cameras": {"new": {"source": {"kind": "pattern"}}}},  # that no pipeline watches
        {"cameras": {"*": {"source": {"kind": "pattern"}}}},
        {"cameras": {"disk": {"source": {"kind": "images"}}}},  # whose path is not that of disk
        {"pipelines": {"main": {"cameras": []}}},
        {"pipelines": {"main": {"cameras": ["net", "net"]}}},
        {"report": {"telemetry_s": "5"}},
        {"report": {"telemetry_s": True}},
        {"inference": {"threads": 2**62}},
        {"report": [1]},
        {"zones": {"yard": "x"}},
    ],
)
def test_what_is_remote_and_wrong_is_refused_by_the_schema(patch: dict[str, Any]) -> None:
    with pytest.raises(ConfigRefused):
        apply(patch)


MASKED = FILE.replace(b'hunter2@cam/1"}}', b'hunter2@cam/1"}, masks: [[[0, 0], [1, 0], [1, 1]]]}')


@pytest.mark.parametrize(
    "patch",
    [
        {"cameras": {"spy": {"source": {"kind": "url", "url": "rtsp://cam/1"}}}},
        {"cameras": {"spy": {"source": {"kind": "url", "url": "rtsp://10.0.0.7/1"}}}},  # who knows whose address it is
        {"cameras": {"spy": {"source": {"kind": "device", "device": "0"}}}},
        {"cameras": {"test": {"source": {"kind": "url", "url": "rtsp://cam/1"}}}},
        {"cameras": {"net": {"source": {"url": "rtsp://cam/2"}}}},
        {"cameras": {"net": {"source": {"url": "rtsp://me:hunter2@cam/1?channel=2"}}}},
        {"cameras": {"net": {"source": {"kind": "picamera2"}}}},
        {"cameras": {"spy": {"source": {"kind": "picamera2", "number": 1}}}},
    ],
)
def test_a_mask_cannot_be_got_around_by_another_source(patch: dict[str, Any]) -> None:
    patch = {
        **patch,
        "pipelines": {"side": {"cameras": ["csi", "test", *(["spy"] if "spy" in patch["cameras"] else [])]}},
    }
    with pytest.raises(ConfigRefused, match="masks pictures"):
        compose(Path("/nowhere/agent.yaml"), {}, MASKED, Overlay(patch))
    compose(Path("/nowhere/agent.yaml"), {}, FILE, Overlay(patch))


@pytest.mark.parametrize(
    "patch",
    [
        {"cameras": {"net": {"source": {"url": "rtsp://me:renewed@cam/1", "transport": "udp"}, "max_fps": 3.0}}},
        {"cameras": {"net": {"source": {"kind": "url", "read_timeout_ms": 500}}}},
        {"cameras": {"net": {"source": {"kind": "pattern"}}}},
        {"cameras": {"disk": {"source": {"loop": True}}, "test": {"source": {"fps": 3.0, "width": 320}}}},
    ],
)
def test_how_a_masked_camera_is_read_may_be_set(patch: dict[str, Any]) -> None:
    compose(Path("/nowhere/agent.yaml"), {}, MASKED, Overlay(patch))


def test_a_mask_in_pixels_keeps_its_place() -> None:
    file = b"""\
cameras: {usb: {source: {kind: device, device: "0", width: 640}, masks: [[[0, 0], [100, 0], [100, 100]]]}}
pipelines: {main: {cameras: [usb]}}
"""
    path, wider = Path("/nowhere/agent.yaml"), Overlay({"cameras": {"usb": {"source": {"width": 1280}}}})
    with pytest.raises(ConfigRefused, match="masks pictures"):
        compose(path, {}, file, wider)
    compose(path, {}, file.replace(b"100", b"0.5"), wider)
    compose(path, {}, file, Overlay({"cameras": {"usb": {"source": {"device": 0, "width": 640, "fps": 5.0}}}}))


def test_a_device_without_a_broker_is_given_only_an_allowed_one() -> None:
    file = FILE.replace(b"mqtt: {host: broker.local, port: 1883, username: u, password: hunter2}", b"")
    path = Path("/nowhere/agent.yaml")
    with pytest.raises(ConfigRefused):
        compose(path, {}, file, Overlay({"mqtt": {"host": "broker.local"}}))
    assert compose(path, {}, file, Overlay({"mqtt": {"host": "any.local"}})).loaded.config.mqtt.host == "any.local"


def test_the_environment_lies_above_the_overlay_and_allows_nothing(base: Loaded) -> None:
    environ = {"LOOKOUT__MQTT__HOST": "env.local", "LOOKOUT__REPORT__TELEMETRY_S": "7"}
    whole = compose(Path("/nowhere/agent.yaml"), environ, FILE, Overlay({"report": {"telemetry_s": 5.0}}))
    assert whole.loaded.config.report.telemetry_s == 7
    with pytest.raises(ConfigRefused):
        compose(Path("/nowhere/agent.yaml"), environ, FILE, Overlay({"mqtt": {"host": "evil.local"}}))


def test_what_the_file_no_longer_allows_is_left_out_of_the_overlay() -> None:
    overlay = Overlay(
        {"mqtt": {"host": "any.local"}, "report": {"all": True}}, {}, {"mqtt": {"host": "any.local"}}, 0, 3
    )
    whole, cut = compose_allowed(Path("/nowhere/agent.yaml"), {}, FILE, overlay)
    assert whole.overlay == overlay
    assert cut.paths == ()
    whole, cut = compose_allowed(Path("/nowhere/agent.yaml"), {}, FILE.replace(b'"Any.Local", ', b""), overlay)
    assert cut.paths == ("mqtt.host",)
    assert "remote.brokers" in str(cut.problems[0])
    assert whole.overlay == Overlay({"report": {"all": True}}, {}, {}, 0, 3)
    assert whole.loaded.config.mqtt.host == "broker.local"
    assert whole.loaded.config.report.all is True


def test_a_model_of_desired_is_a_remote_key_like_another() -> None:
    path = Path("/nowhere/agent.yaml")
    whole = compose(path, {}, FILE, Overlay(models={"main": "yolox-nano:2.0.0"}))
    assert whole.loaded.config.pipelines["main"].model == "yolox-nano:2.0.0"
    for models in ({"nope": "yolox-nano:2.0.0"}, {"main": "no reference"}):
        with pytest.raises(ConfigRefused):
            compose(path, {}, FILE, Overlay(models=models))


# --- anything that JSON can say --------------------------------------------------------------------------------------

SCHEMA = describe.keys()
WORDS = sorted({step for key in SCHEMA for step in key.place} - {"*"})
NAMES = st.sampled_from(
    [*WORDS, "net", "disk", "csi", "test", "new", "main", "side", "yard", "person", "*", "mqtt.host", MARK]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.floats(-1, 100)
    | st.sampled_from(["url", "file", "gstreamer", "pattern", "device", "images", "/x", "0", "rtsp://a/b", "any.local",
                       "evil.local", "second.local", "broker.local", "https://mirror.example/repo", "net", "person",
                       "a ! b", "debug", "yolox-nano:2.0.0"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3), max_leaves=8
)


def along_the_schema() -> st.SearchStrategy[dict[str, Any]]:
    """Patches that set one to three known keys, to values that are often right."""
    places = [key.place for key in SCHEMA]
    named = st.sampled_from(["net", "disk", "csi", "test", "new", "main", "side", "yard", "person"])

    @st.composite
    def patch(draw: st.DrawFn) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for _ in range(draw(st.integers(1, 3))):
            steps = [draw(named) if step == "*" else step for step in draw(st.sampled_from(places))]
            node = tree
            for step in steps[:-1]:
                below = node.setdefault(step, {})
                node = below if isinstance(below, dict) else node
            node[steps[-1]] = draw(VALUES)
        return tree

    return patch()


def is_remote(loaded: Loaded, path: tuple[str | int, ...]) -> bool:
    """What the schema itself says of a leaf that differs, for the kind that the source has now."""
    source = loaded.config.cameras.get(str(path[1])) if path[0] == "cameras" and len(path) > 3 else None
    for length in range(len(path), 0, -1):
        found = [
            key for key in describe.at(path[:length]) if not source or not key.kinds or source.source.kind in key.kinds
        ]
        if found:
            return all(key.remote and not key.secret for key in found)
    return False


def holds(tree: Any, path: tuple[str | int, ...]) -> bool:
    for step in path:
        if not isinstance(tree, dict) or step not in tree:
            return False
        tree = tree[step]
    return True


BASE = load(Path("/nowhere/agent.yaml"), {}, text=FILE)


def judge(patch: dict[str, Any]) -> bool:
    """Apply a patch and check the promise; return whether it was taken."""
    try:
        loaded = apply(patch)
    except ConfigRefused as refused:
        if "hunter2" in refused.message:
            raise AssertionError("a secret was told") from refused
        return False
    after = loaded.config.model_dump(by_alias=True)
    for path in changed_keys(BASE.config, loaded.config):
        if holds(after, path):  # what a source of another kind does not have went with it
            assert is_remote(loaded, path), path
    broker = (loaded.config.mqtt.host or "").lower(), loaded.config.mqtt.port
    assert broker[0] == "any.local" or broker in {("broker.local", 1883), ("second.local", 8883)}
    assert loaded.config.registry.url in {"https://models.example/repo", "https://mirror.example/repo"}
    for name, camera in loaded.config.cameras.items():
        assert camera.source.kind != "gstreamer" or name == "csi"
        assert getattr(camera.source, "path", "video.avi") == "video.avi"
    return True


patches = st.dictionaries(NAMES, VALUES, max_size=4) | along_the_schema()
BUSY = [HealthCheck.too_slow]


@settings(max_examples=examples(50), deadline=None, suppress_health_check=BUSY)
@given(patches)
@example({"mqtt": {"tls": {"ca_file": None}}})
@example({"cameras": {"net": {"source": {"kind": "gstreamer"}}}})
@example({"cameras": {"csi": {"source": {"kind": "url", "url": "rtsp://a/b", "open_timeout_ms": 500}}}})
def test_whatever_is_sent_only_remote_keys_change_and_only_to_allowed_hosts(patch: dict[str, Any]) -> None:
    judge(patch)


@pytest.mark.faults
@pytest.mark.timeout(1200)
@settings(max_examples=5000, deadline=None, suppress_health_check=BUSY)
@given(patches)
def test_five_thousand_patches_change_only_what_is_remote(patch: dict[str, Any]) -> None:
    event(f"taken: {judge(patch)}")


@settings(max_examples=examples(30), deadline=None, suppress_health_check=BUSY)
@given(st.lists(patches, max_size=4))
def test_patches_one_after_the_other_reach_nothing_that_one_may_not(several: list[dict[str, Any]]) -> None:
    overlay = Overlay()
    for patch in several:
        try:
            overlay = compose(Path("/nowhere/agent.yaml"), {}, FILE, patched(overlay, patch)).overlay
        except ConfigRefused:
            continue
    judge(overlay.config)
