"""The reference pages say what the code says, and what they say can be relied on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.config import describe
from agent.config.layers import load
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus
from agent.errors import InputError
from agent.link import envelope
from agent.link.forms import FORMS
from agent.link.messages import CameraState, Command, encode, update_message
from agent.link.schemas import MESSAGES
from agent.link.topics import KINDS, Topics
from agent.types import PipelineName
from tools.reference.__main__ import ROOT, main
from tools.reference.pages import SCHEMAS, stale
from tools.reference.schemas import file_of
from tools.reference.text import begin, put, summary, table

ASYNCAPI: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())


def schema(name: str) -> dict[str, Any]:
    return json.loads((ROOT / SCHEMAS / name).read_text())  # type: ignore[no-any-return]


# --- made from the code -----------------------------------------------------------------------------------------------


def test_the_pages_are_what_the_code_makes() -> None:
    found = sorted(str(path.relative_to(ROOT)) for path in stale(ROOT))
    assert found == [], "run make docs"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def test_what_is_stale_is_named_and_made_anew(checkout, capsys) -> None:
    (checkout / "docs/asyncapi.yaml").unlink()
    (checkout / SCHEMAS / "state.json").write_text("{}")
    (checkout / SCHEMAS / "former.json").write_text("{}")
    page = checkout / "docs/mqtt.md"
    page.write_text(page.read_text().replace("| `info` |", "| `infos` |"))
    assert main(["--check", "--root", str(checkout)]) == 1
    said = capsys.readouterr().out
    wrong = {"docs/asyncapi.yaml", "docs/schemas/state.json", "docs/schemas/former.json", "docs/mqtt.md"}
    assert set(said.split()) == wrong | {"stale:"}
    assert main(["--root", str(checkout)]) == 0
    assert main(["--check", "--root", str(checkout)]) == 0
    assert not (checkout / SCHEMAS / "former.json").exists()


def test_what_a_person_wrote_around_the_made_parts_stays(checkout) -> None:
    page = checkout / "docs/mqtt.md"
    before = page.read_text()
    page.write_text(f"A word before.\n{before}A word after.\n")
    assert main(["--root", str(checkout)]) == 0
    assert page.read_text() == f"A word before.\n{before}A word after.\n"


def test_a_page_without_its_marks_is_told(checkout, capsys) -> None:
    (checkout / "docs/mqtt.md").write_text("nothing here")
    assert main(["--root", str(checkout)]) == 2
    assert begin("topics") in capsys.readouterr().err
    with pytest.raises(InputError):
        put("x", "topics", "y")


def test_a_cell_cannot_break_its_table() -> None:
    assert table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n"


@pytest.mark.parametrize(
    ("docstring", "said"),
    [
        ("``info``: what this is.", "What this is."),
        ("``state/<camera>``, on change: how many.", "On change: how many."),
        ("Plain, see :class:`~a.b.Progress`.\n\n    More.", "Plain, see `Progress`."),
    ],
)
def test_docstrings_become_prose(docstring, said) -> None:
    assert summary(docstring) == said


# --- the sample configuration -----------------------------------------------------------------------------------------

SAMPLE = ROOT / "configs/agent.yaml"


def uncommented() -> str:
    """The sample with every key that stands there at its default."""
    return re.sub(r"^( *)#(?! )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)


def test_a_key_that_is_commented_out_stands_there_with_its_default(tmp_path) -> None:
    whole = tmp_path / "agent.yaml"
    whole.write_text(uncommented())
    assert load(whole, {}).config == load(SAMPLE, {}).config


def test_the_sample_names_every_key(tmp_path) -> None:
    found = set(_places((), yaml.safe_load(uncommented())))
    text = SAMPLE.read_text()
    keys = describe.keys()
    for key in keys:
        below_an_absent_one = any(
            f"#   {key.place[-1]}:" in text and parent.place == key.place[:-1] and parent.section for parent in keys
        )
        assert key.place in found or below_an_absent_one, key.path


def _places(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    yield describe.place_of(path)
    for name, below in value.items() if isinstance(value, dict) else ():
        yield from _places((*path, str(name)), below)


# --- schemas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / SCHEMAS).glob("*.json")), ids=lambda path: path.stem)
def test_every_schema_is_one(path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_of_the_configuration_takes_the_samples(path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema("config.json"))


def test_the_schema_of_the_configuration_says_when_a_key_applies_and_whether_it_is_remote() -> None:
    port = schema("config.json")["$defs"]["Mqtt"]["properties"]["port"]
    assert (port["applies"], port["remote"]) == ("part", True)


def test_schemas_take_what_is_sent_and_refuse_what_is_not() -> None:
    state = json.loads(encode(CameraState(counts={"person": 1}, occupancy=True, health="streaming", fps=9.9)))
    jsonschema.validate(state, schema("state.json"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**state, "v": 2}, schema("state.json"))
    update = json.loads(encode(update_message(DeploymentStatus(PipelineName("main"), State.IDLE))))
    jsonschema.validate(update, schema("update.json"))
    command = json.loads(encode(Command(v=1, id="x", args={"reference": "a:1.0.0"})))
    jsonschema.validate(command, schema("cmd.json"))
    jsonschema.validate(command["args"], schema("cmd-model-deploy.json"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"reference": "a:1.0.0", "root": True}, schema("cmd-model-deploy.json"))


def test_every_message_has_its_schema() -> None:
    names = {path.name for path in (ROOT / SCHEMAS).glob("*.json")}
    others = {"config.json", "manifest.json", "home-assistant.json"}
    assert names == {file_of(name) for name in MESSAGES} | others


# --- lines of the pages -----------------------------------------------------------------------------------------------

COMMAND = re.compile(r"-t lookout/\S+?/cmd/(\S+)\s[^']*?-m '([^']*)'")
LINES = [
    (page.name, verb, text)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for verb, text in COMMAND.findall(page.read_text().replace("\\\n", " "))
]


@pytest.mark.parametrize(("page", "verb", "text"), LINES)
def test_a_command_that_a_page_shows_is_one_that_the_device_takes(page, verb, text) -> None:
    command = envelope.validate(envelope.decode(text.encode()))
    assert isinstance(envelope.arguments(command, FORMS[verb]), FORMS[verb])


def test_the_pages_show_the_verbs_that_people_use() -> None:
    assert {verb for _, verb, _ in LINES} >= set(FORMS) - {"model/cancel", "model/list", "device/restart"} - {
        "config/revert"
    }


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _at(reference: str) -> Any:
    node: Any = ASYNCAPI
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    found = set(_references(ASYNCAPI))
    assert len(found) > 50
    assert all(isinstance(_at(reference), dict) for reference in found)


def test_every_topic_and_verb_is_in_the_asyncapi_document() -> None:
    addresses = {channel["address"] for channel in ASYNCAPI["channels"].values()}
    for kind, row in KINDS.items():
        if kind not in ("cmd", "result"):
            assert "/".join(("{prefix}/{device}", kind, *(f"{{{name}}}" for name in row.names))) in addresses
    for verb in FORMS:
        assert {f"{{prefix}}/{{device}}/cmd/{verb}", f"{{prefix}}/{{device}}/result/{verb}"} <= addresses


def test_addresses_are_topics_of_the_device() -> None:
    names = {"device": "gate-7", "camera": "yard", "pipeline": "main", "group": "harbour", "part": "a", "verb": "b"}
    topics = Topics("site/lookout", "gate-7")
    for name, channel in ASYNCAPI["channels"].items():
        assert set(channel["parameters"]) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        if name != "home-assistant":
            assert topics.parse(channel["address"].format(prefix="site/lookout", **names)) is not None


def test_operations_are_as_the_table_of_topics_has_them() -> None:
    for operation in ASYNCAPI["operations"].values():
        kind = operation["channel"]["$ref"].rsplit("/", 1)[-1]
        if kind in KINDS:
            bound = operation["bindings"]["mqtt"]
            assert (bound["qos"], bound["retain"]) == (KINDS[kind].qos, KINDS[kind].retain)
            assert (operation["action"] == "receive") == (kind == "desired")
        elif kind.startswith("cmd-"):
            assert operation["action"] == "receive"


def test_payloads_of_the_asyncapi_document_are_schemas_of_draft_7() -> None:
    for name, message in ASYNCAPI["components"]["messages"].items():
        whole = {**message["payload"], "components": ASYNCAPI["components"]}
        jsonschema.Draft7Validator.check_schema(whole)
        assert "prefixItems" not in json.dumps(whole), name
    box = ASYNCAPI["components"]["schemas"]["Seen"]["properties"]["box"]
    jsonschema.Draft7Validator(box).validate([1.0, 2.0, 3.0, 4.0])
    assert not jsonschema.Draft7Validator(box).is_valid([1.0, 2.0, 3.0])


def test_a_command_of_the_asyncapi_document_is_one_that_the_device_takes() -> None:
    message = ASYNCAPI["components"]["messages"]["cmd-model-deploy"]["payload"]
    validator = jsonschema.Draft7Validator({**message, "components": ASYNCAPI["components"]})
    validator.validate({"v": 1, "id": "a", "args": {"reference": "yolox-nano:1.2.0"}})
    assert not validator.is_valid({"v": 1, "args": {"reference": 3}})
    assert not validator.is_valid({"v": 1, "args": {"reference": "a"}, "shell": "reboot"})
