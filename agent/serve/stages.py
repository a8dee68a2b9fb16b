"""A worker's three stages, overlapped: preprocess, run, postprocess and send, each on its own thread.

Requests go through in order, and so do answers: each stage is one thread and each queue first in, first out; where the
model is run on several frames at once, that stage has as many threads, and the last puts back in order what they did.
What bounds the queues is the number of buffers, for every request holds one from its preprocessing to its answer, also
one that failed on the way. With :data:`SPARE` of them beside those that are run, ``run`` has its next tensor ready when
it is done with one. The model's arithmetic releases the interpreter, so the other stages and the channel cost it
nothing but the hand-over.

A frame is read in the first stage only: when a ring is detached, which the same thread does, nobody reads it any more.
"""

from __future__ import annotations

import itertools
import queue
import threading
from time import perf_counter_ns

import cv2
import numpy as np
import structlog

from agent.clock import NS_PER_MS
from agent.errors import ChildError, InputError, LookoutError
from agent.infer.detector import Answer, Detector
from agent.infer.preprocess import Buffer
from agent.process.channel import Channel, ChannelClosed
from agent.process.messages import AnyMessage, AttachRing, DetachRing, Error, Infer, InferFile, Output, Stop
from agent.process.ring import RingMemory
from agent.types import CameraName, Role, Timings

log = structlog.get_logger(part="serve")

SPARE = 2
"""Buffers beside those whose frames are run: one being filled or waiting for its run, one being read."""

MOST_ROWS = 1000
"""An answer must fit into one message, whatever the manifest allows."""


class Job:
    """A request on its way through the stages; one stage at a time has it."""

    __slots__ = (
        "buffer",
        "error",
        "height",
        "number",
        "outputs",
        "preprocess_ns",
        "received_ns",
        "request",
        "role",
        "run_ns",
        "width",
    )

    def __init__(self, number: int, request: int, role: Role, buffer: Buffer, received_ns: int) -> None:
        self.number = number
        self.request = request
        self.role: Role = role
        self.buffer = buffer
        self.received_ns = received_ns
        self.width = self.height = 0
        self.preprocess_ns = self.run_ns = 0
        self.outputs: list[np.ndarray] = []
        self.error: LookoutError | None = None


class Stages:
    """The stages of one loaded model. :meth:`serve` is the first of them, on the caller's thread.

    ``concurrency``: frames on which the model is run at once.
    """

    def __init__(self, channel: Channel, detector: Detector, concurrency: int = 1) -> None:
        self._channel = channel
        self._detector = detector
        self._concurrency = concurrency
        self._numbers = itertools.count()
        self._rings: dict[tuple[CameraName, int], RingMemory] = {}
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        for _ in range(concurrency + SPARE):
            self._free.put(detector.buffer())
        self._prepared: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ran: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Answer requests until ``Stop`` or until the agent is gone; what was asked before is answered first."""
        threads = [
            *(
                threading.Thread(target=self._run_all, name=f"lookout-run-{number}", daemon=True)
                for number in range(1, self._concurrency + 1)
            ),
            threading.Thread(target=self._answer_all, name="lookout-postprocess", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            self._receive_all()
        finally:
            for _ in range(self._concurrency):
                self._prepared.put(None)
            for thread in threads:
                thread.join()
            for ring in self._rings.values():
                ring.close()

    # --- first stage: the channel, and preprocessing -----------------------------------------------------------------

    def _receive_all(self) -> None:
        while True:
            try:
                received = self._channel.receive()
            except ChannelClosed:
                log.info("worker.agent_gone")
                return
            assert received is not None
            message, fd = received
            if isinstance(message, Stop):
                return
            self._take(message, fd)

    def _take(self, message: AnyMessage, fd: int | None) -> None:
        match message:
            case Infer() | InferFile():
                self._prepare(message)
            case AttachRing() if fd is not None:
                self._attach(message, fd)
            case DetachRing():
                ring = self._rings.pop((message.camera, message.generation), None)
                if ring is not None:
                    ring.close()
            case _:
                raise ChildError(
                    f"a worker has no use for {type(message).__name__}: agent and worker differ, reinstall"
                )

    def _attach(self, message: AttachRing, fd: int) -> None:
        ring = RingMemory.attach(fd, message.width, message.height, message.slots, writable=False)
        former = self._rings.get((message.camera, message.generation))
        self._rings[message.camera, message.generation] = ring
        if former is not None:
            former.close()

    def _prepare(self, message: Infer | InferFile) -> None:
        received_ns = perf_counter_ns()
        job = Job(next(self._numbers), message.request, message.role, self._free.get(), received_ns)
        started_ns = perf_counter_ns()
        try:
            frame = self._frame(message)
            job.height, job.width = frame.shape[:2]
            self._detector.preprocess(frame, job.buffer)
        except LookoutError as error:
            job.error = error
        job.preprocess_ns = perf_counter_ns() - started_ns
        self._prepared.put(job)

    def _frame(self, message: Infer | InferFile) -> np.ndarray:
        if isinstance(message, InferFile):
            return read_picture(message.path)
        ring = self._rings.get((message.camera, message.generation))
        if ring is None or not 0 <= message.slot < ring.slots:
            raise InputError(
                f"camera {message.camera} has no slot {message.slot} of generation {message.generation} here: "
                "its ring was not attached"
            )
        return ring.frame(message.slot)

    # --- second stage: the model -------------------------------------------------------------------------------------

    def _run_all(self) -> None:
        while (job := self._prepared.get()) is not None:
            if job.error is None:
                started_ns = perf_counter_ns()
                try:
                    job.outputs = self._detector.run(job.buffer)
                except LookoutError as error:
                    job.error = error
                job.run_ns = perf_counter_ns() - started_ns
            self._ran.put(job)
        self._ran.put(None)

    # --- third stage: the answer -------------------------------------------------------------------------------------

    def _answer_all(self) -> None:
        early: dict[int, Job] = {}
        running = self._concurrency
        due = 0
        while running:
            job = self._ran.get()
            if job is None:
                running -= 1
                continue
            early[job.number] = job
            while (job := early.pop(due, None)) is not None:
                due += 1
                self._send(job)

    def _send(self, job: Job) -> None:
        message = self._answer(job)
        self._free.put(job.buffer)
        try:
            self._channel.send(message)
        except ChannelClosed:  # nobody wants it; the first stage sees the end and stops the others
            log.info("worker.unanswered", request=job.request)

    def _answer(self, job: Job) -> Output | Error:
        started_ns = perf_counter_ns()
        if job.error is None:
            try:
                answer = self._detector.postprocess(job.outputs, job.buffer)
                return _output(job, answer, started_ns)
            except LookoutError as error:
                job.error = error
        return Error.of(job.error, request=job.request)


def _output(job: Job, answer: Answer, started_ns: int) -> Output:
    now_ns = perf_counter_ns()
    postprocess_ns = now_ns - started_ns
    wait_ns = now_ns - job.received_ns - job.preprocess_ns - job.run_ns - postprocess_ns
    return Output(
        request=job.request,
        role=job.role,
        width=job.width,
        height=job.height,
        timings=Timings(
            wait_ms=wait_ns / NS_PER_MS,
            preprocess_ms=job.preprocess_ns / NS_PER_MS,
            run_ms=job.run_ns / NS_PER_MS,
            postprocess_ms=postprocess_ns / NS_PER_MS,
        ),
        detections=None if answer.detections is None else answer.detections[:MOST_ROWS].tobytes(),
        classes=None if answer.classes is None else answer.classes[:MOST_ROWS].tobytes(),
    )


def read_picture(path: str) -> np.ndarray:
    """Return the picture at ``path`` as BGR. Raises :class:`InputError` where it is none."""
    try:
        picture = cv2.imread(path, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path}: cannot be decoded: {error.err}") from error
    if picture is None:
        raise InputError(f"{path}: is absent or no picture that OpenCV reads; publish the release again")
    return picture
