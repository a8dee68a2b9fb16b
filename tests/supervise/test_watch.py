"""``lookout status --watch`` on a terminal of its own: what it shows, how it is left, an agent that goes and comes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.supervise.local import LocalServer
from agent.supervise.presentscreen import Trails, screen
from agent.supervise.presenttables import PLAIN_SPARKS, SPARKS, sparkline
from agent.supervise.status import BrokerStatus, CameraStatus, ConfigStatus, PipelineStatus, Status
from tests.conftest import ROOT

PATIENCE_S = 40.0
SECOND_SCREEN, FIRST_SCREEN, CLEAR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[2J"
_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


def status(*degraded: str, fps: float = 14.9, **pipeline: object) -> Status:
    return Status(
        device="gate-7", version="0.1.0", pid=42, uptime_s=93784,
        cameras=(CameraStatus("front", "main", "streaming", fps),),
        pipelines=(PipelineStatus("main", "faces", "1.1.0", "ab" * 32, **pipeline),),  # type: ignore[arg-type]
        broker=BrokerStatus("broker:1883", "connected", "5"), degraded=degraded, memory_mb={"agent": 51.2},
        config=ConfigStatus(3, "committed"),
    )  # fmt: skip


def heed_ctrl_c() -> None:
    """Undo what a shell does to jobs in its background, and they hand down to us: SIGINT is ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def at_the_terminal() -> None:
    """Make standard input the terminal that steers this process."""
    heed_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """The command on a terminal of its own; everything that it writes is kept."""

    def __init__(self, *words: object, size: tuple[int, int] = (40, 120)) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "status", "--watch", *map(str, words)],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True,
            preexec_fn=at_the_terminal,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.written = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait_for(self, what: Callable[[str], bool], since: int = 0) -> str:
        """Return what was written ``since``, without escapes, once ``what`` is true of it."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self._read()
            said = _ESCAPE.sub(b"", self.written[since:]).decode(errors="replace")
            if what(said):
                return said
        raise AssertionError(f"not seen: {self.written[-2000:]!r}")

    def end(self) -> int:
        """Wait for the end and read the rest."""
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < until:
            self._read()
        self._read()
        return self.process.wait(PATIENCE_S)

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.2)[0]:
            self.written += os.read(self._ours, 65536)

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*words: object, **rest: tuple[int, int]) -> Terminal:
        made.append(Terminal(*words, **rest))
        return made[-1]

    yield start
    for one in made:
        one.close()


class Agent:
    """An agent's socket that comes and goes; its status may be exchanged."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, status()
        self._server: LocalServer | None = None

    def start(self) -> None:
        self._server = LocalServer(self.path, {"status": lambda: self.now})
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    made = Agent(tmp_path_factory.mktemp("w") / "agent.sock")
    made.start()
    yield made
    made.stop()


# --- on a terminal ----------------------------------------------------------------------------------------------------


def test_the_second_screen_is_used_without_clearing_and_given_back(agent: Agent, terminal: Callable[..., Terminal]):
    seen = terminal("--socket", agent.path, "--every", 0.2)
    said = seen.wait_for(lambda text: text.count("gate-7") >= 3)
    for words in ("front", "14.9", "faces:1.1.0", "broker:1883 connected", "revision 3", "agent 51 MB", "q leaves"):
        assert words in said
    seen.press(b"xq")
    assert seen.end() == 0
    assert seen.written.count(SECOND_SCREEN) == seen.written.count(FIRST_SCREEN) == 1
    assert seen.written.count(CLEAR) <= 1  # no flicker: what changes is written over what was there
    assert seen.settings() == seen.before


@pytest.mark.parametrize(("key", "code"), [(b"q", 3), (b"\x03", 3)])
def test_leaving_gives_the_code_of_what_was_seen_last(
    agent: Agent, terminal: Callable[..., Terminal], key: bytes, code: int
):
    agent.now = status("camera front: stalled")
    seen = terminal("--socket", agent.path, "--every", 0.2)
    seen.wait_for(lambda text: "degraded: camera front: stalled" in text)
    seen.press(key)
    assert seen.end() == code
    assert seen.written.count(FIRST_SCREEN) == 1


def test_sigterm_gives_the_terminal_back_too(agent: Agent, terminal: Callable[..., Terminal]):
    seen = terminal("--socket", agent.path, "--every", 0.2)
    seen.wait_for(lambda text: "gate-7" in text)
    seen.process.send_signal(signal.SIGTERM)
    assert seen.end() == 128 + signal.SIGTERM
    assert seen.written.count(FIRST_SCREEN) == 1
    assert seen.settings() == seen.before


def test_an_agent_that_goes_away_is_told_and_one_that_comes_back_is_shown(
    agent: Agent, terminal: Callable[..., Terminal]
):
    seen = terminal("--socket", agent.path, "--every", 0.2)
    seen.wait_for(lambda text: "gate-7" in text)
    agent.stop()
    seen.wait_for(lambda text: "no answer for" in text and "waiting for it" in text)
    agent.now = status(fps=3.3)
    agent.start()
    said = seen.wait_for(lambda text: "3.3" in text)
    since = len(seen.written)
    seen.wait_for(lambda text: text.count("gate-7") >= 2, since)
    assert "no answer" not in _ESCAPE.sub(b"", seen.written[since:]).decode(errors="replace")
    assert "▁" in said or "█" in said
    seen.press(b"q")
    assert seen.end() == 0


def test_a_window_of_another_size_is_drawn_anew_at_once(agent: Agent, terminal: Callable[..., Terminal]):
    seen = terminal("--socket", agent.path, "--every", 600)
    seen.wait_for(lambda text: "gate-7" in text)
    since = len(seen.written)
    seen.resize(20, 70)
    seen.wait_for(lambda text: "gate-7" in text, since)
    seen.press(b"q")
    assert seen.end() == 0


# --- elsewhere --------------------------------------------------------------------------------------------------------


def run(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent", "status", *map(str, words)], cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def test_without_a_terminal_it_is_refused_in_words(agent: Agent) -> None:
    out, error = run("--watch", "--socket", agent.path).communicate(timeout=PATIENCE_S)
    assert "--json" in error
    assert out == ""


def test_json_is_an_object_a_line_also_while_no_agent_answers(agent: Agent) -> None:
    process = run("--watch", "--json", "--every", 0.2, "--socket", agent.path)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["device"] == "gate-7"
    agent.stop()
    while "error" not in (told := json.loads(process.stdout.readline())):
        pass
    assert told["error"]["code"] == "no_agent"
    agent.start()
    while "error" in json.loads(process.stdout.readline()):
        pass
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(PATIENCE_S) == 0


# --- the picture ------------------------------------------------------------------------------------------------------


def drawn(found: Status | None, gone: str = "", *, plain: bool = False, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    trails = Trails()
    if found is not None:
        trails.add(found)
    console.print(screen(found, gone, 12.0, trails, clock="12:00:00", plain=plain))
    return console.export_text()


def test_a_deployment_shows_how_far_its_fetch_is() -> None:
    assert "fetching faces:1.2.0 [####......] 43%" in drawn(
        status(deployment="fetching", reference="faces:1.2.0", progress=0.43)
    )


def test_what_does_not_work_stands_above_the_tables_and_is_bounded() -> None:
    said = drawn(status(*(f"camera {number}: failed" for number in range(9))))
    assert said.index("degraded: camera 0") < said.index("front")
    assert "and 3 more" in said
    assert "camera 8" not in said


def test_the_last_status_stays_to_be_seen_while_no_agent_answers() -> None:
    said = drawn(status(), "no such socket")
    assert "no answer for 12 s: no such socket" in said
    assert "front" in said
    assert "no agent" in drawn(None, "no such socket")


def test_a_status_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in drawn(status("camera \x1b[2J: \x07failed"))


def test_a_plain_terminal_gets_plain_bars() -> None:
    assert not set(drawn(status(), plain=True)) & set(SPARKS)


@given(st.lists(st.floats(0, 1e4), max_size=40), st.sampled_from([SPARKS, PLAIN_SPARKS]))
def test_a_sparkline_has_a_bar_for_each_value_and_the_highest_for_the_highest(values: list[float], bars: str) -> None:
    drawn_line = sparkline(values, bars)
    assert len(drawn_line) == len(values)
    if values and max(values) > 0:
        assert drawn_line[values.index(max(values))] == bars[-1]
    assert set(drawn_line) <= set(bars)


def test_trails_forget_cameras_that_went_and_keep_a_bounded_past() -> None:
    trails = Trails()
    for number in range(100):
        trails.add(status(fps=float(number)))
    assert len(trails.rates()["front"]) == 24
    assert trails.rates()["front"][-1] == 99.0
    trails.add(Status("a", "0", 1, 1.0, (), (), BrokerStatus(None, "off")))
    assert trails.rates() == {}
