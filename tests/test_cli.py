"""The command: exit codes, texts for people, JSON for programs, and nothing loaded that was not asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.supervise.local import LocalServer
from agent.supervise.status import BrokerStatus, CameraStatus, PipelineStatus, Status

ROOT = Path(__file__).resolve().parent.parent
MINIMAL = "cameras: {front: {source: {kind: file, path: a.avi}}}\npipelines: {main: {cameras: [front]}}\n"


def lookout(*words: object, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a person starts it; with a terminal of no colour."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(environ or {})},
    )  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(f"{MINIMAL}paths: {{state: {tmp_path}/state, runtime: {tmp_path}}}\n")
    return path


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_says_that_a_good_file_is_fine(config: Path) -> None:
    done = lookout("check", "-c", config, environ={"LOOKOUT__MQTT__PORT": "1884"})
    assert done.returncode == 0
    assert "fine (1 camera, 1 pipeline" in done.stdout
    assert "LOOKOUT__MQTT__PORT" in done.stdout


def test_check_prints_every_problem_as_a_table(config: Path) -> None:
    config.write_text(MINIMAL + "mqtt: {pasword: hunter2, port: x}\ncamera: 1\n")
    done = lookout("check", "-c", config)
    assert done.returncode == 2
    assert "3 problems" in done.stdout
    assert "did you mean password?" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_check_prints_every_problem_as_json(config: Path) -> None:
    config.write_text(MINIMAL + "mqtt: {pasword: hunter2, port: x}\n")
    done = lookout("check", "-c", config, "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert {problem["path"] for problem in told["problems"]} == {"mqtt.pasword", "mqtt.port"}
    assert set(told["problems"][0]) == {"path", "value", "message", "hint", "where"}
    assert json.loads(lookout("check", "-c", ROOT / "configs/minimal.yaml", "--json").stdout)["ok"] is True


def test_check_of_something_that_is_no_file_is_bad_input_without_a_traceback(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml", "/bin/ls"):
        done = lookout("check", "-c", path)
        assert done.returncode == 2
        assert "Traceback" not in done.stdout + done.stderr
        assert "1 problem" in done.stdout


def test_explain_prints_what_a_key_means() -> None:
    done = lookout("check", "--explain", "mqtt.password")
    assert done.returncode == 0
    for words in ("text, secret", "applies", "remote", "no: only in the file", "never shown"):
        assert words in done.stdout
    section = json.loads(lookout("check", "--explain", "report", "--json").stdout)
    assert section[0]["below"] == [
        "detections_hz", "all", "events", "event_update_s", "best_pictures", "snapshots", "telemetry_s",
        "wear_budget_mb_per_day",
    ]  # fmt: skip


def test_explain_of_an_unknown_key_names_the_nearest() -> None:
    done = lookout("check", "--explain", "mqtt.pasword")
    assert done.returncode == 2
    assert "did you mean mqtt.password?" in done.stderr


@pytest.mark.parametrize(
    "words", [["check"], ["check", "-c", "x", "--explain", "y"], ["provision", "--root", "x"], ["run"]]
)
def test_wrong_usage_is_exit_2_and_says_how(words: list[str]) -> None:
    done = lookout(*words)
    assert done.returncode == 2
    assert "Usage: lookout" in done.stderr


# --- status ----------------------------------------------------------------------------------------------------------

STATUS = Status(
    device="gate-7",
    version="0.1.0",
    pid=42,
    uptime_s=93784,
    cameras=(CameraStatus("front", "main", "streaming", 14.9, answered=100, lost=1, skipped=2),),
    pipelines=(
        PipelineStatus(
            "main", "faces", "1.1.0", "ab" * 32, ("CPUExecutionProvider",), 4.2, 5.1, "probation", "faces:1.1.0"
        ),
    ),
    broker=BrokerStatus("broker:1883", "connected", "5"),
    memory_mb={"agent": 51.2},
)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, Status]]:
    """An agent's socket whose status a test may exchange."""
    now = {"status": STATUS}
    server = LocalServer(tmp_path / "agent.sock", {"status": lambda: now["status"]})
    server.start()
    yield now
    server.stop()


def test_status_shows_cameras_models_deployment_and_broker(agent: dict[str, Status], config: Path) -> None:
    done = lookout("status", "-c", config)
    assert done.returncode == 0, done.stderr
    for words in (
        "gate-7",
        "1 d 2 h",
        "front",
        "14.9",
        "faces:1.1.0 (abababababab)",
        "probation",
        "broker:1883",
        "4.2 / 5.1",
    ):
        assert words in done.stdout


def test_status_is_exit_3_and_says_why_when_degraded(agent: dict[str, Status], tmp_path: Path) -> None:
    agent["status"] = Status(
        device="gate-7", version="0", pid=1, uptime_s=1, cameras=(), pipelines=(),
        broker=BrokerStatus(None, "off"), degraded=("camera front: stalled",),
    )  # fmt: skip
    done = lookout("status", "--socket", tmp_path / "agent.sock")
    assert done.returncode == 3
    assert "degraded: camera front: stalled" in done.stdout
    told = lookout("status", "--socket", tmp_path / "agent.sock", "--json")
    assert told.returncode == 3
    assert json.loads(told.stdout)["degraded"] == ["camera front: stalled"]


def test_status_without_an_agent_is_exit_1_and_says_what_to_do(tmp_path: Path) -> None:
    done = lookout("status", "--socket", tmp_path / "agent.sock")
    assert done.returncode == 1
    assert "lookout run" in done.stderr
    told = lookout("status", "--socket", tmp_path / "agent.sock", "--json")
    assert json.loads(told.stdout)["error"]["code"] == "no_agent"


def test_status_finds_the_socket_of_the_service_of_this_user(agent: dict[str, Status], tmp_path: Path) -> None:
    assert lookout("status", environ={"RUNTIME_DIRECTORY": str(tmp_path)}).returncode == 0


# --- the rest --------------------------------------------------------------------------------------------------------


def test_an_unknown_command_names_the_nearest() -> None:
    done = lookout("stauts")
    assert done.returncode == 2
    assert "Did you mean 'status'?" in done.stderr


def test_help_lists_the_groups_of_the_workshop_with_examples_and_without_loading_them() -> None:
    done = lookout("--help")
    assert done.returncode == 0
    for name in ("run", "check", "status", "provision", "version", "registry", "bench", "Example"):
        assert name in done.stdout
    for name in ("run", "check", "status", "provision", "version"):
        assert "Example" in lookout(name, "--help").stdout


def test_a_group_is_loaded_when_it_is_named() -> None:
    done = lookout("registry", "--help")
    assert done.returncode == 0
    assert "publish" in done.stdout


def test_version_names_what_the_agent_stands_on() -> None:
    assert lookout("version").stdout.startswith("lookout-agent ")
    assert "onnxruntime" in json.loads(lookout("version", "--json").stdout)


def test_provision_refuses_what_is_no_root_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    done = lookout("provision", "--root", tmp_path / "root.json", "--state", tmp_path / "state")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert lookout("provision", "--root", tmp_path / "absent", "--state", tmp_path).returncode == 2


def test_run_with_a_bad_file_prints_every_problem_and_starts_nothing(config: Path, tmp_path: Path) -> None:
    config.write_text('cameras: {}\nmqtt: {port: x, "pa\\e[31m": 1}\n')
    done = lookout("run", "-c", config)
    assert done.returncode == 2
    assert "mqtt.port" in done.stderr
    assert "pipelines: is missing" in done.stderr
    assert "\x1b" not in done.stderr
    assert not (tmp_path / "state").exists()


WATCHED = """
import sys, types
from pathlib import Path
def run(file):
    assert isinstance(file, Path)
    heavy = {"rich", "tools", "tuf", "requests", "cv2", "onnxruntime", "onnx", "numpy", "paho"}
    bad = [name for name in sys.modules if name.split(".")[0] in heavy or name == "agent.registry.provision"]
    print("loaded:", bad, "structlog" in sys.modules)
    return 7
sys.modules["agent.app"] = types.SimpleNamespace(run=run)
sys.argv = ["lookout", "run", "-c", sys.argv[1]]
from agent.cli import main
main()
"""


def test_run_loads_no_group_and_nothing_heavy_and_gives_the_agents_exit_code(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(config)], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert done.stdout == "loaded: [] True\n", done.stderr
    assert done.returncode == 7


def test_status_loads_no_group_and_nothing_heavy(agent: dict[str, Status], tmp_path: Path) -> None:
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print([n for n in sys.modules if n.split('.')[0] in "
        "{'tools', 'tuf', 'requests', 'cv2', 'onnxruntime', 'onnx', 'numpy', 'paho'}]))\n"
        f"sys.argv = ['lookout', 'status', '--json', '--socket', {str(tmp_path / 'agent.sock')!r}]\n"
        "from agent.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_a_reader_who_had_enough_gets_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m agent check --explain path --json | head -c 1",
        shell=True, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
