"""The rule of pure modules: no I/O, no thread, no clock, no chance; time and randomness come in as arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "agent"

PURE = {
    "types",
    "errors",
    "redact",
    "capture.geometry",
    "capture.health",
    "capture.reconnect",
    "config.allowed",
    "config.changes",
    "config.checks",
    "config.describe",
    "config.expected",
    "config.keypath",
    "config.polygons",
    "config.problems",
    "config.reader",
    "config.schema",
    "config.secrets_of",
    "config.texts",
    "deploy.admission",
    "deploy.agreement",
    "deploy.bootguard",
    "deploy.machine",
    "deploy.following",
    "deploy.probation",
    "doctor.findings",
    "doctor.mqtt",
    "infer.tuning",
    "config.confirm",
    "config.desired",
    "config.guarded",
    "config.masked",
    "config.merge",
    "link.backoff",
    "link.discovery",
    "link.forms",
    "link.messages",
    "link.schemas",
    "link.drain",
    "link.provoked",
    "link.renewal",
    "link.standing",
    "link.stream",
    "link.topics",
    "link.twins",
    "logs.fold",
    "process.leases",
    "process.lines",
    "process.messages",
    "registry.floor",
    "registry.index",
    "registry.manifest",
    "registry.reference",
    "supervise.status",
    "telemetry.histogram",
    "telemetry.message",
    "telemetry.meter",
    "telemetry.names",
    "telemetry.rows",
    "telemetry.wear",
    "vision.assign",
    "vision.best",
    "vision.events",
    "vision.filters",
    "vision.motion",
    "vision.motionmodel",
    "vision.overlap",
    "vision.places",
    "vision.track",
    "vision.trackbook",
    "vision.whynot",
    "vision.zones",
    "web.access",
    "web.history",
    "web.sessions",
    "web.views",
}
JUDGES = {f"doctor.judge.{path.stem}" for path in (ROOT / "doctor" / "judge").glob("*.py") if path.stem != "__init__"}
DECODERS = {
    f"infer.decoders.{path.stem}" for path in (ROOT / "infer" / "decoders").glob("*.py") if path.stem != "__init__"
}
IMPURE = {
    "asyncio", "http", "io", "logging", "multiprocessing", "onnx", "onnxruntime", "os", "paho", "psutil", "random",
    "requests", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "structlog", "subprocess",
    "tempfile", "threading", "time", "tuf", "urllib.request", "urllib3", "watchdog",
}  # fmt: skip
IMPURE_NAMES = {
    "VideoCapture",
    "VideoWriter",
    "imread",
    "imwrite",
    "monotonic_ns",
    "utc_ms",
    "read_bytes",
    "write_bytes",
}
ALLOWED = {"link/faults.py": {"socket"}}
"""It names socket's classes of errors, and opens none."""
NUMPY_ONLY = {
    "vision.assign",
    "vision.best",
    "vision.events",
    "vision.filters",
    "vision.motionmodel",
    "vision.overlap",
    "vision.places",
    "vision.track",
    "vision.trackbook",
    "vision.whynot",
    "vision.zones",
}


def path_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def imports(tree: ast.AST) -> set[str]:
    """Names of imported modules and of what is taken from them, without those for type checkers only."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        found |= imports(node)
    return found


def offences(source: str, *, numpy_only: bool = False) -> list[str]:
    """What breaks the rule in a module's source."""
    tree = ast.parse(source)
    forbidden = IMPURE | ({"cv2", "scipy"} if numpy_only else set())
    found = [name for name in imports(tree) if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in IMPURE_NAMES:
            found.append(node.attr)
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name in IMPURE_NAMES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print"):
            found.append(f"{node.func.id}()")
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
            found += ["datetime"] if "datetime" in ast.dump(node.value) else []
    return sorted(set(found))


@pytest.mark.parametrize("module", sorted(PURE | DECODERS | JUDGES))
def test_a_pure_module_exists_and_imports_nothing_impure(module: str) -> None:
    assert path_of(module).is_file(), f"agent.{module} is promised as pure and does not exist"
    assert offences(path_of(module).read_text(), numpy_only=module in NUMPY_ONLY) == []


def test_a_module_that_calls_itself_pure_is_pure() -> None:
    claims = [path for path in ROOT.rglob("*.py") if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")]
    assert claims
    found = {path.relative_to(ROOT).as_posix(): set(offences(path.read_text())) for path in claims}
    assert {name: rest for name in found if (rest := found[name] - ALLOWED.get(name, set()))} == {}


def test_package_inits_import_nothing() -> None:
    packages = [path for folder in ("agent", "tools") for path in (ROOT.parent / folder).rglob("__init__.py")]
    assert {str(path) for path in packages if imports(ast.parse(path.read_text()))} == set()


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import time", "time"),
        ("from os import path", "os"),
        ("import os.path", "os.path"),
        ("def f():\n    import socket", "socket"),
        ("import cv2\ncv2.VideoCapture(0)", "VideoCapture"),
        ("from agent.clock import monotonic_ns", "monotonic_ns"),
        ("import datetime\ndatetime.datetime.now()", "datetime"),
        ("open('x')", "open()"),
    ],
)
def test_the_rule_finds_what_it_forbids(source: str, offence: str) -> None:
    assert offence in offences(source)


def test_the_rule_lets_arrays_and_types_through() -> None:
    allowed = "import cv2\nimport numpy\nif TYPE_CHECKING:\n    import threading\ncv2.resize"
    assert offences(allowed) == []
    assert "cv2" in offences(allowed, numpy_only=True)
