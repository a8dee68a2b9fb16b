"""The layers: what comes from where, and everything that is wrong told at once, in words, without secrets."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.layers import DEFAULT, Layer, Loaded, combine, load
from agent.config.schema import Config
from agent.errors import ConfigError, Problem
from tests.depth import examples

ROOT = Path(__file__).resolve().parents[2]

MINIMAL = """\
cameras:
  front-door:
    source: {kind: file, path: door.avi}
pipelines:
  main: {cameras: [front-door], model: "yolox-nano:1.2.0"}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "agent.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def problems(path: Path, environ: dict[str, str] | None = None) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    assert caught.value.problems
    assert str(caught.value)
    # The first of each path: what is wrong with the key itself comes before what is wrong between keys.
    return {problem.path: problem for problem in reversed(caught.value.problems)}


def test_defaults_lie_below_the_file_and_the_file_below_the_environment(write) -> None:
    path = write(MINIMAL + "mqtt: {host: a, port: 1884}\n")
    loaded = load(path, {"LOOKOUT__MQTT__PORT": "1885"})
    assert (loaded.config.mqtt.host, loaded.config.mqtt.port, loaded.config.mqtt.keepalive_s) == ("a", 1885, 30)
    assert str(loaded.source("mqtt.port")) == "LOOKOUT__MQTT__PORT"
    assert str(loaded.source("mqtt.host")) == "agent.yaml, line 6"
    assert loaded.source("mqtt.host").layer == "file"
    assert loaded.source("mqtt.keepalive_s") == DEFAULT


def test_a_layer_fits_between_file_and_environment() -> None:
    file = Layer("file", yaml.safe_load(MINIMAL), {})
    remote = Layer("remote", {"report": {"all": True}, "pipelines": {"main": {"score": 0.5}}}, {})
    above = Layer("environment", {"pipelines": {"main": {"score": 0.7}}}, {})
    config, sources = combine((file, remote, above))
    assert (config.report.all, config.pipelines["main"].score) == (True, 0.7)
    assert sources["report.all"].layer == "remote"
    assert sources["pipelines.main.score"].layer == "environment"
    assert sources["pipelines.main.model"].layer == "file"


def test_texts_in_the_environment_are_taken_as_they_are(write) -> None:
    environ = {"LOOKOUT__MQTT__PASSWORD": "0123: [x", "LOOKOUT__MQTT__USERNAME": "1e3", "LOOKOUT__DEVICE__ID": "007"}
    mqtt = load(write(MINIMAL), environ).config.mqtt
    assert mqtt.password is not None
    assert mqtt.password.get_secret_value() == "0123: [x"
    assert mqtt.username == "1e3"


def test_lists_and_switches_in_the_environment_are_read_as_yaml(write) -> None:
    environ = {
        "LOOKOUT__INFERENCE__PROVIDERS": "[CUDAExecutionProvider, CPUExecutionProvider]",
        "LOOKOUT__REPORT__ALL": "yes",
        "LOOKOUT__REPORT__TELEMETRY_S": "2.5",
    }
    config = load(write(MINIMAL), environ).config
    assert config.inference.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert (config.report.all, config.report.telemetry_s) == (True, 2.5)


def test_a_name_with_a_dash_is_reached_from_the_environment(write) -> None:
    loaded = load(write(MINIMAL), {"LOOKOUT__CAMERAS__FRONT_DOOR__SOURCE__PATH": "other.avi"})
    assert loaded.config.cameras["front-door"].source.path == "other.avi"


def test_an_empty_section_or_key_means_the_default(write) -> None:
    assert load(write(MINIMAL + "mqtt:\nregistry:\n  url:\n"), {}).config.mqtt.port == 1883


def test_relative_paths_start_from_the_folder_of_the_file(write, tmp_path: Path) -> None:
    loaded = load(write(MINIMAL), {})
    assert loaded.path_of("door.avi") == tmp_path / "door.avi"
    assert loaded.path_of("/x/door.avi") == Path("/x/door.avi")


EVERYTHING_WRONG = """\
schema: 2
camera: 3
cameras:
  front:
    source: {kind: file, path: a.avi, pase: lossless, loop: "yes"}
  back:
    source: {kind: rtps, urll: x}
  Side!: {source: {kind: url, url: "rtps://user:hunter2@host/x"}}
  lone:
pipelines:
  main: {cameras: [front, bakc, 7], model: "yolox:1", score: 1.5, labels: person}
  two: {cameras: [front]}
mqtt: {host: "mqtt://broker", pasword: hunter2, password: [hunter2], password_file: x, tls: {cert_file: x}}
inference: {providers: [CUDA]}
logs: {level: warn}
"""


def test_everything_that_is_wrong_is_told_at_once_with_its_remedy(write) -> None:
    found = problems(write(EVERYTHING_WRONG), {"LOOKOUT__MQTT__KEEPALIVE_S": "soon", "LOOKOUT__REPORT": "["})
    hints = {
        "schema": "1",
        "camera": "did you mean cameras?",
        "cameras.front.source.pase": "did you mean pace?",
        "cameras.front.source.loop": "without quotes",
        "cameras.back.source.kind": "file, images, url, device",
        "cameras.back.source.urll": "did you mean url?",
        "cameras.Side!": "small letters",
        "cameras.Side!.source.url": "rtsp://",
        "pipelines.main.cameras[1]": "did you mean back?",
        "pipelines.main.cameras[2]": "quotes",
        "pipelines.main.model": "name:version",
        "pipelines.main.labels": "[a, b]",
        "pipelines.two.cameras[0]": "exactly one pipeline",
        "cameras.back": "cameras of one pipeline",
        "mqtt.host": "mqtt.port",
        "mqtt.pasword": "did you mean password?",
        "mqtt.password_file": "keep one",
        "mqtt.tls.cert_file": "both or neither",
        "inference.providers[0]": "did you mean CUDAExecutionProvider?",
        "logs.level": "did you mean warning?",
        "report": "brackets",
    }
    assert {path: found[path].hint for path in hints if hints[path] not in str(found[path].hint)} == {}
    assert {"cameras.lone", "pipelines.main.score", "mqtt.password", "mqtt.keepalive_s"} <= found.keys()
    assert found["mqtt.keepalive_s"].where == "LOOKOUT__MQTT__KEEPALIVE_S"
    assert found["report"].where == "LOOKOUT__REPORT"
    assert found["camera"].where == "agent.yaml, line 2"
    assert found["pipelines.main.score"].value == "1.5"
    assert "1.0" in found["pipelines.main.score"].message
    assert not any("hunter2" in str(problem) for problem in found.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("[a]", "is a list"),
        ("just words", "is text"),
        (b"\x7fELF\x02\x01\x01\x00\xff", "UTF-8"),
        (b"x" * 10_000_000, "larger than"),
        ("a: 1\na: 2\n", "stands twice"),
        ("a: {b: [}", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_gets_one_clear_problem(write, text: str | bytes, message: str) -> None:
    (found,) = problems(write(text)).values()
    assert message in found.message


def test_what_cannot_be_opened_is_told_with_its_remedy(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "absent.yaml", tmp_path, Path("/dev/zero"), fifo, Path("a\0b"), Path("x" * 5000)):
        (found,) = problems(path).values()
        assert found.hint


@pytest.mark.parametrize("name", ["LOOKOUT__", "LOOKOUT____", "LOOKOUT__MQTT__", "LOOKOUT__MQTT____PORT"])
def test_a_variable_that_names_no_key_is_told(write, name: str) -> None:
    (found,) = problems(write(MINIMAL), {name: "1"}).values()
    assert found.where == name


def test_an_unknown_variable_is_told_with_the_nearest_key(write) -> None:
    (found,) = problems(write(MINIMAL), {"LOOKOUT__MQTT__HOSST": "x"}).values()
    assert found.hint == "did you mean host?"


def test_two_variables_that_contradict_each_other_are_told(write) -> None:
    environ = {"LOOKOUT__MQTT": "{port: 1}", "LOOKOUT__MQTT__PORT": "1884"}
    assert load(write(MINIMAL), environ).config.mqtt.port == 1884
    found = problems(write(MINIMAL), {"LOOKOUT__REPORT": "7", "LOOKOUT__REPORT__ALL": "yes"})
    assert "whole section" in found["report.all"].message


def test_a_section_that_is_wrong_in_the_file_is_not_hidden_by_the_environment(write) -> None:
    assert "mqtt" in problems(write(MINIMAL + "mqtt: words\n"), {"LOOKOUT__MQTT__PORT": "1884"})


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_a_configuration_that_we_ship_is_valid(name: str) -> None:
    loaded = load(ROOT / "configs" / name, {})
    assert isinstance(loaded, Loaded)


def test_the_configurations_for_devices_say_what_their_devices_need() -> None:
    pi = load(ROOT / "configs/raspberry-pi.yaml", {}).config
    jetson = load(ROOT / "configs/jetson.yaml", {}).config
    assert (pi.inference.threads, pi.inference.providers) == (0, ("CPUExecutionProvider",))
    assert [name.removesuffix("ExecutionProvider") for name in jetson.inference.providers] == [
        "Tensorrt",
        "CUDA",
        "CPU",
    ]
    assert len((ROOT / "configs/minimal.yaml").read_text().splitlines()) < 25


# --- anything at all -------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
names = st.sampled_from(
    ["cameras", "front", "source", "kind", "file", "url", "pipelines", "mqtt", "password", "tls", "port", "deploy",
     "probation", "frames", "device", "id", "registry", "inference", "providers", "model", "path", "<<", ""]
) | st.text(max_size=6)  # fmt: skip
trees = st.recursive(
    scalars | st.sampled_from(["file", "images", "url", "device", "front", "lossless"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=40,
)


NO_PROBLEM = "an error without a problem"


def config_or_error(path: Path, environ: dict[str, str]) -> str:
    try:
        config = load(path, environ).config
    except ConfigError as error:
        return str(error) if error.problems else NO_PROBLEM
    assert isinstance(config, Config)
    return ""


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_configuration_or_its_problems(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(data)
    assert config_or_error(path, {}) != NO_PROBLEM


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tree=st.dictionaries(names, trees, max_size=6))
def test_any_tree_gives_a_configuration_or_its_problems(tmp_path: Path, tree: dict[str, object]) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8", errors="surrogatepass")
    assert config_or_error(path, {}) != NO_PROBLEM


@settings(max_examples=examples(100), deadline=None)
@given(tree=st.dictionaries(names, trees, max_size=6))
def test_any_tree_over_a_valid_file_gives_a_configuration_or_its_problems(tree: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        combine((Layer("file", yaml.safe_load(MINIMAL), {}), Layer("remote", tree, {})))


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(st.sampled_from(["MQTT", "PORT", "TLS", "CAMERAS", "FRONT_DOOR", "SOURCE", "", "X"]), max_size=4),
    value=st.text(st.characters(exclude_characters="\0"), max_size=20),
)
def test_any_variable_gives_a_configuration_or_its_problems(tmp_path: Path, words: list[str], value: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(MINIMAL)
    config_or_error(path, {f"LOOKOUT__{'__'.join(words)}": value})


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    below=st.sampled_from(["hunter2", ["hunter2"], {"hunter2": 1}, {"x": "hunter2"}, [["hunter2"]]]),
    key=st.sampled_from(["password", "pasword", "passwrd", "token"]),
    mess=st.sampled_from(["", "a: [", "x: 1\nx: 2", "\tz", "mqtt: *hunter2"]),
)
def test_a_secret_is_never_in_a_problem(tmp_path: Path, below: object, key: str, mess: str) -> None:
    path = tmp_path / "any.yaml"
    url = "rtsp://admin:hunter2@10.0.0.1/x?token=hunter2"
    tree = {"mqtt": {key: below, "port": "x"}, "cameras": {"a": {"source": {"kind": "url", "url": url, "x": 1}}}}
    path.write_text(yaml.safe_dump(tree) + mess)
    said = config_or_error(path, {"LOOKOUT__MQTT__PASSWORD": "hunter2"})
    assert said
    assert "hunter2" not in said.replace("hunter2: 1", "")


# --- the remote overlay ----------------------------------------------------------------------------------------------


def test_the_overlay_lies_between_file_and_environment(write) -> None:
    path = write(MINIMAL + "mqtt: {host: a, port: 1884, keepalive_s: 20}\n")
    remote = {"mqtt": {"port": 1885, "keepalive_s": 40}}
    loaded = load(path, {"LOOKOUT__MQTT__KEEPALIVE_S": "50"}, remote=remote)
    assert (loaded.config.mqtt.host, loaded.config.mqtt.port, loaded.config.mqtt.keepalive_s) == ("a", 1885, 50)
    assert [loaded.source(f"mqtt.{key}").layer for key in ("host", "port", "keepalive_s")] == [
        "file",
        "remote",
        "environment",
    ]
    assert str(loaded.source("mqtt.port")) == "remote"


def test_given_bytes_are_read_in_place_of_the_file(write) -> None:
    path = write("nonsense: [")
    loaded = load(path, {}, text=MINIMAL.encode())
    assert list(loaded.config.cameras) == ["front-door"]
    assert (loaded.file, loaded.base) == (path, path.parent)
    with pytest.raises(ConfigError, match=r"agent\.yaml, line 1"):
        load(path, {}, text=b"x: [")


def test_a_variable_reaches_a_camera_that_only_the_overlay_knows(write) -> None:
    remote = {
        "cameras": {"back-door": {"source": {"kind": "pattern"}}},
        "pipelines": {"main": {"cameras": ["front-door", "back-door"]}},
    }
    loaded = load(write(MINIMAL), {"LOOKOUT__CAMERAS__BACK_DOOR__WEIGHT": "3"}, remote=remote)
    assert loaded.config.cameras["back-door"].weight == 3


def test_what_is_wrong_in_the_overlay_names_the_overlay(write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(MINIMAL), {}, remote={"report": {"telemetry_s": 0}})
    assert [(problem.path, problem.where) for problem in caught.value.problems] == [("report.telemetry_s", "remote")]


def test_a_source_of_another_kind_replaces_the_one_below_it(write) -> None:
    path = write(MINIMAL)
    loaded = load(path, {}, remote={"cameras": {"front-door": {"source": {"kind": "pattern", "fps": 3}}}})
    assert loaded.config.cameras["front-door"].source.model_dump() == {
        "kind": "pattern", "width": 640, "height": 480, "fps": 3.0, "seed": 0, "pace": "realtime",
    }  # fmt: skip
    assert "cameras.front-door.source.path" not in loaded.sources
    same = load(path, {}, remote={"cameras": {"front-door": {"source": {"kind": "file", "loop": True}}}})
    assert same.config.cameras["front-door"].source.path == "door.avi"
