"""The configurations that are shipped for boards: ``lookout check`` takes them, and every key in them is explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import describe
from agent.config.layers import load
from tests.test_cli import ROOT, lookout

BOARDS = ("minimal", "raspberry-pi", "jetson")
KEYS = (ROOT / "docs/config-keys.md").read_text()


def path_of(board: str) -> Path:
    return ROOT / "configs" / f"{board}.yaml"


def places(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """Give every place in a tree, its names of cameras and the like as ``*``."""
    if path:
        yield describe.place_of(path)
    for name, below in value.items() if isinstance(value, dict) else ():
        yield from places((*path, str(name)), below)


@pytest.mark.parametrize("board", BOARDS)
def test_lookout_check_takes_it(board: str) -> None:
    done = lookout("check", "-c", path_of(board))
    assert (done.returncode, "fine (" in done.stdout, done.stderr) == (0, True, "")


@pytest.mark.parametrize("board", BOARDS)
def test_every_key_in_it_is_known_and_documented(board: str) -> None:
    known = list(describe.keys())
    explained = {key.place for key in known if key.description}
    for place in places((), yaml.safe_load(path_of(board).read_text())):
        path = ".".join(place)
        if place[-1] != "*":
            assert place in explained, path
            assert f"`{path}`" in KEYS or f"`{path}." in KEYS, path


@pytest.mark.parametrize("board", BOARDS)
def test_none_of_them_holds_a_secret_or_a_place_that_only_its_author_has(board: str) -> None:
    text = path_of(board).read_text()
    assert not re.search(r"^\s*(password|token):", text, re.MULTILINE)
    for host in re.findall(r"//([^/:\s]+)", text):
        assert host.endswith((".example.org", ".example.com")) or host.startswith("192.168."), host


@pytest.mark.parametrize(("board", "page"), [("raspberry-pi", "raspberry-pi.md"), ("jetson", "jetson.md")])
def test_a_boards_page_and_its_configuration_name_each_other(board: str, page: str) -> None:
    assert f"configs/{board}.yaml" in (ROOT / "docs" / page).read_text()
    assert f"docs/{page}" in path_of(board).read_text()


def test_a_board_gets_what_its_page_says() -> None:
    pi, jetson = load(path_of("raspberry-pi"), {}).config, load(path_of("jetson"), {}).config
    assert (pi.inference.threads, pi.inference.spin, pi.pipelines["main"].in_flight) == (0, False, 2)
    assert pi.cameras["front"].source.model_dump()["fourcc"] == "MJPG"
    assert jetson.deploy.load_timeout_s == 900
    assert jetson.inference.providers[0] == "TensorrtExecutionProvider"
