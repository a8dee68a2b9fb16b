"""The inspection process: ``python -m agent.inspect.main``, started by the agent for one model file.

It is apart because ``onnx`` parses foreign bytes, and because it would sit in the agent's memory for ever. ``Hello``,
then one ``Inspect``, then ``Inspected`` or ``Error``. What it may allocate is limited after its imports; the agent
kills it when it takes too long. A crash of it speaks against the file.
"""

from __future__ import annotations

import agent.lean  # noqa: F401 - first, for its effect on what follows

import os

import onnx

from agent.errors import ChildError, LookoutError, ModelError
from agent.infer.session import runtime_version
from agent.inspect.checks import inspect_file
from agent.inspect.runtime import ask_runtime
from agent.process import lifeline
from agent.process.channel import Channel
from agent.process.limits import limit_address_space
from agent.process.messages import Error, Hello, Inspect

COPIES = 4
"""How often the file's content may lie in memory: its bytes, the parsed model, the checker's copy, and some air."""
ROOM_BYTES = 256 * 1024 * 1024


def serve(channel: Channel) -> None:
    """Answer the one request that the agent sends."""
    channel.send(Hello("inspect", os.getpid(), versions={"onnx": onnx.__version__, "onnxruntime": runtime_version()}))
    received = channel.receive()
    if received is None or not isinstance(received[0], Inspect):
        raise ChildError(f"the inspection was sent {received!r} where an Inspect was due")
    request = received[0]
    try:
        limit_address_space(ROOM_BYTES + COPIES * _size(request.path))
        channel.send(inspect_file(request, ask_runtime))
    except MemoryError:
        message = f"{request.name}: needs more memory to be read than {COPIES} times its size; publish a smaller model"
        channel.send(Error.of(ModelError(message)))
    except LookoutError as error:
        channel.send(Error.of(error))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - one number, no Path
    except OSError:
        return 0  # reading it will say why


def main() -> None:
    """Run until the answer was given or the agent is gone."""
    lifeline.run("inspect", serve)


if __name__ == "__main__":
    main()
