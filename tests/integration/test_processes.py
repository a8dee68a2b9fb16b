"""What each process loads, with the workshop installed beside it; and that none grows with what it has done."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from . import shelf
from .processes import FETCH, children, descriptors, family, kill, look, mapped, until

FORBIDDEN = {
    "agent": (
        "asyncio", "cv2", "onnxruntime", "onnx", "tuf", "securesystemslib", "requests", "tools", "rich", "scipy",
        "starlette", "uvicorn", "h11", "anyio", "prometheus_client",
    ),
    "capture": ("asyncio", "onnxruntime", "onnx", "paho", "tuf", "requests", "tools"),
    "worker": ("asyncio", "paho", "requests", "tuf", "onnx", "tools"),
    "fetch": ("cv2", "onnxruntime", "onnx", "paho", "tools"),
}  # fmt: skip
NEEDED = {"agent": "paho", "capture": "cv2", "worker": "onnxruntime", "fetch": "tuf"}
"""Proof that the look saw the process at work."""


def told_by(device, pid: int) -> tuple[set[str], list[str]]:
    """Ask a process which modules it has loaded and which threads it runs; nothing where it ended meanwhile."""
    path = device.temporary / f"spy-{pid}"
    path.unlink(missing_ok=True)
    # Before its handler stands, the signal would end the process.
    until(lambda: catches(pid, signal.SIGUSR1) or not Path(f"/proc/{pid}").exists(), 10, lambda: f"{pid} is no spy")
    kill([pid], signal.SIGUSR1)
    until(lambda: path.exists() or pid not in {process.pid for process in look()}, 10, lambda: f"{pid} is silent")
    if not path.exists():
        return set(), []
    modules, threads = path.read_text().split("\n")[:2]
    return set(modules.split()), threads.split("|")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for this signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def told_until_its_end(device, pid: int) -> set[str]:
    """Ask a short-lived process again and again, and return all modules that it ever had."""
    found: set[str] = set()
    while more := told_by(device, pid)[0]:
        found |= more
    return found


def test_children_get_neither_the_agents_secrets_nor_its_files(broker, world, veteran):
    device = world.device(port=broker.port, state=veteran, start=False, mqtt={"username": "yard"})
    device.start(LOOKOUT__MQTT__PASSWORD="hunter2", AWS_SECRET_ACCESS_KEY="hunter3")
    device.wait_serving(shelf.TINY)
    assert b"hunter2" in Path(f"/proc/{device.pid}/environ").read_bytes()
    for pid in (device.worker, device.capture):
        assert b"hunter" not in Path(f"/proc/{pid}/environ").read_bytes()
        opened = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert not [name for name in opened if name.startswith(str(device.state)) and "journal" in name]


def test_nothing_is_written_but_where_the_configuration_says(broker, world):
    device = world.device(port=broker.port)
    person = world.person(broker.port, device)
    person.wait_for_payload(person.topic("status"), b"online")
    person.deployed(shelf.TINY)
    person.sees(shelf.TINY, 1)
    assert device.stop() == 0
    assert list(device.home.rglob("*")) == [], "ONNX Runtime keeps no device id here"
    assert list(device.temporary.iterdir()) == []
    assert list((device.folder / "run").iterdir()) == []
    there = {path.name for path in device.folder.iterdir()}
    assert there == {"agent.yaml", "agent.log", "home", "tmp", "pictures", "state", "run"}
    assert (device.state.stat().st_mode & 0o007) == 0, "others may not even look"


@pytest.fixture(scope="module")
def spied(broker, shared_world):
    """A device that did its work once, and what each of its processes has loaded, by its part."""
    device = shared_world.device(
        port=broker.port, spied=True, start=False, deploy={"probation": {"frames": 1, "seconds": 0}}
    )
    person = shared_world.person(broker.port, device)
    device.start()
    since = person.deploy(shelf.TINY)
    (fetch,) = until(lambda: children(device.pid, FETCH), 10)
    loaded = {"fetch": (told_until_its_end(device, fetch), [])}
    person.wait_state(shelf.TINY, "committed", since=since)
    person.sees(shelf.TINY)
    device.status()
    for part, pid in (("agent", device.pid), ("capture", device.capture), ("worker", device.worker)):
        loaded[part] = told_by(device, pid)
    return device, person, loaded


@pytest.mark.parametrize("part", FORBIDDEN)
def test_a_process_loads_nothing_of_another_ones(part, spied):
    _, _, loaded = spied
    modules, _ = loaded[part]
    assert NEEDED[part] in modules
    found = sorted(name for name in modules if name.split(".")[0] in FORBIDDEN[part])
    assert found == []


def test_the_native_libraries_tell_the_same(spied):
    device, _, _ = spied
    for part, pid in (("agent", device.pid), ("capture", device.capture), ("worker", device.worker)):
        packages = {path.split("/site-packages/")[1].split("/")[0] for path in mapped(pid) if "/site-packages/" in path}
        assert packages & set(FORBIDDEN[part]) == set(), part


def test_every_thread_of_the_agent_is_ours_by_name(spied):
    device, _, loaded = spied
    _, threads = loaded["agent"]
    assert [name for name in threads if name != "MainThread" and not name.startswith("lookout-")] == []
    native = len(list(Path(f"/proc/{device.pid}/task").iterdir()))
    assert abs(native - len(threads)) <= 1, "no native library runs threads of its own in the agent"


@pytest.mark.parametrize("deployments", [2, pytest.param(10, marks=pytest.mark.faults)])
def test_deployments_leave_no_descriptor_no_process_and_no_thread_behind(deployments, spied):
    device, person, _ = spied
    person.deployed(shelf.NEWER)
    before = settled(device)
    for number in range(deployments):
        person.deployed((shelf.TINY, shelf.NEWER)[number % 2])
    after = settled(device)
    assert after["processes"] == before["processes"] == 3
    for what in ("agent descriptors", "capture descriptors", "agent threads"):
        assert after[what] <= before[what] + 2, (before, after)
    memory = device.status().memory_mb
    print(before, after, memory)


def settled(device) -> dict[str, int]:
    """Counts of what the device holds, once retired workers are gone."""
    until(lambda: len(family(device.pid)) == 3, 10, lambda: f"{family(device.pid)}")
    return {
        "processes": len(family(device.pid)),
        "agent descriptors": descriptors(device.pid),
        "capture descriptors": descriptors(device.capture),
        "agent threads": len(list(Path(f"/proc/{device.pid}/task").iterdir())),
    }
