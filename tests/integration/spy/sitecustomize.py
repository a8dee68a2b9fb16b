"""Loaded by every Python of a spied device, because its folder is on PYTHONPATH: says on SIGUSR1 what is loaded.

Writes ``spy-<pid>`` into the temporary folder: a line of loaded modules, a line of the names of its threads. Nothing
is imported here that an interpreter does not load by itself at its start, but ``signal``.
"""

import os
import signal
import sys


def tell(*_: object) -> None:
    """Write what is loaded at this moment."""
    modules = sorted(sys.modules)
    threading = sys.modules.get("threading")
    threads = [thread.name for thread in threading.enumerate()] if threading else []
    path = os.environ["TMPDIR"] + f"/spy-{os.getpid()}"
    with open(path + ".new", "w") as file:  # noqa: PTH123 - pathlib would be one more module
        file.write(" ".join(modules) + "\n" + "|".join(threads) + "\n")
    os.replace(path + ".new", path)  # noqa: PTH105 - idem


signal.signal(signal.SIGUSR1, tell)
