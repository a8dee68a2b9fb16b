"""What a process does before it imports libraries that would take more than they are asked for.

Structlog comes without Rich, which its console part loads where it is installed: 4 MB a process. Neither the agent nor
a child prints with Rich; it stays importable afterwards. NumPy's algebra starts no threads: the arrays of the agent are
small, and its threads all have names. Whoever wants this imports it before structlog and NumPy; ``lookout run`` does.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def import_structlog() -> None:
    """Import structlog with Rich out of its sight; does nothing where structlog is there already."""
    if "structlog" in sys.modules:
        return
    was_there = "rich" in sys.modules
    before = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment] # documented: makes the import fail
    try:
        import structlog  # noqa: F401 - for its effect on sys.modules
    finally:
        del sys.modules["rich"]
        if was_there and before is not None:
            sys.modules["rich"] = before


import_structlog()
