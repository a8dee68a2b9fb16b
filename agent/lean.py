"""What a process does before it imports libraries that would take more than they are asked for.

Structlog comes without Rich, which its console part loads where it is installed, and without asyncio (with it OpenSSL),
which its loggers for coroutines would use: 7 MB a process. Neither the agent nor a child prints with Rich or logs from
a coroutine; both stay importable afterwards. NumPy's algebra starts no threads: the arrays of the agent are small, and
its threads all have names. Whoever wants this imports it before structlog and NumPy; ``lookout run`` does.
"""

from __future__ import annotations

import ctypes
import os
import sys
from types import ModuleType

_M_ARENA_MAX = -8

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def import_structlog() -> None:
    """Import structlog with Rich and asyncio out of its sight; does nothing where structlog is there already."""
    if "structlog" in sys.modules:
        return
    stand_ins = {"rich": None, "asyncio": ModuleType("asyncio")}  # None: documented, makes the import fail
    before = {name: sys.modules.pop(name) for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type] # see above
    try:
        import structlog  # noqa: F401 - for its effect on sys.modules
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(before)


def share_one_arena() -> None:
    """Have all threads of this process allocate from one arena: 3 MB for a process of thirty threads that take turns.

    For the agent only: a worker's and FFmpeg's threads allocate side by side.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


import_structlog()
