"""As the load passes what the worker can do, frames are skipped, never queued, never lost; each camera has its share.

The loop itself between fakes, on a clock that is moved by hand: capture gives frames, a worker takes its time for each.
"""

from __future__ import annotations

import pytest

from tests.loop.fakes import MS, Bench, FakeWorker

FPS, RUN_MS, SECONDS, IN_FLIGHT = 25, 10, 4, 3
CAPACITY = 1000 // RUN_MS


class Load:
    """``cameras`` of 25 fps on one worker that answers a hundred frames a second."""

    def __init__(self, cameras: int) -> None:
        self.cameras = tuple(f"camera-{number}" for number in range(cameras))
        self.bench, self.worker = Bench(self.cameras, in_flight=IN_FLIGHT), FakeWorker("w")
        self.bench.swap(self.worker)
        self.ages_ms: list[float] = []
        self.most_in_flight = self.most_ready = 0

    def run(self) -> None:
        period_ms = 1000 // FPS
        dropped = dict.fromkeys(self.cameras, 0)
        busy_until_ms: float | None = None
        for ms in range(SECONDS * 1000):
            for place, camera in enumerate(self.cameras):
                if (ms + place * period_ms // len(self.cameras)) % period_ms == 0:
                    written = self.bench.write(camera, skipped=dropped[camera])
                    dropped[camera] += 1 - written
            if busy_until_ms is None and self.worker.asked:
                busy_until_ms = ms + RUN_MS
            if busy_until_ms is not None and ms >= busy_until_ms:
                self._answer()
                busy_until_ms = ms + RUN_MS if self.worker.asked else None
            self._look()
            self.bench.pass_ms(1)

    def _answer(self) -> None:
        before = len(self.bench.results)
        self.bench.answer(self.worker)
        for result in self.bench.results[before:]:
            self.ages_ms.append((self.bench.now_ns - result.frame.at_ns) / MS)

    def _look(self) -> None:
        self.most_in_flight = max(self.most_in_flight, len(self.worker.asked))
        cameras = self.bench.loop._intake.cameras.values()
        self.most_ready = max([self.most_ready, *(len(camera.ready) for camera in cameras)])


@pytest.mark.parametrize("cameras", [1, 2, 3])
def test_below_what_the_worker_can_do_every_frame_is_answered(cameras: int) -> None:
    load = Load(cameras)
    load.run()
    seen = load.bench.statistics
    assert seen.lost == seen.skipped == 0
    assert seen.answered >= SECONDS * FPS * cameras - IN_FLIGHT
    assert max(load.ages_ms) <= 2 * RUN_MS * cameras


@pytest.mark.parametrize("cameras", [5, 8, 16])
def test_above_it_what_is_too_much_is_skipped_and_nothing_waits_longer(cameras: int) -> None:
    load = Load(cameras)
    load.run()
    seen = load.bench.statistics
    assert seen.lost == 0
    assert seen.answered >= 0.95 * CAPACITY * SECONDS, "the worker is kept busy"
    assert seen.skipped >= 0.95 * (FPS * cameras - CAPACITY) * SECONDS
    assert load.most_in_flight <= IN_FLIGHT
    assert load.most_ready <= 1, "a live camera keeps its newest frame, and no queue"
    # Its turn comes after every other camera's; before that the frame was at most one period old.
    assert max(load.ages_ms) <= (IN_FLIGHT + 1) * RUN_MS + 1000 / FPS + cameras * RUN_MS
    answered = [camera.answered for camera in seen.cameras.values()]
    assert max(answered) - min(answered) <= max(2, 0.1 * SECONDS * CAPACITY / cameras), "each has its share"
