"""From facts to findings: verdicts, words and remedies; and no text, however odd, makes a judge stumble."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doctor import findings
from agent.doctor.findings import Finding
from agent.doctor.judge import (
    access,
    broker,
    cameras,
    clock,
    configuration,
    memory,
    packages,
    pipelines,
    providers,
    registry,
    service,
    storage,
)
from agent.doctor.look import board, systemd
from agent.errors import Problem
from agent.supervise.status import BrokerStatus, CameraStatus, ConfigStatus, PipelineStatus, Status

DAY_MS = 24 * 3600 * 1000
NOW_MS = 1_770_000_000_000


def only(found: tuple[Finding, ...]) -> Finding:
    assert len(found) == 1
    return found[0]


# --- what all of them mean together ----------------------------------------------------------------------------------

OK, WARNING = findings.ok("a", "x"), findings.warning("a", "x", "y")
BLINDING, FAILED = findings.blinding("a", "x", "y"), findings.failed("a", "x", "y")
BROKEN = Finding("a", "skipped", "x", broken=True)


@pytest.mark.parametrize(
    ("found", "usable", "code"),
    [
        ((), True, 0),
        ((OK, WARNING), True, 0),
        ((OK, BLINDING), True, 3),
        ((OK, FAILED, BROKEN), True, 3),
        ((OK, BROKEN), True, 1),
        ((OK, FAILED), False, 2),
    ],
)
def test_the_exit_code_says_the_worst_and_a_warning_alone_is_fine_unless_it_blinds(found, usable, code) -> None:
    assert findings.exit_code(found, usable=usable) == code


# --- the disk --------------------------------------------------------------------------------------------------------

DISK = storage.read_mounts("25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n")
STATE = storage.Storage(
    "/var/lib/lookout", "/var/lib/lookout", "lookout", DISK, True, "", 20_000_000_000, 30_000_000_000, 10**6, 10**7, 128
)


def folder_and_room(**changes: Any) -> tuple[Finding, Finding]:
    folder, room = storage.judge(replace(STATE, **changes))
    return folder, room


def mounted(line: str) -> tuple[storage.Mount, ...]:
    return (*DISK, *storage.read_mounts(line))


OVERLAY = "40 25 0:40 / / rw - overlay {source} rw,lowerdir=/lower,upperdir={upper},workdir=/w\n"
TMPFS = "41 25 0:41 / /media/root-rw rw - tmpfs tmpfs-root rw\n"


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "ok", "ext4 on /dev/mmcblk0p2"),
        ({"mounts": mounted("9 1 0:9 / /var/lib/lookout rw - tmpfs tmpfs rw\n")}, "failed", "lies in memory"),
        ({"mounts": mounted("9 1 8:1 / /var ro - ext4 /dev/sda1 ro\n")}, "failed", "read-only"),
        ({"mounts": mounted("9 1 8:1 / /var rw - ext4 /dev/sda1 ro,errors=remount-ro\n")}, "failed", "read-only"),
        (
            {"mounts": mounted(TMPFS + OVERLAY.format(source="overlayroot", upper="/media/root-rw/overlay"))},
            "failed",
            "lies in memory",
        ),
        ({"mounts": mounted(OVERLAY.format(source="overlay", upper="/docker/u"))}, "warning", "outlives a restart"),
        ({"writable": False}, "failed", "lookout may not write"),
        ({"writable": None}, "ok", "ext4"),
        ({"problem": "Input/output error"}, "failed", "Input/output error"),
        ({"mounts": ()}, "ok", "unknown file system"),
    ],
)
def test_a_state_folder_that_does_not_keep_what_is_written_fails(changes, verdict, words) -> None:
    found, _ = folder_and_room(**changes)
    assert (found.verdict, words in found.found) == (verdict, True), found


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "ok"),
        ({"free_bytes": 2_000_000_000}, "warning"),
        ({"free_bytes": 100_000_000}, "failed"),
        ({"free_files": 3}, "failed"),
        ({"total_files": 0, "free_files": 0}, "ok"),
        ({"total_bytes": 0}, "skipped"),
    ],
)
def test_room_is_judged_by_what_models_and_outbox_need(changes, verdict) -> None:
    assert folder_and_room(**changes)[1].verdict == verdict


def test_no_folder_above_the_state_is_ever_given_away() -> None:
    there, _ = folder_and_room(writable=False)
    assert there.remedy.startswith("sudo chown -R lookout: /var/lib/lookout,")
    absent, _ = folder_and_room(writable=False, nearest="/var/lib")
    assert absent.remedy.startswith("sudo install -d -m 0750 -o lookout /var/lib/lookout,")


def test_of_several_mounts_the_deepest_counts_and_of_two_at_one_point_the_last() -> None:
    both = storage.read_mounts(
        "1 1 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /var rw - xfs /dev/b rw\n3 1 8:3 / /var rw - btrfs /dev/c rw\n"
        "4 1 8:4 / /var\\040lib rw - ext4 /dev/d rw\n"
    )
    assert storage.mount_of(both, "/var/lib/lookout") == both[2]
    assert storage.mount_of(both, "/variable") == both[0]
    assert storage.mount_of(both, "/var lib/x") == both[3]


def test_a_medium_at_the_end_of_its_life_is_told_and_one_that_does_not_say_is_left_out() -> None:
    assert storage.judge_wear(storage.Wear(None, None, False)) == ()
    assert only(storage.judge_wear(storage.Wear("mmcblk0", 20.0, False))).verdict == "ok"
    assert only(storage.judge_wear(storage.Wear("mmcblk0", 100.0, False))).verdict == "warning"


# --- clock -----------------------------------------------------------------------------------------------------------

CLOCK = clock.Clock(NOW_MS, NOW_MS - DAY_MS, True, False, True, True)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "ok", "kept right"),
        ({"synchronised": False}, "failed", "nothing new is trusted"),
        ({"synchronised": False, "battery": False}, "failed", "without a battery"),
        ({"synchronised": False, "matters": False}, "warning", "nothing keeps it right"),
        ({"synchronised": False, "trusted": True}, "ok", "registry.trust_clock"),
        ({"now_ms": NOW_MS - 2 * DAY_MS}, "failed", "has passed for certain"),
    ],
)
def test_a_clock_that_nothing_keeps_right_fails_where_something_rests_on_it(changes, verdict, words) -> None:
    found = only(clock.judge(replace(CLOCK, **changes)))
    assert (found.verdict, words in found.found) == (verdict, True), found


# --- broker ----------------------------------------------------------------------------------------------------------

WAY = broker.Way(
    "b:8883", True, addresses=("10.0.0.1",), tls_version="TLSv1.3", protocol="5", client_id="lookout-doctor-1",
    username="gate",
    certificates=(broker.Certificate("the broker's", "CN=b", NOW_MS - 10 * DAY_MS, NOW_MS + 80 * DAY_MS),),
)  # fmt: skip


def steps(**changes: Any) -> dict[str, Finding]:
    return {one.name.removeprefix("broker "): one for one in broker.judge(replace(WAY, **changes), NOW_MS)}


def test_each_step_to_the_broker_is_told_and_none_after_the_one_that_fails() -> None:
    assert {name: one.verdict for name, one in steps().items()} == dict.fromkeys(broker.STEPS, "ok")
    assert list(steps(tls=False)) == ["name", "port", "login"]
    found = steps(stopped="certificate", problem="broker b: it is not trusted; check mqtt.tls.ca_file")
    assert list(found) == ["name", "port", "certificate"]
    assert (found["certificate"].verdict, found["certificate"].remedy) == ("failed", "check mqtt.tls.ca_file")


@pytest.mark.parametrize(("days", "verdict"), [(80, "ok"), (13, "warning"), (-1, "failed")])
def test_days_of_the_certificate_are_counted(days, verdict) -> None:
    ends = replace(WAY.certificates[0], begins_ms=NOW_MS - 80 * DAY_MS, ends_ms=NOW_MS + days * DAY_MS)
    own = broker.Certificate("this device's", "CN=gate", NOW_MS, NOW_MS + 900 * DAY_MS)
    found = steps(certificates=(own, ends))["certificate"]
    assert found.verdict == verdict
    assert found.values["days_left.the broker's"] == days


def test_a_certificate_that_lives_a_week_is_not_told_on_its_first_day() -> None:
    week = broker.Certificate("the broker's", "CN=b", NOW_MS, NOW_MS + 7 * DAY_MS)
    assert steps(certificates=(week,))["certificate"].verdict == "ok"


def test_the_agents_own_connection_counts_more_than_the_doctors() -> None:
    refused = {"stopped": "login", "problem": "broker b refuses the connection: not authorised; check the access list"}
    assert steps(**refused)["login"].verdict == "failed"
    connected = BrokerStatus("b:8883", "connected", "5")
    assert steps(**refused, agent=connected)["login"].verdict == "warning"
    away = BrokerStatus("b:8883", "failed", reason="user name or password is wrong")
    assert steps(agent=away)["login"].verdict == "warning"


def test_credentials_that_this_user_may_not_read_are_no_fault_of_the_device() -> None:
    found = only(broker.judge(replace(WAY, stopped="settings", problem="x", private=True), NOW_MS))
    assert (found.verdict, found.remedy) == ("skipped", "sudo lookout doctor")
    assert only(broker.judge(replace(WAY, stopped="settings", problem="x"), NOW_MS)).verdict == "failed"


def test_a_password_over_an_open_line_and_a_protocol_that_the_broker_lacks_are_told() -> None:
    assert "unencrypted" in steps(tls=False)["login"].found
    assert steps(protocol="3.1.1", wanted_protocol="5")["login"].verdict == "failed"


# --- registry --------------------------------------------------------------------------------------------------------


def roles(**days: float) -> dict[str, registry.Role]:
    left = {"timestamp": 14.0, "snapshot": 30.0, "targets": 180.0, "root": 365.0, **days}
    return {role: registry.Role(1, NOW_MS + int(number * DAY_MS)) for role, number in left.items()}


REGISTRY = registry.Registry("https://models", True, anchor=1, answers=True, roles=roles())


def about(**changes: Any) -> dict[str, Finding]:
    return {one.name: one for one in registry.judge(replace(REGISTRY, **changes), NOW_MS, "agent.yaml")}


def test_a_registry_in_order_tells_the_days_of_each_role() -> None:
    found = about()
    assert {one.verdict for one in found.values()} == {"ok"}
    assert found["registry metadata"].found == "days left: timestamp 14, snapshot 30, targets 180, root 365"


@pytest.mark.parametrize(
    ("days", "verdict", "remedy"),
    [
        ({"timestamp": 2}, "warning", "lookout registry refresh"),
        ({"targets": 20}, "warning", "lookout registry publish"),
        ({"root": 10}, "warning", "lookout registry rotate"),
        ({"root": 10, "timestamp": -1}, "failed", "lookout registry refresh"),
    ],
)
def test_metadata_that_ends_soon_names_the_command_of_its_role(days, verdict, remedy) -> None:
    found = about(roles=roles(**days))["registry metadata"]
    assert (found.verdict, remedy in found.remedy) == (verdict, True), found


def test_expired_metadata_is_refused_and_what_is_stored_goes_on() -> None:
    found = about(code="metadata_expired", problem="the metadata has expired; refresh it", roles=roles(timestamp=-3))
    assert found["registry trust"].verdict == "failed"
    assert "what is stored serves on" in found["registry trust"].found
    assert found["registry"].verdict == "ok"


def test_a_device_that_trusts_nothing_yet_is_told_how_to() -> None:
    assert "lookout provision --root root.json -c agent.yaml" in about(provisioned=False)["registry trust"].remedy
    assert about(provisioned=None)["registry trust"].verdict == "skipped"
    assert only(registry.judge(None, NOW_MS, "")).verdict == "skipped"


# --- packages and providers ------------------------------------------------------------------------------------------

PACKAGES = packages.Packages(
    "3.11.2", "/opt/lookout/bin/python", "0.2.0",
    ("numpy>=2.2", "onnxruntime>=1.23", "opencv-python-headless>=4.11", "securesystemslib[crypto]>=1.3",
     "pytest>=8.3; extra == 'dev'"),
    {"numpy": "2.2.0", "onnxruntime": "1.23.0", "opencv-python-headless": "5.0.0.93", "securesystemslib": "1.3.1"},
    (("onnxruntime", "1.23.0"),),
)  # fmt: skip


def installed(**changes: Any) -> dict[str, Finding]:
    return {one.name: one for one in packages.judge(replace(PACKAGES, **changes))}


def test_packages_in_order_are_fine_and_extras_are_nobodys_business() -> None:
    assert {one.verdict for one in installed().values()} == {"ok"}


def test_two_builds_of_onnx_runtime_fail_with_the_command_that_mends_it() -> None:
    both = (("onnxruntime", "1.23.0"), ("onnxruntime-gpu", "1.23.0"))
    found = installed(runtimes=both)["ONNX Runtime"]
    assert found.verdict == "failed"
    assert "/opt/lookout/bin/python -m pip uninstall -y onnxruntime onnxruntime-gpu" in found.remedy


def test_another_build_of_onnx_runtime_or_opencv_stands_in_for_the_one_that_is_asked_for() -> None:
    have = {name: version for name, version in PACKAGES.installed.items() if "o" not in name[:1]}
    found = installed(installed={**have, "opencv-python": "4.11"}, runtimes=(("onnxruntime-gpu", "1.24"),))
    assert {one.verdict for one in found.values()} == {"ok"}


def test_what_is_too_old_or_missing_or_there_twice_is_named() -> None:
    old = installed(installed={**PACKAGES.installed, "numpy": "2.1.9"})["versions"]
    assert (old.verdict, "numpy 2.1.9 (at least 2.2)" in old.found) == ("warning", True)
    missing = {name: one for name, one in PACKAGES.installed.items() if name != "numpy"}
    assert installed(installed=missing)["versions"].verdict == "failed"
    twice = installed(installed={**PACKAGES.installed, "opencv-python": "4.11"})["OpenCV"]
    assert (twice.verdict, "uninstall" in twice.remedy) == ("warning", True)
    assert installed(runtimes=())["ONNX Runtime"].verdict == "failed"
    assert installed(requires=())["versions"].verdict == "skipped"


@pytest.mark.parametrize(
    ("have", "bound", "older"),
    [("2.2.0", "2.2", False), ("2.10", "2.9", False), ("2.1.9", "2.2", True), ("1!3", "2", True), ("", "1", True)],
)
def test_versions_are_compared_as_numbers(have, bound, older) -> None:
    assert (packages.release(have) < packages.release(bound)) is older


GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


def test_providers_that_are_missing_or_passed_over_or_do_not_load_are_told() -> None:
    wanted = providers.Providers(GPU[1:], ("CPUExecutionProvider",))
    assert only(providers.judge(wanted)).verdict == "warning"
    slow = providers.Providers(GPU[1:], GPU, runs_on={"main": ("CPUExecutionProvider",)})
    assert only(providers.judge(slow)).verdict == "warning"
    assert only(providers.judge(replace(slow, runs_on={"main": GPU[1:]}))).verdict == "ok"
    broken = only(providers.judge(providers.Providers((), None, "ImportError: numpy.core")))
    assert (broken.verdict, "ImportError: numpy.core" in broken.found) == ("failed", True)


# --- service, agent, pipelines ---------------------------------------------------------------------------------------

UNIT = {
    "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
    "NRestarts": "0", "Result": "success", "StatusText": "2 cameras, 1 pipelines",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "ok", "active (running), enabled: 2 cameras"),
        ({"NRestarts": "7"}, "warning", "restarted 7 times"),
        ({"UnitFileState": "disabled"}, "warning", "does not start with this host"),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, "failed", "its last end: exit-code"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}, "failed", "auto-restart"),
        ({"ActiveState": "activating", "SubState": "start"}, "warning", "being started"),
        ({"LoadState": "masked", "UnitFileState": "masked"}, "failed", "masked"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "warning", "not installed"),
    ],
)
def test_the_unit_is_judged_by_what_systemd_says(changes, verdict, words) -> None:
    found = only(service.judge_service(service.Service(True, {**UNIT, **changes})))
    assert (found.verdict, words in found.found) == (verdict, True), found


def test_without_systemd_there_is_no_unit_to_look_at() -> None:
    assert only(service.judge_service(service.Service(False, None))).verdict == "skipped"
    assert only(service.judge_service(service.Service(True, None, "timeout"))).verdict == "skipped"
    by_hand = service.Service(True, {"LoadState": "not-found"}, answers=True)
    assert only(service.judge_service(by_hand)).verdict == "skipped"


FINE = Status("gate-7", "0.2.0", 42, 100.0, (), (), BrokerStatus(None, "off"))
AGENTS = service.Agents("/run/x", FINE, "", False, (service.Running(42, "-c a.yaml"),), "0.2.0")


def test_an_agent_that_is_degraded_absent_or_of_another_version_is_told() -> None:
    assert only(service.judge_agents(AGENTS)).verdict == "ok"
    bad = Status(
        **{**{name: getattr(FINE, name) for name in FINE.__struct_fields__}, "degraded": ("camera a: failed",)}
    )
    found = only(service.judge_agents(replace(AGENTS, status=bad)))
    assert (found.verdict, "camera a: failed" in found.found) == ("failed", True)
    assert only(service.judge_agents(replace(AGENTS, version="0.3.0"))).verdict == "warning"
    assert only(service.judge_agents(replace(AGENTS, status=None, silence="no such socket"))).verdict == "warning"
    assert only(service.judge_agents(replace(AGENTS, status=None, forbidden=True))).verdict == "skipped"


def test_two_agents_are_told_with_their_pids() -> None:
    two = (*AGENTS.others, service.Running(43, "-c b.yaml"))
    _, found = service.judge_agents(replace(AGENTS, others=two))
    assert (found.name, found.verdict) == ("other agents", "warning")
    assert "42 (-c a.yaml), 43 (-c b.yaml)" in found.found


@pytest.mark.parametrize(
    ("changes", "verdict", "degrades"),
    [
        ({}, "ok", False),
        ({"deployment": "rolled_back", "reason": "p95 over budget"}, "warning", False),
        ({"deployment": "waiting_for_clock"}, "warning", False),
        ({"model": None, "deployment": "failed", "reason": "no such model"}, "failed", True),
        ({"model": None, "deployment": "fetching"}, "warning", True),
    ],
)
def test_a_pipeline_without_a_model_blinds(changes, verdict, degrades) -> None:
    plain = {"name": "main", "model": "faces", "version": "1.0.0", "digest": "a" * 64, "deployment": "committed"}
    found = only(pipelines.judge([PipelineStatus(**{**plain, **changes})]))
    assert (found.verdict, found.degrades) == (verdict, degrades)


# --- groups and cameras ----------------------------------------------------------------------------------------------

LOOKOUT = access.User("lookout", 990, frozenset({990, 44}), "the service's user")
VIDEO = access.Node("/dev/video0", 0, 44, "video", 0o660)


def test_a_user_outside_the_devices_group_is_told_the_command() -> None:
    assert only(access.judge(LOOKOUT, [VIDEO], ["lookout", "video"])).verdict == "ok"
    alone = replace(LOOKOUT, groups=frozenset({990}))
    found = only(access.judge(alone, [VIDEO], ["lookout"]))
    assert (found.verdict, found.remedy) == ("failed", "sudo usermod -aG video lookout, then start the agent again")
    found = only(access.judge(replace(alone, account=frozenset({990, 44})), [VIDEO], ["lookout"]))
    assert "systemctl restart" in found.remedy
    assert only(access.judge(alone, [replace(VIDEO, lists=True)], [])).verdict == "ok"
    assert only(access.judge(alone, [], [])).verdict == "skipped"


@given(st.integers(0, 3), st.sets(st.integers(0, 3)), st.integers(0, 0o777))
def test_who_may_open_a_device_is_decided_as_the_kernel_does(uid: int, groups: set[int], mode: int) -> None:
    user = access.User("u", uid, frozenset(groups), "x")
    may = access.may_open(user, access.Node("/dev/x", 1, 2, "g", mode))
    if uid == 0:
        assert may
    else:
        bits = mode >> 6 if uid == 1 else mode >> 3 if 2 in groups else mode
        assert may == (bits & 6 == 6)


BY_ID = "/dev/v4l/by-id/usb-046d_C920-video-index0"
USB = cameras.Camera(
    "front", "device", "/dev/video0", device=cameras.Device("/dev/video0", "/dev/video0", BY_ID),
    glimpse=cameras.Glimpse((640, 480), 120.0),
)  # fmt: skip
STREAMING = CameraStatus("front", "main", "streaming", 14.9)


def of_device(**changes: Any) -> cameras.Camera:
    assert USB.device is not None
    return replace(USB, device=replace(USB.device, **changes))


@pytest.mark.parametrize(
    ("camera", "verdict", "words"),
    [
        (USB, "warning", "another camera after the next start"),
        (of_device(wanted=BY_ID), "ok", "640x480"),
        (replace(of_device(path=""), present=(BY_ID,)), "failed", f"there are: {BY_ID}"),
        (of_device(path=""), "failed", "no camera is there at all"),
        (of_device(theirs=False), "failed", "the agent's user may not open it"),
        (of_device(allowed=False), "skipped", "this user may not open it"),
        (of_device(capture=False), "failed", "metadata"),
        (
            replace(of_device(holders=("motion (pid 7)",)), glimpse=cameras.Glimpse(problem="x")),
            "failed",
            "motion (pid 7)",
        ),
        (replace(USB, glimpse=cameras.Glimpse((64, 64), 1.0)), "warning", "nearly black"),
        (replace(USB, glimpse=cameras.Glimpse(problem="gave no picture within 16 s")), "failed", "within 16 s"),
        (replace(USB, glimpse=None), "skipped", "was not opened"),
        (replace(of_device(path=""), agent=STREAMING), "ok", "14.9 fps"),
        (
            replace(of_device(path=""), agent=CameraStatus("front", "main", "failed", 0.0, reason="no such device")),
            "failed",
            "no such device",
        ),
    ],
)
def test_a_camera_is_told_the_first_thing_that_is_wrong_with_it(camera, verdict, words) -> None:
    found = cameras.judge(camera)
    assert (found.verdict, words in found.found) == (verdict, True), found


@pytest.mark.parametrize(
    ("conditions", "degrades"),
    [(("frozen",), True), (("stale", "dark"), True), (("dark",), False), (("moved",), False)],
)
def test_pictures_that_stand_still_blind_and_dark_ones_do_not(conditions, degrades) -> None:
    seen = CameraStatus("front", "main", "streaming", 10.0, conditions=conditions)
    found = cameras.judge(replace(USB, device=None, agent=seen))
    assert (found.verdict, found.degrades) == ("warning", degrades)


def test_a_network_camera_whose_address_does_not_answer_says_that() -> None:
    camera = cameras.Camera(
        "net", "url", "rtsp://cam/x", glimpse=cameras.Glimpse(problem="cannot be opened"), reach="cam does not answer"
    )
    assert cameras.judge(camera).remedy.startswith("cam does not answer")


# --- configuration, memory -------------------------------------------------------------------------------------------


def test_the_configuration_is_told_with_what_runs_of_it() -> None:
    def judged(problems: tuple[Problem, ...] = (), running: ConfigStatus | None = None, notes: str = "") -> Finding:
        return only(configuration.judge("a.yaml", problems, (1, 2), running, notes))

    assert judged().found == "a.yaml: 1 camera, 2 pipelines"
    bad = judged((Problem("mqtt.port", "x", "is no number"), Problem("a", None, "b")))
    assert (bad.verdict, bad.remedy) == ("failed", "lookout check -c a.yaml lists all of it")
    denied = judged((Problem("", None, "cannot be read: Permission denied"),))
    assert denied.remedy == "sudo lookout doctor"
    assert judged(running=ConfigStatus(3, "committed")).found.endswith("revision 3 runs")
    assert judged(running=ConfigStatus(3, "reverted", reason="cut off")).verdict == "warning"
    assert judged(running=ConfigStatus(3, "committed", restart_needed=("device.id",))).verdict == "warning"
    assert judged(notes="hidden").verdict == "warning"
    assert only(configuration.judge(None, (), (0, 0), None)).verdict == "skipped"


def test_memory_is_judged_by_frames_and_a_model() -> None:
    def verdicts(**changes: Any) -> tuple[str, ...]:
        plain = memory.Memory(4000, 2000, 50, None, ())
        return tuple(one.verdict for one in memory.judge(replace(plain, **changes)))

    assert verdicts() == ("ok", "ok")
    assert verdicts(available_mb=180) == ("warning", "ok")
    assert verdicts(available_mb=180, running_mb=200) == ("ok", "ok")
    assert verdicts(total_mb=512, frames_mb=400) == ("failed", "warning")


# --- anything at all -------------------------------------------------------------------------------------------------

LINES = st.text(max_size=200) | st.lists(st.text(max_size=12), max_size=12).map(" ".join)


@given(LINES)
def test_no_text_of_the_kernel_makes_a_reader_stumble(text: str) -> None:
    for mount in (mounts := storage.read_mounts(text)):
        storage.in_memory(mounts, mount)
    storage.mount_of(mounts, "/var")
    memory.read_swaps(text)
    board.read_modes(text)
    systemd.read(text)
    packages.bounds(text.splitlines())
    packages.release(text)


@given(
    st.builds(
        cameras.Camera,
        name=st.just("a"),
        kind=st.sampled_from(["device", "url", "file"]),
        shown=st.text(max_size=5),
        device=st.none() | st.builds(cameras.Device, wanted=st.text(max_size=5), path=st.text(max_size=5)),
        agent=st.none()
        | st.builds(
            CameraStatus,
            name=st.just("a"),
            pipeline=st.just("b"),
            health=st.sampled_from(["opening", "streaming", "stalled", "failed", "ended"]),
            fps=st.floats(0, 100),
            conditions=st.lists(st.sampled_from(["dark", "frozen", "stale"])).map(tuple),
        ),
        glimpse=st.none() | st.builds(cameras.Glimpse, problem=st.text(max_size=5)),
    )
)
def test_every_camera_has_one_finding_and_what_is_wrong_has_a_remedy(camera: cameras.Camera) -> None:
    found = cameras.judge(camera)
    assert found.name == "camera a"
    assert found.remedy or found.verdict in ("ok", "skipped")
    assert found.degrades or found.verdict != "failed"
