"""An MQTT broker of the demo's own: amqtt, in a process of its own, on a free port of loopback.

``python -m tools.demo.broker PORT`` prints ``ready`` once it listens and ends on SIGTERM or when its standard input
closes, so that it cannot outlive whoever started it. Anonymous, nothing kept on disk; MQTT 3.1.1 only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack

from tools.demo import processes
from tools.demo.failure import DemoFailed

READY = "ready"
START_TIMEOUT_S = 15.0
ATTEMPTS = 3


def start(stack: ExitStack, log_path: processes.LogPath, *, patience: float = 1.0) -> int:
    """Start a broker that ends with ``stack`` and return its port. Raises :class:`DemoFailed`."""
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        try:
            processes.start(
                stack,
                "broker",
                [sys.executable, "-m", "tools.demo.broker", str(port)],
                log_path,
                ready=READY,
                timeout_s=START_TIMEOUT_S * patience,
            )
        except DemoFailed:
            if attempt == ATTEMPTS:  # the port may have been taken between our look and the broker's
                raise
        else:
            return port
    raise AssertionError("unreachable")


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def serve(port: int) -> None:
    """Run the broker until SIGTERM, SIGINT or the end of standard input."""
    from amqtt.broker import Broker  # an extra: only the demo needs it

    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end.set)
    threading.Thread(target=_watch_stdin, args=(loop, end), name="lookout-demo-stdin", daemon=True).start()
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    print(READY, flush=True)
    await end.wait()
    await broker.shutdown()


def _watch_stdin(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    """Wait for the end of standard input: our parent is gone. Unbuffered: a lock would upset the interpreter's end."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(end.set)


def main() -> None:
    """Serve on the port named on the command line."""
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
