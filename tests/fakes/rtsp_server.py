"""A real RTSP camera for tests: Debian's GStreamer behind ``/usr/bin/python3 rtsp_server.py PORT WIDTH HEIGHT FPS``.

Serves a moving pattern at ``/cam``. Never imported: GStreamer's bindings are the system's, not the environment's.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions are required first

Gst.init(None)
port, width, height, fps = sys.argv[1:5]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={fps}/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
)
server.get_mount_points().add_factory("/cam", factory)
if not server.attach(None):
    sys.exit(f"port {port} is taken")
sys.stdout.write("serving\n")
sys.stdout.flush()
GLib.MainLoop().run()
