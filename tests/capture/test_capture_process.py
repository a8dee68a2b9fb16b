"""The capture process as a whole: real processes, real files, a real network camera."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import pytest

from agent.capture.handle import CaptureHandle
from agent.errors import ProgrammingError
from agent.process.child import Spawner
from agent.process.messages import SourceSpec
from agent.types import CameraName
from tests.patience import patient

from .conftest import CAMERA, Taker, eventually, paint, write_video


def numbers(taker: Taker) -> list[int]:
    return [seen.number for seen in taker.seen]


def sequences(taker: Taker) -> list[int]:
    return [seen.message.sequence for seen in taker.seen]


def assert_whole(taker: Taker, count: int) -> None:
    """Every frame was handed over exactly once, in order, with the picture that belongs to its index."""
    assert sequences(taker)[:count] == list(range(count))
    assert [seen.message.source_index for seen in taker.seen] == numbers(taker)


def lossless(path, **more) -> SourceSpec:
    return SourceSpec("file", str(path), pace="lossless", **more)


# --- files -----------------------------------------------------------------------------------------------------------


def test_lossless_hands_every_frame_over_once_in_order_and_then_ends(handle, taker, tmp_path):
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 200)), taker)
    assert eventually(taker.ended)
    assert numbers(taker) == list(range(200))
    assert_whole(taker, 200)
    assert taker.states() == ["opening", "streaming", "ended"]
    assert taker.healths[1].fps == 25.0
    assert taker.told[-1] == "ended"
    assert all(seen.message.skipped == 0 for seen in taker.seen)
    stamps = [seen.message.at_ns for seen in taker.seen]
    assert stamps == sorted(stamps)


def test_a_looped_file_starts_over_and_its_index_wraps(handle, taker, tmp_path):
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 30), loop=True), taker)
    assert eventually(lambda: len(taker.seen) > 100)
    handle.close_camera(CAMERA)
    assert numbers(taker)[:100] == [n % 30 for n in range(100)]
    assert_whole(taker, 100)


def test_a_container_that_lies_about_its_length_still_loops_and_ends(handle, taker, tmp_path):
    path = write_video(tmp_path / "v.avi", 60)
    path.write_bytes(path.read_bytes()[:-40_000])  # cut off: the header still says 60 frames
    claimed = int(cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT))
    handle.open(CAMERA, lossless(path), taker)
    assert eventually(taker.ended)
    whole = len(taker.seen)
    assert 0 < whole < claimed == 60
    looped = Taker(handle)
    handle.open(CameraName("looped"), lossless(path, loop=True), looped)
    assert eventually(lambda: len(looped.seen) > 2 * whole)
    handle.close_camera(CameraName("looped"))
    indices = [seen.message.source_index for seen in looped.seen]  # the picture of the cut frame is anybody's guess
    assert indices[: 2 * whole] == [*range(whole), *range(whole)]


def test_real_time_plays_at_the_files_rate_and_counts_what_nobody_took(handle, taker, tmp_path):
    path = write_video(tmp_path / "v.avi", 40, fps=40.0)
    handle.open(CAMERA, SourceSpec("file", str(path)), taker)
    assert eventually(taker.ended)
    stamps = [seen.message.at_ns for seen in taker.seen]
    assert (stamps[-1] - stamps[1]) / 1e9 == pytest.approx(38 / 40, abs=0.15)
    assert len(taker.seen) + taker.seen[-1].message.skipped == 40
    assert_whole(taker, len(taker.seen))


def test_in_real_time_frames_without_a_slot_are_dropped_and_counted(handle, taker, tmp_path):
    taker.holding = True
    handle.open(CAMERA, SourceSpec("file", str(write_video(tmp_path / "v.avi", 100)), fps=200.0, loop=True), taker)
    assert eventually(lambda: taker.generation == 1)
    taker.grant_all()  # three slots for the frames of the next half second
    assert eventually(lambda: len(taker.seen) == 3)
    time.sleep(0.3)
    taker.grant_all()
    assert eventually(lambda: len(taker.seen) == 6)
    first, then = taker.seen[2], taker.seen[3]
    dropped = then.message.skipped - first.message.skipped
    assert dropped > 5  # about 60, on a machine that has time
    assert then.number == first.number + dropped + 1
    assert sequences(taker) == list(range(6))


def test_the_real_video_is_read_to_its_end(handle, shared):
    taker = Taker(handle)
    handle.open(CAMERA, lossless(shared / "data" / "video" / "one-by-one-person-detection.mp4"), taker)
    assert eventually(taker.ended, 30)
    assert sequences(taker) == list(range(len(taker.seen)))
    assert taker.seen[0].size == (768, 432)
    assert len(taker.seen) > 100


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", ["lossless", "realtime"])
def test_images_come_by_name_bad_ones_are_named_and_each_size_gets_its_ring(handle, taker, tmp_path, logged, pace):
    sizes = [(320, 240), (160, 120), (160, 120), (320, 240)]
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{'abde'[number]}.png"), paint(number, width, height))
    (tmp_path / "c.jpg").write_bytes(b"this is no image")
    (tmp_path / "notes.txt").write_text("nor is this")
    handle.open(CAMERA, SourceSpec("images", str(tmp_path), pace=pace, fps=1.0), taker)
    assert eventually(taker.ended)
    assert [(seen.number, seen.size) for seen in taker.seen] == list(enumerate(sizes))
    assert [seen.message.source_index for seen in taker.seen] == [0, 1, 3, 4]
    assert taker.generation == 3
    warnings = [record for record in logged if record["event"] == "capture.image_skipped"]
    assert [record["file"] for record in warnings] == [str(tmp_path / "c.jpg")]


# --- what is wrong with a source is said -----------------------------------------------------------------------------


def spoil(kind: str, folder) -> SourceSpec:
    (folder / "empty").mkdir()
    (folder / "junk.mp4").write_bytes(os.urandom(4096))
    (folder / "nothing.mp4").touch()
    return {
        "missing": SourceSpec("file", str(folder / "missing.mp4")),
        "junk": SourceSpec("file", str(folder / "junk.mp4")),
        "nothing": SourceSpec("file", str(folder / "nothing.mp4")),
        "folder": SourceSpec("file", str(folder / "empty")),
        "no folder": SourceSpec("images", str(folder / "absent")),
        "no images": SourceSpec("images", str(folder / "empty")),
        "no device": SourceSpec("device", "77"),
        "no camera": SourceSpec("device", "/dev/null-camera"),
        "no host": SourceSpec("url", "rtsp://me:secret@127.0.0.1:1/live"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "missing.mp4: cannot be read: No such file"),
        ("junk", "junk.mp4: is no video"),
        ("nothing", "nothing.mp4: is empty"),
        ("folder", "empty: is a folder"),
        ("no folder", "absent: cannot be listed: No such file"),
        ("no images", "empty: holds no image"),
        ("no device", "/dev/video77: no such camera"),
        ("no camera", "/dev/null-camera: no such camera"),
        ("no host", "127.0.0.1:1/live: cannot be opened within 3 s"),
    ],
)
def test_a_source_that_cannot_be_opened_is_named_with_the_reason(module_handle, tmp_path, kind, reason):
    handle, logged = module_handle
    taker = Taker(handle)
    name = CameraName("bad-" + kind.replace(" ", "-"))
    handle.open(name, spoil(kind, tmp_path), taker)
    assert eventually(lambda: "failed" in taker.states())
    handle.close_camera(name)
    assert reason in taker.reason()
    assert taker.states() == ["opening", "failed"]
    assert "secret" not in taker.reason() + str(logged)


@pytest.fixture(scope="module")
def module_handle():
    logged: list[dict] = []
    spawner = Spawner(lambda child, record: logged.append(dict(record)))
    handle = CaptureHandle(spawner)
    handle.start()
    yield handle, logged
    handle.close()
    spawner.close()


def test_a_file_that_appears_later_is_opened_then_and_the_others_never_waited(handle, taker, tmp_path):
    other = Taker(handle)
    handle.open(CAMERA, lossless(tmp_path / "late.avi"), taker)
    handle.open(CameraName("other"), lossless(write_video(tmp_path / "v.avi", 50)), other)
    assert eventually(other.ended)
    assert taker.states() == ["opening", "failed"]
    write_video(tmp_path / "part.avi", 10).rename(tmp_path / "late.avi")
    assert eventually(taker.ended)
    assert numbers(taker) == list(range(10))


# --- the process -----------------------------------------------------------------------------------------------------


def wait_for_pid(handle: CaptureHandle, not_this: int | None = None) -> int:
    assert eventually(lambda: handle.pid not in (None, not_this))
    assert handle.pid is not None
    return handle.pid


@pytest.mark.parametrize(("how", "within_s"), [(signal.SIGKILL, 5), (signal.SIGSEGV, 5), (signal.SIGSTOP, 9)])
def test_a_process_that_dies_or_hangs_is_replaced_and_frames_go_on_exactly_one_past(
    handle, taker, tmp_path, how, within_s
):
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 500), loop=True), taker)
    assert eventually(lambda: len(taker.seen) > 20)
    pid = wait_for_pid(handle)
    os.kill(pid, how)
    assert eventually(lambda: taker.lost != [], within_s)
    got = len(taker.seen)
    assert eventually(lambda: len(taker.seen) > got + 50, within_s)
    assert wait_for_pid(handle, pid)
    handle.close_camera(CAMERA)
    assert numbers(taker) == [n % 500 for n in range(len(taker.seen))]
    assert_whole(taker, got + 50)
    (reason,) = taker.lost
    assert signal.Signals(signal.SIGKILL if how == signal.SIGSTOP else how).name in reason
    assert ("said nothing for 3 s" in reason) == (how == signal.SIGSTOP)
    after = taker.told[taker.told.index("lost") + 1 :]
    assert after[0] == "opening"
    assert after.index("need_ring 320x240") < next(i for i, told in enumerate(after) if told.startswith("frame"))
    statistics = handle.statistics()
    assert (statistics.restarts, statistics.last_reason, statistics.cameras) == (1, reason, 0)


def test_a_camera_that_ended_is_not_opened_again(handle, taker, tmp_path):
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 5)), taker)
    assert eventually(taker.ended)
    pid = wait_for_pid(handle)
    os.kill(pid, signal.SIGKILL)
    other = Taker(handle)
    wait_for_pid(handle, pid)
    handle.open(CameraName("other"), lossless(tmp_path / "v.avi"), other)
    assert eventually(other.ended)
    assert numbers(taker) == list(range(5))
    assert taker.lost == []


def test_a_camera_may_be_closed_and_opened_anew(handle, taker, tmp_path):
    path = write_video(tmp_path / "v.avi", 30)
    handle.open(CAMERA, lossless(path, loop=True), taker)
    with pytest.raises(ProgrammingError, match="gate is open already"):
        handle.open(CAMERA, lossless(path), taker)
    assert eventually(lambda: len(taker.seen) > 10)
    handle.close_camera(CAMERA)
    again = Taker(handle)
    handle.open(CAMERA, lossless(path), again)
    assert eventually(again.ended)
    assert numbers(again) == list(range(30))
    assert_whole(again, 30)


def test_rings_and_grants_nobody_asked_for_do_no_harm(handle, taker, tmp_path):
    taker.need_ring(CAMERA, 320, 240)
    handle.grant(CAMERA, 1, 0)
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 20)), taker)
    handle.grant(CAMERA, 5, 0)
    handle.detach_ring(CAMERA, 3)
    assert eventually(taker.ended)
    assert_whole(taker, 20)


def test_closing_ends_the_process_and_is_quick(handle, taker, tmp_path):
    taker.holding = True
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 20)), taker)
    assert eventually(lambda: taker.generation == 1)
    pid = wait_for_pid(handle)
    began = time.monotonic()
    handle.close()
    handle.close()
    assert time.monotonic() - began < patient(1.5)
    assert handle.pid is None
    assert handle.memory_bytes() == 0
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    assert taker.lost == []


def test_the_process_says_its_versions_and_stays_small(handle, taker, tmp_path):
    handle.open(CAMERA, lossless(write_video(tmp_path / "v.avi", 300), loop=True), taker)
    assert eventually(lambda: len(taker.seen) > 100)
    assert 20e6 < handle.memory_bytes() < 90e6


# --- a network camera ------------------------------------------------------------------------------------------------


class Camera(BaseHTTPRequestHandler):
    """Motion JPEG over HTTP at 50 fps, as cheap cameras serve it; it can be made to stall."""

    def do_GET(self) -> None:
        self.server.visits.append(time.monotonic())  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        number = 0
        with contextlib.suppress(OSError):
            while not self.server.down.is_set():  # type: ignore[attr-defined]
                if not self.server.stalled.is_set():  # type: ignore[attr-defined]
                    jpeg = cv2.imencode(".jpg", paint(number))[1].tobytes()
                    head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    number += 1
                time.sleep(0.02)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def network_camera():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.visits, server.stalled, server.down = [], threading.Event(), threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.down.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_network_camera_that_stalls_is_reported_reconnected_and_goes_on(handle, taker, network_camera):
    url = f"http://me:secret@127.0.0.1:{network_camera.server_port}/v.mjpg"
    handle.open(CAMERA, SourceSpec("url", url, open_timeout_ms=2000, read_timeout_ms=500), taker)
    assert eventually(lambda: len(taker.seen) > 20)
    assert sequences(taker) == [seen.message.source_index for seen in taker.seen]
    network_camera.stalled.set()
    assert eventually(lambda: "stalled" in taker.states(), 5)
    network_camera.stalled.clear()
    got = len(taker.seen)
    assert eventually(lambda: len(taker.seen) > got + 20)
    handle.close_camera(CAMERA)
    assert taker.states()[:3] == ["opening", "streaming", "stalled"]
    assert taker.states()[-1] == "streaming"
    stall = next(message for message in taker.healths if message.state == "stalled")
    assert "no frame for 0.5 s" in stall.reason
    assert "secret" not in stall.reason
    assert sequences(taker) == list(range(len(taker.seen)))
    assert len(network_camera.visits) >= 2


def test_a_camera_that_accepts_and_says_nothing_fails_in_time_while_others_go_on(handle, taker, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v.mjpg"
        path, other = write_video(tmp_path / "v.avi", 100), Taker(handle)
        handle.open(CAMERA, SourceSpec("url", url, open_timeout_ms=1000, read_timeout_ms=500), taker)
        assert eventually(lambda: taker.states() == ["opening"])
        handle.open(CameraName("other"), lossless(path), other)
        assert eventually(other.ended, 0.8)
        assert eventually(lambda: "failed" in taker.states(), 6)
        assert other.lost == []
