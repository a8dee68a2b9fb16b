"""``python -m agent.supervise.alive``: whether an agent works here; the HEALTHCHECK of a container.

It asks at the local socket as ``lookout status`` does, at a twentieth of the cost: it imports the standard library and
nothing else, for on a small board a check every half minute adds up. Exit status: 0 every loop of the agent makes
progress, 1 no agent answers or a loop hangs. A degraded agent is alive: restarting it mends no camera and no broker.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping

SOCKET = "agent.sock"
TIMEOUT_S = 8.0
MAX_BYTES = 65536


def check(path: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return why the agent behind the socket is not well, None where it is."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout_s)
            peer.connect(path)
            peer.sendall(b'{"op": "alive"}\n')
            said = b""
            while b"\n" not in said and len(said) < MAX_BYTES and (more := peer.recv(4096)):
                said += more
        answer = json.loads(said)
    except (OSError, ValueError) as error:
        return f"no agent answers at {path}: {error}"
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict) or answer.get("ok") is not True:
        return f"what answers at {path} is no agent"
    late = result.get("late")
    return f"hangs: {', '.join(map(str, late))}" if late else None


def socket_path(arguments: list[str], environ: Mapping[str, str]) -> str:
    """Return the socket that was named, else the one below ``$RUNTIME_DIRECTORY``."""
    if arguments:
        return arguments[0]
    return f"{environ.get('RUNTIME_DIRECTORY', '.').split(':')[0]}/{SOCKET}"


def main() -> int:
    """Say what is wrong, if anything, and return the exit status."""
    wrong = check(socket_path(sys.argv[1:], os.environ))
    if wrong is not None:
        print(wrong, file=sys.stderr)
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
