"""Every key that needs no restart is in some row, so that a change of it reaches the part that it is for."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import rewiring
from agent.config import describe
from agent.config.layers import Loaded
from agent.config.schema import Config
from agent.link.discovery import Facts
from agent.steer.rows import rows

POLYGON = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
OTHER = [[0.2, 0.1], [0.9, 0.1], [0.9, 0.9]]
KINDS: dict[str, dict[str, Any]] = {
    "file": {"path": "a.avi", "pace": "realtime", "loop": False, "fps": 5.0},
    "images": {"path": "a", "pace": "realtime", "loop": False, "fps": 5.0},
    "url": {"url": "rtsp://a/1", "transport": "tcp", "open_timeout_ms": 3000, "read_timeout_ms": 2000},
    "device": {"device": "0", "width": 640, "height": 480, "fps": 5.0, "fourcc": "MJPG"},
    "gstreamer": {"pipeline": "videotestsrc ! appsink", "open_timeout_ms": 3000, "read_timeout_ms": 2000},
    "picamera2": {"number": 0, "width": 640, "height": 480, "fps": 5.0, "read_timeout_ms": 2000},
    "pattern": {"width": 640, "height": 480, "fps": 5.0, "seed": 0, "pace": "realtime"},
}
MOTION = {
    "enabled": True, "every_s": 10.0, "recheck_s": 1.0, "hold_s": 2.0, "min_area": 0.1, "contrast": 6.0,
    "include": [POLYGON], "exclude": [POLYGON], "lossless": False,
}  # fmt: skip
LIMITS = {"min_area": 0.0, "max_area": 1.0, "min_ratio": 0.0, "max_ratio": 9.0}
BASE: dict[str, Any] = {
    "schema": 1,
    "device": {"groups": ["a"]},
    "cameras": {
        **{name: {"source": {"kind": name, **keys}} for name, keys in KINDS.items()},
        "yard": {
            "source": {"kind": "pattern", "pace": "lossless"}, "rotate": 0, "crop": [0, 0, 0.5, 0.5],
            "masks": [POLYGON], "mask_inference": False, "weight": 1, "max_fps": 5.0,
            "quiet": [{"from": "22:00", "to": "06:00", "max_fps": 1.0}], "motion": {**MOTION, "lossless": True},
        },
    },
    "pipelines": {
        "watch": {
            "cameras": ["yard", *KINDS], "model": "a:1.0.0", "score": 0.3, "labels": ["person"],
            "remap": {"car": "vehicle"}, "scores": {"person": 0.3}, "shapes": {"person": LIMITS}, "factory": "f",
            "tracking": {"enabled": True, "high_score": 0.3, "match_iou": 0.2, "min_hits": 3, "max_age_s": 2.0,
                         "stationary_s": 5.0},
            "in_flight": 3,
        }
    },
    "zones": {
        "place": {"camera": "yard", "polygon": POLYGON, "ignore": False, "labels": ["person"], "inertia": 3,
                  "limits": {"person": {**LIMITS, "score": 0.1}}, "loiter_s": 5.0},
        "line": {"camera": "pattern", "line": [[0.1, 0.1], [0.9, 0.9]]},
        "pond": {"camera": "images", "polygon": POLYGON, "ignore": True},
    },
    "registry": {"url": "https://a/", "token_file": "t", "ca_file": "c", "cert_file": "c", "key_file": "k",
                 "proxy": "http://p:1", "min_version": {"a": "1.0.0"}},
    "mqtt": {"host": "a", "username": "u", "password_file": "p",
             "tls": {"ca_file": "c", "cert_file": "c", "key_file": "k"}},
    "home_assistant": {"enabled": True},
    "deploy": {"probation": {"memory_mb": 100}, "trial_memory_mb": 100, "min_agreement": 0.5},
    "governor": {"temperature_c": 80.0, "load": 4.0},
    "logs": {"parts": {"mqtt": "info"}},
}  # fmt: skip
FOR_THE_STEWARD = ("remote.",)
"""It reads these in what is in force, whenever it needs them."""

IN_A_LIST = ("cameras.*.quiet.",)
"""The list is changed as a whole."""

GOES_WITH_IT = {
    "mqtt.password": (("mqtt", "password_file"),),
    "mqtt.username_file": (("mqtt", "username"),),
    "pipelines.*.tracking.enabled": (("zones", "place"), ("zones", "line")),
}
"""What stands in the way of a key."""

CHANGES: dict[str, Any] = {
    "cameras.*.crop": [0, 0, 0.6, 0.5],
    "cameras.*.masks": [OTHER],
    "cameras.*.motion.include": [OTHER],
    "cameras.*.motion.exclude": [OTHER],
    "cameras.*.motion.enabled": False,
    "cameras.*.quiet": [],
    "cameras.*.source.url": "rtsp://b/1",
    "cameras.*.source.fourcc": "YUYV",
    "cameras.*.source.pipeline": "other ! appsink",
    "zones.*.camera": "pattern",
    "zones.*.polygon": OTHER,
    "zones.*.line": [[0.2, 0.1], [0.9, 0.9]],
    "zones.*.labels": None,
    "pipelines.*.cameras": list(reversed(["yard", *KINDS])),
    "pipelines.*.model": "a:2.0.0",
    "pipelines.*.scores": {"person": 0.4},
    "pipelines.*.remap": {"car": "thing"},
    "pipelines.*.labels": ["person", "dog"],
    "device.groups": ["b"],
    "inference.providers": ["CUDAExecutionProvider"],
    "inference.spin": True,
    "registry.url": "https://b/",
    "registry.proxy": "http://q:1",
    "registry.min_version": {"a": "1.1.0"},
    "mqtt.protocol": "5",
    "mqtt.password": "secret",
    "mqtt.username_file": "n",
    "report.events": ["track"],
    "governor.steps_fps": [4.0, 2.0],
    "logs.parts": {"mqtt": "debug"},
}


def loaded(tree: dict[str, Any]) -> Loaded:
    return Loaded(Config.model_validate(tree), {}, Path("/etc/agent.yaml"), Path("/etc"))


def records(of: Loaded) -> dict[str, object]:
    facts = Facts(device="d", root="lookout/d/", model="m", version="0", rows=(), healthy=(), trouble=())
    made = rewiring.records(of, state=Path("/state"), cores=4, announced=facts)
    parts = SimpleNamespace(**dict.fromkeys(
        ("logs", "trust_clock", "access", "rates", "drawn", "report", "telemetry_s", "expect", "groups", "outbox",
         "home_assistant", "broker")), frames=SimpleNamespace(**dict.fromkeys(
             ("close_cameras", "take_up", "deploy", "end_pipelines", "open_cameras"))))  # fmt: skip
    return {row.part: row.select(of) for row in rows(parts, made, of)}  # type: ignore[arg-type]


def live_leaves() -> list[tuple[str, str | None]]:
    """Every key that is no section and needs no restart, with the kind of source that has it."""
    return [
        (key.path, kind)
        for key in describe.keys()  # noqa: SIM118 - a function of that name
        if key.applies != "agent" and not key.section and not key.path.startswith((*FOR_THE_STEWARD, *IN_A_LIST))
        for kind in (key.kinds or (None,))
        if not key.path.endswith(".kind")
    ]


def places(path: str, kind: str | None, tree: dict[str, Any]) -> list[tuple[str, ...]]:
    """Where a key lies in a configuration: names in the place of each star."""
    found: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    for step in path.split("."):
        below = []
        for place, node in found:
            names = [step] if step != "*" else list(node) if isinstance(node, dict) else []
            below += [((*place, name), node.get(name)) for name in names if isinstance(node, dict)]
        found = below
    return [place for place, _ in found if kind is None or place[1] == kind]


def other_value(path: str, value: Any) -> Any:
    if path in CHANGES:
        return CHANGES[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return {0: 90}.get(value, value) if path.endswith("rotate") else value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.5
    choices = {"realtime": "lossless", "tcp": "udp", "probation": "always", "warn": "rollback", "fastest": "first",
               "info": "warning"}  # fmt: skip
    return choices.get(value, f"{value}0") if isinstance(value, str) else None


@pytest.mark.parametrize(("path", "kind"), live_leaves())
def test_a_change_of_a_key_that_needs_no_restart_changes_what_some_part_is_told(path: str, kind: str | None) -> None:
    before = loaded(BASE)
    dumped = before.config.model_dump(by_alias=True)
    changed, told = [], []
    for place in places(path, kind, dumped):
        after = altered(path, place, dumped)
        if after is not None and after.config != before.config:
            changed.append(".".join(place))
            was, now = records(before), records(after)
            told += [part for part in now if now[part] != was[part]]
    assert changed, f"{path} could not be changed: give it another value in CHANGES"
    assert told, f"nobody is told of {changed}"


def altered(path: str, place: tuple[str, ...], dumped: dict[str, Any]) -> Loaded | None:
    """The base with another value at one place; None where that is no configuration: a line that loiters."""
    node: Any = dumped
    for step in place:
        node = node.get(step) if isinstance(node, dict) else None
    value = node.get_secret_value() if hasattr(node, "get_secret_value") else node
    tree = copy.deepcopy(BASE)
    under = tree
    for step in place[:-1]:
        under = under.setdefault(step, {})
    under[place[-1]] = other_value(path, value)
    for section, key in GOES_WITH_IT.get(path, ()):
        del tree[section][key]
    try:
        return loaded(tree)
    except ValueError:
        return None


def test_keys_that_hold_from_the_next_start_on_are_told_to_nobody() -> None:
    before = loaded(BASE)
    tree = {**BASE, "device": {"id": "other", "class": "pi", "groups": ["a"]}, "mqtt": {**BASE["mqtt"], "prefix": "x"}}
    facts = Facts(device="d", root="lookout/d/", model="m", version="0", rows=(), healthy=(), trouble=())
    made = rewiring.records(before, state=Path("/state"), cores=4, announced=facts)
    after = loaded(tree)
    assert made.deploy(after) == made.deploy(before)
    assert made.broker(after) == made.broker(before)
