"""The probation of a change: kept when the device is no worse than before, undone with the reason when it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.clock import NS_PER_S
from agent.config.confirm import CameraVitals, ConfigProbation, Keep, Undo, Vitals, Waiting
from agent.config.desired import Overlay
from agent.config.expected import Expected, expectations
from agent.config.whole import compose
from tests.depth import examples

CONFIRM_S = 60.0


class Device:
    """A simulated device: cameras that come and are answered at given rates."""

    def __init__(self, **cameras: dict[str, Any]) -> None:
        self.now_s = 1000.0
        self.connected, self.session = True, 3
        self.cameras = {
            name: {"health": "streaming", "seen": 15.0, "answered": 15.0, **how} for name, how in cameras.items()
        }
        self._counted = {name: [0.0, 0.0] for name in self.cameras}

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        for name, how in self.cameras.items():
            counted = self._counted.setdefault(name, [0.0, 0.0])
            if how["health"] == "streaming":
                counted[0] += seconds * how["seen"]
                counted[1] += seconds * how["answered"]

    def vitals(self) -> Vitals:
        return Vitals(
            int(self.now_s * NS_PER_S),
            self.connected,
            self.session,
            {
                name: CameraVitals(
                    how["health"], "why", int(self._counted[name][0]), int(self._counted[name][1]),
                    how["answered"] if how["health"] == "streaming" else 0.0, how.get("limit"),
                )
                for name, how in self.cameras.items()
            },
            "refused",
        )  # fmt: skip


def begin(device: Device, expected: dict[str, Expected] | None = None, **rest: Any) -> ConfigProbation:
    given = {name: Expected("main") for name in device.cameras} if expected is None else expected
    rest.setdefault("before", device.vitals())
    return ConfigProbation(
        7, expected=given, began_ns=int(device.now_s * NS_PER_S), confirm_s=CONFIRM_S, session=device.session, **rest
    )


def finish(probation: ConfigProbation, device: Device) -> Keep | Undo:
    """Judge once a second until it is decided."""
    while True:
        verdict = probation.judge(int(device.now_s * NS_PER_S), device.vitals())
        if not isinstance(verdict, Waiting):
            return verdict
        device.pass_s(1.0)


def kept(probation: ConfigProbation, device: Device) -> bool:
    return isinstance(finish(probation, device), Keep)


def undone(probation: ConfigProbation, device: Device) -> str:
    verdict = finish(probation, device)
    assert isinstance(verdict, Undo)
    return verdict.reason


# --- the rules -------------------------------------------------------------------------------------------------------


def test_a_device_that_does_as_before_keeps_the_change_at_the_end_and_not_sooner() -> None:
    device = Device(front={}, back={"answered": 4.0})
    probation = begin(device)
    began = device.now_s
    assert kept(probation, device)
    assert device.now_s - began == pytest.approx(CONFIRM_S)


def test_a_lost_connection_undoes_it_and_says_why() -> None:
    device = Device(front={})
    probation = begin(device)
    device.connected = False
    assert "not connected to the broker (refused)" in undone(probation, device)


def test_a_connection_that_comes_back_in_time_is_enough() -> None:
    device = Device(front={})
    probation = begin(device)
    device.connected = False
    for _ in range(50):
        assert isinstance(probation.judge(int(device.now_s * NS_PER_S), device.vitals()), Waiting)
        device.pass_s(1.0)
    device.connected = True
    assert kept(probation, device)


def test_a_device_that_was_not_connected_before_need_not_be_now() -> None:
    device = Device(front={})
    device.connected = False
    assert kept(begin(device), device)


def test_a_file_without_a_broker_need_not_be_connected() -> None:
    device = Device(front={})
    probation = begin(device, connects=False)
    device.connected = False
    assert kept(probation, device)


@pytest.mark.parametrize("health", ["opening", "stalled", "failed", "lost"])
def test_a_camera_that_no_longer_streams_undoes_it(health: str) -> None:
    device = Device(front={}, back={})
    probation = begin(device)
    device.cameras["back"]["health"] = health
    assert f"camera back: does not stream: {health} (why)" in undone(probation, device)


def test_a_camera_that_was_dead_before_is_not_asked() -> None:
    device = Device(front={}, back={"health": "failed"})
    assert kept(begin(device), device)


def test_a_camera_that_shows_something_else_must_stream_even_if_it_was_dead() -> None:
    device = Device(front={"health": "failed"})
    reason = undone(begin(device, {"front": Expected("main", anew=True, compared="no")}), device)
    assert "front" in reason


def test_an_added_camera_must_stream_by_the_end() -> None:
    device = Device(front={})
    expected = {"front": Expected("main"), "new": Expected("main", anew=True, compared="no")}
    assert "camera new: is not there" in undone(begin(device, expected), device)
    device = Device(front={})
    probation = begin(device, expected)
    device.cameras["new"] = {"health": "streaming", "seen": 2.0, "answered": 0.0}
    device.pass_s(0)
    assert kept(probation, device)


def test_a_camera_that_streams_without_a_frame_is_told() -> None:
    device = Device(front={"seen": 0.0, "answered": 0.0})
    expected = {"front": Expected("main", anew=True, compared="no")}
    assert "no frame came" in undone(begin(device, expected), device)
    slow = {"front": Expected("main", anew=True, compared="no", source_fps=0.01)}
    assert kept(begin(device, slow), device)


def test_a_removed_camera_is_not_missed() -> None:
    device = Device(front={}, gone={})
    probation = begin(device, {"front": Expected("main")})
    del device.cameras["gone"]
    assert kept(probation, device)


def test_a_file_that_came_to_its_end_is_no_dead_camera() -> None:
    device = Device(front={})
    probation = begin(device)
    device.pass_s(5.0)
    device.cameras["front"]["health"] = "ended"
    assert kept(probation, device)


def test_a_dark_and_gated_camera_is_no_fault() -> None:
    device = Device(front={"answered": 0.1})
    probation = begin(device, {"front": Expected("main", compared="no")}, before=vitals_with(device, fps=15.0))
    assert kept(probation, device)


def test_no_model_yet_is_no_fault() -> None:
    device = Device(front={"answered": 0.0})
    assert kept(begin(device), device)


def test_a_model_that_stopped_answering_is() -> None:
    device = Device(front={})
    probation = begin(device)
    device.cameras["front"]["answered"] = 0.0
    assert "0.0 frames a second are answered, 15.0 were before" in undone(probation, device)


def vitals_with(device: Device, *, fps: float) -> Vitals:
    found = device.vitals()
    return Vitals(
        found.at_ns, found.connected, found.session,
        {name: CameraVitals("streaming", "", was.seen, was.answered, fps) for name, was in found.cameras.items()},
    )  # fmt: skip


@pytest.mark.parametrize(("rate", "good"), [(15.0, True), (11.0, True), (9.0, False), (1.0, False)])
def test_a_rate_may_fall_to_seven_tenths(rate: float, good: bool) -> None:
    device = Device(front={})
    probation = begin(device)
    device.cameras["front"]["answered"] = rate
    assert kept(probation, device) is good


def test_only_the_last_half_counts() -> None:
    device = Device(front={})
    probation = begin(device)
    device.cameras["front"] |= {"health": "opening"}
    for _ in range(25):
        probation.judge(int(device.now_s * NS_PER_S), device.vitals())
        device.pass_s(1.0)
    device.cameras["front"] |= {"health": "streaming"}
    assert kept(probation, device)


@pytest.mark.parametrize("why", ["limit", "source"])
def test_what_the_change_allows_is_no_fall(why: str) -> None:
    device = Device(front={})
    expected = {"front": Expected("main", source_fps=5.0 if why == "source" else None)}
    probation = begin(device, expected)
    device.cameras["front"] |= {"answered": 5.0, "seen": 5.0, "limit": 5.0 if why == "limit" else None}
    assert kept(probation, device)


def test_a_governor_that_held_it_down_for_a_part_of_the_time_counts() -> None:
    device = Device(front={})
    probation = begin(device)
    device.cameras["front"] |= {"answered": 5.0, "limit": 5.0}
    for _ in range(59):
        probation.judge(int(device.now_s * NS_PER_S), device.vitals())
        device.pass_s(1.0)
    device.cameras["front"] |= {"answered": 15.0, "limit": None}
    assert kept(probation, device)


def test_an_impossible_rate_is_undone() -> None:
    device = Device(front={})
    probation = begin(device, {"front": Expected("main", source_fps=500.0, asked_fps=500.0)})
    assert "15.0 frames a second come, 500 were asked for" in undone(probation, device)
    capped = Device(front={"limit": 15.0})
    assert kept(begin(capped, {"front": Expected("main", source_fps=500.0, asked_fps=500.0)}), capped)


def test_a_new_camera_may_take_its_share_of_the_worker() -> None:
    device = Device(front={})
    expected = {"front": Expected("main", compared="sum"), "new": Expected("main", anew=True, compared="no")}
    probation = begin(device, expected)
    device.cameras["front"]["answered"] = 7.5
    device.cameras["new"] = {"health": "streaming", "seen": 15.0, "answered": 7.5}
    device.pass_s(0)
    assert kept(probation, device)
    device = Device(front={})
    probation = begin(device, expected)
    device.cameras["front"]["answered"] = 1.0
    device.cameras["new"] = {"health": "streaming", "seen": 15.0, "answered": 1.0}
    device.pass_s(0)
    assert "pipeline main: 2.0 frames a second are answered, 15.0 were before" in undone(probation, device)


def test_counters_that_begin_again_are_no_fall() -> None:
    device = Device(front={})
    device.pass_s(100.0)
    probation = begin(device)
    for _ in range(40):
        probation.judge(int(device.now_s * NS_PER_S), device.vitals())
        device.pass_s(1.0)
    device._counted["front"] = [0.0, 0.0]
    verdict = finish(probation, device)
    assert isinstance(verdict, Keep) or "answered" in verdict.reason  # a part of the window is all that can be lost
    assert isinstance(verdict, Keep) is (15.0 * 20 / 30 >= 0.7 * 15.0 - 2 / 30)


def test_nothing_known_of_before_asks_only_for_what_is_new() -> None:
    device = Device(front={"health": "failed"})
    device.connected = False
    assert kept(begin(device, before=None), device)


def test_a_short_probation_forgives_two_frames() -> None:
    device = Device(front={"seen": 1.0, "answered": 1.0})
    probation = ConfigProbation(
        1,
        before=device.vitals(),
        expected={"front": Expected("main")},
        began_ns=int(device.now_s * NS_PER_S),
        confirm_s=1.0,
    )
    probation.judge(int(device.now_s * NS_PER_S), device.vitals())
    device.now_s += 1.0
    assert isinstance(probation.judge(int(device.now_s * NS_PER_S), device.vitals()), Keep)


# --- confirmations ---------------------------------------------------------------------------------------------------


def test_a_confirmation_keeps_it_as_soon_as_all_is_well() -> None:
    device = Device(front={})
    probation = begin(device)
    assert probation.confirmed(7, device.session) == "taken"
    began = device.now_s
    assert kept(probation, device)
    assert device.now_s - began <= 5


def test_a_confirmation_does_not_keep_what_is_not_well() -> None:
    device = Device(front={})
    probation = begin(device)
    device.cameras["front"]["health"] = "failed"
    probation.confirmed(7, device.session)
    assert "front" in undone(probation, device)


def test_a_change_that_needs_one_is_undone_without() -> None:
    device = Device(front={})
    assert "no config/confirm" in undone(begin(device, needs_confirm=True), device)


def test_a_confirmation_over_the_old_connection_proves_nothing() -> None:
    device = Device(front={})
    probation = begin(device, needs_confirm=True)
    assert probation.confirmed(7, device.session) == "old_session"
    assert probation.confirmed(6, device.session + 1) == "not_pending"
    assert not probation.is_confirmed
    device.session += 1
    assert probation.confirmed(7, device.session) == "taken"
    assert kept(probation, device)


# --- what a change lets a camera do ----------------------------------------------------------------------------------

FILE = b"""\
cameras:
  a: {source: {kind: pattern, fps: 10}}
  b: {source: {kind: url, url: "rtsp://x/1"}}
  c: {source: {kind: file, path: x.avi, fps: 30, pace: lossless}}
pipelines:
  main: {cameras: [a, b]}
  side: {cameras: [c]}
"""


MOVED = {"pipelines": {"main": {"cameras": ["a"]}, "side": {"cameras": ["c", "b"]}}}


def expected_of(patch: dict[str, Any]) -> dict[str, Expected]:
    before = compose(Path("/x/agent.yaml"), {}, FILE, Overlay()).loaded.config
    return expectations(before, compose(Path("/x/agent.yaml"), {}, FILE, Overlay(patch)).loaded.config)


def test_a_change_of_nothing_compares_each_camera_with_itself() -> None:
    assert expected_of({}) == {
        "a": Expected("main", source_fps=10.0),
        "b": Expected("main"),
        "c": Expected("side"),
    }


@pytest.mark.parametrize(
    ("patch", "camera", "expected"),
    [
        ({"cameras": {"b": {"source": {"url": "rtsp://x/2"}}}}, "b", Expected("main", anew=True, compared="no")),
        ({"cameras": {"b": {"source": {"transport": "udp"}}}}, "b", Expected("main")),
        ({"cameras": {"a": {"source": {"fps": 500.0}}}}, "a", Expected("main", False, 500.0, 500.0, "sum")),
        ({"cameras": {"a": {"weight": 3}}}, "b", Expected("main", compared="sum")),
        ({"cameras": {"a": {"weight": 3}}}, "c", Expected("side")),
        ({"cameras": {"b": {"motion": {"enabled": True}}}}, "b", Expected("main", compared="no")),
        ({"pipelines": {"main": {"model": "m:1.0.0"}}}, "b", Expected("main", compared="no")),
        ({"inference": {"threads": 1}}, "b", Expected("main")),
        (MOVED, "b", Expected("side", compared="no")),
        (MOVED, "c", Expected("side", compared="sum")),
    ],
)  # fmt: skip
def test_what_is_expected_of_a_camera(patch: dict[str, Any], camera: str, expected: Expected) -> None:
    assert expected_of(patch)[camera] == expected


def test_without_a_configuration_before_nothing_is_compared() -> None:
    after = compose(Path("/x/agent.yaml"), {}, FILE, Overlay()).loaded.config
    assert {(found.compared, found.anew) for found in expectations(None, after).values()} == {("no", False)}


# --- against a model -------------------------------------------------------------------------------------------------


class Probations(RuleBasedStateMachine):
    """A probation under anything that happens decides once, at its end or by a confirmation, and by what holds then."""

    @initialize(needs=st.booleans(), connected=st.booleans(), streams=st.booleans())
    def start(self, needs: bool, connected: bool, streams: bool) -> None:
        self.device = Device(front={"health": "streaming" if streams else "failed"})
        self.device.connected = connected
        self.had = (connected, streams)
        self.probation = begin(self.device, needs_confirm=needs)
        self.began_s = self.device.now_s
        self.needs, self.is_confirmed, self.verdict = needs, False, None

    @rule(connected=st.booleans())
    def connection(self, connected: bool) -> None:
        self.device.session += connected and not self.device.connected
        self.device.connected = connected

    @rule(health=st.sampled_from(["streaming", "failed", "opening"]))
    def camera(self, health: str) -> None:
        self.device.cameras["front"]["health"] = health

    @rule(revision=st.integers(6, 8), session=st.integers(2, 6))
    def confirm(self, revision: int, session: int) -> None:
        good = revision == 7 and (not self.needs or session > 3)
        assert (self.probation.confirmed(revision, session) == "taken") is good
        self.is_confirmed = self.is_confirmed or good

    @precondition(lambda self: self.verdict is None)
    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 70.0]))
    def judge(self, seconds: float) -> None:
        self.device.cameras["front"]["answered"] = 1000.0  # rates are another test's
        self.device.pass_s(seconds)
        verdict = self.probation.judge(int(self.device.now_s * NS_PER_S), self.device.vitals())
        over = self.device.now_s - self.began_s >= CONFIRM_S
        well = (self.device.connected or not self.had[0]) and (
            self.device.cameras["front"]["health"] == "streaming" or not self.had[1]
        )
        if over:
            assert isinstance(verdict, Keep if well and (self.is_confirmed or not self.needs) else Undo)
        elif isinstance(verdict, Keep):
            assert self.is_confirmed
            assert well
        else:
            assert isinstance(verdict, Waiting)
            assert bool(verdict.missing) is not well
        self.verdict = None if isinstance(verdict, Waiting) else verdict

    @invariant()
    def a_reason_is_given(self) -> None:
        if isinstance(getattr(self, "verdict", None), Undo):
            assert self.verdict.reason.startswith("after 60 s: ")


TestProbations = Probations.TestCase
TestProbations.settings = settings(max_examples=examples(60), stateful_step_count=20, deadline=None)


@settings(max_examples=examples(100), deadline=None)
@given(st.floats(0.1, 60), st.floats(0.1, 60), st.none() | st.floats(0.1, 60), st.floats(1, 120))
def test_a_rate_at_or_above_the_allowed_one_is_never_undone(
    before: float, extra: float, limit: float | None, confirm_s: float
) -> None:
    device = Device(front={"answered": before, "limit": limit})
    probation = ConfigProbation(
        1, before=device.vitals(), expected={"front": Expected("main")}, began_ns=int(device.now_s * NS_PER_S),
        confirm_s=confirm_s,
    )  # fmt: skip
    device.cameras["front"]["answered"] = min(before + extra, limit or 1e9)
    assert isinstance(finish(probation, device), Keep)
