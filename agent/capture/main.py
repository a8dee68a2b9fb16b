"""The capture process: ``python -m agent.capture.main``, started by the agent.

The main thread reads the channel, says ``Alive`` each second and looks after hung grabbers; one thread a camera
grabs. The process holds no secret but its cameras' URLs and ends with its channel.
"""

from __future__ import annotations

import agent.lean  # noqa: F401 - first, for its effect on what follows

import os
import sys

import cv2
import numpy as np
import structlog

from agent.capture.cameras import Cameras, Sources
from agent.capture.grabber import Stuck
from agent.capture.gstreamer import GstreamerSource
from agent.capture.images import ImagesSource
from agent.capture.opencv import DeviceSource, FileSource, UrlSource
from agent.capture.pattern import PatternSource
from agent.capture.picamera import PicameraSource
from agent.capture.render import Renderer
from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildError
from agent.process import lifeline
from agent.process.channel import Channel, ChannelClosed
from agent.process.messages import (
    Alive,
    AnyMessage,
    AttachRing,
    Close,
    Closed,
    DetachRing,
    Error,
    Grant,
    Hello,
    Open,
    Render,
    Stop,
)

log = structlog.get_logger(part="capture")

SOURCES: Sources = {
    "file": FileSource,
    "images": ImagesSource,
    "url": UrlSource,
    "device": DeviceSource,
    "gstreamer": GstreamerSource,
    "picamera2": PicameraSource,
    "pattern": PatternSource,
}
ALIVE_NS = NS_PER_S
STOP_S = 1.0
EXIT_STUCK = 70


def main() -> None:
    """Run until told to stop or until the agent is gone."""
    channel = lifeline.enter("capture")
    cv2.setNumThreads(1)  # grabbers are the threads; OpenCV's pool would only add more
    cameras = Cameras(SOURCES, channel.send)
    try:
        serve(channel, cameras, Renderer(channel.send))
    except ChannelClosed:
        log.info("capture.agent_gone")
    except Stuck as error:
        _end_at_once(channel, error)
    if not cameras.stop(STOP_S):
        os._exit(0)  # a thread in native code would crash while the interpreter goes down under it


def serve(channel: Channel, cameras: Cameras, renderer: Renderer) -> None:
    """Read messages until ``Stop``. Raises :class:`ChannelClosed`, :class:`Stuck`."""
    versions = {"opencv": cv2.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
    channel.send(Hello("capture", os.getpid(), versions=versions))
    alive_ns = monotonic_ns()
    while True:
        now = monotonic_ns()
        if now >= alive_ns:
            channel.send(Alive())
            cameras.check(now)
            alive_ns = now + ALIVE_NS
        received = channel.receive((alive_ns - now) / NS_PER_S)
        if received is None:
            continue
        message, fd = received
        if isinstance(message, Stop):
            return
        if isinstance(message, Render):
            renderer.ask(message, *cameras.picture_of(message))
            continue
        _handle(channel, cameras, message, fd)


def _handle(channel: Channel, cameras: Cameras, message: AnyMessage, fd: int | None) -> None:
    match message:
        case AttachRing() if fd is not None:
            try:
                cameras.attach(message, fd)
            except ChildError as error:
                channel.send(Error.of(error, camera=message.camera))
            return
        case Open():
            cameras.open(message)
        case Close():
            cameras.close(message)
            channel.send(Closed(message.camera))
        case DetachRing():
            cameras.detach(message)
        case Grant():
            cameras.grant(message)
        case _:
            log.warning("capture.message_unknown", message=type(message).__name__)
    if fd is not None:
        os.close(fd)


def _end_at_once(channel: Channel, error: Stuck) -> None:
    log.error("capture.stuck", reason=error.message)
    try:
        channel.send(Error.of(error, camera=error.camera))
    finally:
        os._exit(EXIT_STUCK)


if __name__ == "__main__":
    main()
