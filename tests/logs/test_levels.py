"""Levels: of all, of a part, for a while; and every part of the agent has a known name."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import structlog

from agent.config.schema import Logs
from agent.logs.levels import PARTS, Levels
from agent.logs.setup import Logging, configure

from .conftest import lines

AGENT = Path(__file__).resolve().parents[2] / "agent"


def test_levels_change_while_loggers_are_in_use(logs: Logging, out: io.BytesIO) -> None:
    log = structlog.get_logger(part="x").bind()
    log.debug("no")
    logs.reconfigure(Logs(level="debug", fold_s=0))
    log.debug("yes")
    logs.reconfigure(Logs(level="error", fold_s=0))
    log.warning("no")
    log.error("yes")
    assert [line["event"] for line in lines(out)] == ["yes", "yes"]


def test_a_part_has_a_level_of_its_own(out: io.BytesIO) -> None:
    configure(Logs(level="warning", parts={"deploy": "debug", "link": "error"}), out)
    structlog.get_logger(part="deploy").debug("a")
    structlog.get_logger(part="link").warning("no")
    structlog.get_logger(part="loop").info("no")
    structlog.get_logger().warning("b")
    assert [line["event"] for line in lines(out)] == ["a", "b"]


def test_a_part_that_does_not_exist_is_told(out: io.BytesIO) -> None:
    configure(Logs(parts={"deplyo": "debug"}), out)
    (line,) = lines(out)
    assert (line["event"], line["names"]) == ("logs.part_unknown", ["deplyo"])


def test_a_temporary_level_returns_to_what_is_then_configured() -> None:
    levels = Levels("info", {"link": "error"})
    told: list[str] = []
    levels.listen(told.append)
    levels.set_for("debug", "link", until_ns=10)
    levels.set_for("warning", "loop", until_ns=20)
    assert (levels.level_of("link"), levels.level_of("loop"), levels.level_of("x")) == ("debug", "warning", "info")
    assert levels.due_ns() == 10
    levels.configure("error", {})
    assert levels.expire(9) == ()
    assert levels.expire(10) == ("link",)
    assert levels.expire(30) == ("loop",)
    assert (levels.level_of("link"), levels.level_of("loop"), levels.due_ns()) == ("error", "error", None)
    assert told == ["info", "debug", "debug", "debug", "warning", "error"], "children are told the least of all"


def test_a_temporary_level_of_all_counts_for_parts_that_have_their_own_too() -> None:
    levels = Levels("info", {"link": "error"})
    levels.set_for("warning", "loop", until_ns=10)
    levels.set_for("debug", None, until_ns=20)
    assert levels.level_of("link") == levels.level_of("loop") == levels.level_of(None) == "debug"
    levels.set_for("error", "loop", until_ns=10)
    assert levels.temporary() == {"*": "debug", "loop": "error"}
    assert levels.expire(20) == (None, "loop")
    assert levels.level_of("link") == "error"


def test_every_part_that_logs_is_known_by_name() -> None:
    found = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_logger":
                found |= {
                    word.value.value
                    for word in node.keywords
                    if word.arg == "part" and isinstance(word.value, ast.Constant)
                }
    assert found <= set(PARTS), f"add {sorted(found - set(PARTS))} to agent.logs.levels.PARTS"
