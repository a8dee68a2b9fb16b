"""GStreamer pipelines through GStreamer's own Python bindings: how a Jetson's CSI camera is reached, and much else.

Not through OpenCV: the one from PyPI has no GStreamer, and the systems' own (JetPack's, Debian's ``python3-opencv``)
are built against NumPy 1 and cannot be imported beside NumPy 2. The bindings (``python3-gi``) know nothing of NumPy;
they come from the system, and the virtual environment must see them. They are imported when such a camera is opened,
never before. A pipeline is a program, so it is written on the device only, never from afar.

Frames are taken as BGR from an ``appsink`` that keeps the newest only; one is put at the pipeline's end if missing.
"""

from __future__ import annotations

import importlib
import time
from typing import Any, NamedTuple

import numpy as np

from agent.capture.source import CameraStalled, Picture
from agent.errors import CameraError
from agent.process.messages import SourceSpec

SINK = "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
HOW_TO = (
    "GStreamer's Python bindings are not to be found: apt-get install python3-gi gir1.2-gstreamer-1.0 "
    "gir1.2-gst-plugins-base-1.0, and let the virtual environment see the system's packages (python3 -m venv "
    "--system-site-packages, or include-system-site-packages = true in its pyvenv.cfg; it must be of the system's own "
    "Python)"
)
_MARGIN_S = 3.0
HIGHEST_FPS = 1000.0


def whole(pipeline: str) -> str:
    """Return the pipeline with a sink from which frames can be taken."""
    return pipeline if "appsink" in pipeline else f"{pipeline.rstrip().rstrip('!').rstrip()} ! videoconvert ! {SINK}"


class _Format(NamedTuple):
    width: int
    height: int
    fps: float

    @property
    def stride(self) -> int:
        """Bytes from row to row: GStreamer fills rows up to a multiple of four."""
        return (3 * self.width + 3) // 4 * 4


class GstreamerSource:
    """A pipeline as a live source; frames are counted on across connections."""

    live = True

    def __init__(self, spec: SourceSpec) -> None:
        self.name = spec.location
        self.fps = 0.0
        self._spec = spec
        self._gst: Any = None
        self._pipeline: Any = None
        self._sink: Any = None
        self._sample: Any = None
        self._next = 0

    @property
    def patience_s(self) -> float:
        """Opening and a read, and a margin."""
        return (self._spec.open_timeout_ms + self._spec.read_timeout_ms) / 1000 + _MARGIN_S

    def open(self, start_index: int) -> None:
        """Build the pipeline, start it and wait for its first frame. Raises :class:`CameraError`."""
        gst, no_pipeline = _bindings()
        self._gst = gst
        try:
            self._pipeline = gst.parse_launch(whole(self.name))
        except no_pipeline as error:
            raise CameraError(f"{self.name}: is no pipeline: {error}; try it with gst-launch-1.0") from error
        self._sink = _sink_of(self._pipeline)
        if self._sink is None:
            self.close()
            raise CameraError(f"{self.name}: has no appsink as an element of its own; leave it out, it is added")
        self._pipeline.set_state(gst.State.PLAYING)
        try:
            self._sample = self._pull(self._spec.open_timeout_ms, "gave no frame")
            self.fps = _format_of(self._sample, self.name).fps
        except CameraError:
            self.close()
            raise
        self._next = start_index

    def grab(self) -> int | None:
        """Wait for the next frame; the first one came when opening. Raises :class:`CameraStalled`, CameraError."""
        if self._sample is None:
            self._sample = self._pull(self._spec.read_timeout_ms, "no frame")
        index, self._next = self._next, self._next + 1
        return index

    def retrieve(self, into: Picture | None) -> Picture:
        """Return the frame; copied into ``into`` where the size fits. Raises :class:`CameraError`."""
        sample, self._sample = self._sample, None
        form = _format_of(sample, self.name)
        buffer = sample.get_buffer()
        mapped, content = buffer.map(self._gst.MapFlags.READ)
        if not mapped or content.size < form.stride * (form.height - 1) + 3 * form.width:
            raise CameraError(f"{self.name}: delivers a frame that is shorter than {form.width}x{form.height} in BGR")
        try:
            flat = np.frombuffer(content.data, np.uint8)
            rows = np.lib.stride_tricks.as_strided(
                flat, (form.height, form.width, 3), (form.stride, 3, 1), writeable=False
            )
            if into is None or into.shape != rows.shape:
                return np.array(rows)
            np.copyto(into, rows)
            return into
        finally:
            buffer.unmap(content)

    def close(self) -> None:
        """Stop the pipeline and let it go."""
        pipeline, self._pipeline, self._sink, self._sample = self._pipeline, None, None, None
        if pipeline is not None:
            pipeline.set_state(self._gst.State.NULL)

    def _pull(self, timeout_ms: int, what: str) -> Any:
        """Wait for a frame, in pieces, so that an error of the pipeline is not waited out."""
        until = time.monotonic() + timeout_ms / 1000
        while True:
            sample = self._sink.try_pull_sample(100 * self._gst.MSECOND)
            if sample is not None:
                return sample
            self._check()
            if time.monotonic() >= until:
                raise CameraStalled(f"{self.name}: {what} for {timeout_ms / 1000:g} s")

    def _check(self) -> None:
        """Raise what the pipeline's bus says of an end or an error."""
        kinds = self._gst.MessageType
        message = self._pipeline.get_bus().pop_filtered(kinds.ERROR | kinds.EOS)
        if message is None:
            return
        if message.type == kinds.EOS:
            raise CameraError(f"{self.name}: the stream came to its end")
        error, detail = message.parse_error()
        place = message.src.get_name() if message.src is not None else "the pipeline"
        where = (detail or "").strip().splitlines()[-1:] or [""]
        raise CameraError(f"{self.name}: {place}: {error.message} {where[0]}".rstrip())


def _bindings() -> tuple[Any, type[Exception]]:
    """Return the module ``Gst``, set up, and what it raises. Raises :class:`CameraError` that says how to get it."""
    try:
        gi = importlib.import_module("gi")
        for name in ("Gst", "GstApp"):
            gi.require_version(name, "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        importlib.import_module("gi.repository.GstApp")
        broken: type[Exception] = importlib.import_module("gi.repository.GLib").Error
    except (ImportError, ValueError) as error:  # ValueError: the typelib is absent
        raise CameraError(f"{HOW_TO} ({error})") from error
    if not gst.is_initialized():
        gst.init(None)
    return gst, broken


def _sink_of(pipeline: Any) -> Any:
    """Return the pipeline's appsink, None where it has none."""
    found = pipeline.iterate_all_by_element_factory_name("appsink")
    _, sink = found.next()
    return sink


def _format_of(sample: Any, name: str) -> _Format:
    """Return size and rate of a frame. Raises :class:`CameraError` for anything but BGR."""
    caps = sample.get_caps().get_structure(0)
    layout = caps.get_value("format") if caps.get_name() == "video/x-raw" else caps.get_name()
    if layout != "BGR":
        raise CameraError(f"{name}: delivers {layout}; put videoconvert ! video/x-raw,format=BGR before its appsink")
    given, above, below = caps.get_fraction("framerate")
    fps = above / below if given and below else 0.0
    return _Format(caps.get_value("width"), caps.get_value("height"), fps if 0.0 < fps <= HIGHEST_FPS else 0.0)
