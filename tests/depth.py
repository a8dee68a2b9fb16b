"""How deep the tests dig that make up their own examples.

``make test`` takes a sample of them, the same each time: a test that fails today fails tomorrow. ``make test-faults``
sets ``LOOKOUT_TEST_DEPTH=full``: then they are all made, others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FULL = os.environ.get("LOOKOUT_TEST_DEPTH") == "full"
SHARE, FEWEST = 4, 10


def examples(full: int) -> int:
    """Return how many examples to take where ``full`` are worth the while."""
    return full if FULL else min(full, max(FEWEST, full // SHARE))


def load_profile() -> None:
    """Make it so for all tests, unless somebody chose otherwise; none is judged by how fast this machine is."""
    if settings.get_current_profile_name() not in ("default", "ci"):
        return
    slow = [HealthCheck.too_slow]
    settings.register_profile("full", max_examples=200, deadline=None, suppress_health_check=slow)
    settings.register_profile(
        "sample", max_examples=examples(200), deadline=None, suppress_health_check=slow, derandomize=True
    )
    settings.load_profile("full" if FULL else "sample")
