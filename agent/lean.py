"""Imports structlog without Rich, which structlog's console part loads where it is installed: 4 MB a process.

Neither the agent nor a child prints with Rich. Whoever wants the saving imports this before anything that imports
structlog; ``lookout run`` does. Rich itself stays importable afterwards.
"""

from __future__ import annotations

import sys


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
