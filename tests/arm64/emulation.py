"""A plugin of pytest for QEMU's user emulation: it skips, with a reason, what cannot be true there.

``make test-arm64`` loads it (``-p tests.arm64.emulation``); nothing else does. An entry that names no test is an error,
so that the table cannot outlive what it is about. Property tests try fewer examples, without deadlines.
"""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("emulated", deadline=None, max_examples=20)
hypothesis.settings.load_profile("emulated")

UNLIMITED = "QEMU's user emulation passes no limit of memory on to the kernel (RLIMIT_DATA, RLIMIT_AS)"

UNFIT: dict[str, str] = {
    "tests/process/test_limits.py::test_more_than_allowed_is_an_error_and_not_an_end": UNLIMITED,
    "tests/process/test_limits.py::test_a_limit_that_the_host_set_is_never_raised": UNLIMITED,
    "tests/process/test_child.py::test_a_child_inherits_nothing_but_its_channel": (
        "QEMU and PRoot hold files of their own open in every process"
    ),
    "tests/process/test_child.py::test_an_ordinary_user_comes_back_from_nice_exactly_where_the_limit_says": (
        "PRoot starts no program for another user than its own"
    ),
    "tests/infer/test_families.py::test_the_package_of_the_page_reads_a_model_that_the_agent_alone_cannot": (
        "it installs a package with pip, which is not in the ARM root; nothing in it depends on the processor"
    ),
    "tests/registry/test_client.py::test_a_killed_fetch_process_is_told_and_the_next_fetch_works": (
        "QEMU tells a thread's start for its process', so that the test's psutil finds no children in a thread"
    ),
    "tests/serve/test_tuning.py::test_each_of_the_options_is_measured_and_the_optimised_copy_is_left_behind": (
        "the time for tuning is up before each of the options has had its runs"
    ),
    "tests/serve/test_worker.py::test_a_stopped_worker_misses_the_deadline_and_can_be_killed_with_a_reason": (
        "PRoot, which traces every process, passes SIGSTOP on too late"
    ),
    "tests/serve/test_worker.py::test_whoever_waits_for_a_picture_is_told_when_the_worker_dies": (
        "its model is made to be slow: emulated, it takes ten minutes to load"
    ),
    "tests/serve/test_worker.py::test_closing_answers_what_was_asked_and_tells_no_death": (
        "a worker that is closed has two seconds to finish: emulated, ten answers may take longer"
    ),
}
"""Tests, as pytest names them without their parameters, and why emulation cannot show what they promise."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in the table."""
    seen = set()
    for item in items:
        name = item.nodeid.split("[")[0]
        if name in UNFIT:
            seen.add(name)
            item.add_marker(pytest.mark.skip(reason=UNFIT[name]))
    files = {item.nodeid.split("::")[0] for item in items}
    whole = {name for name in UNFIT if name.split("::")[0] in files}
    gone = sorted(name for name in whole - seen if not _chosen_by_hand(items))
    if gone:
        raise pytest.UsageError(f"tests/arm64/emulation.py names tests that are not there: {', '.join(gone)}")


def _chosen_by_hand(items: list[pytest.Item]) -> bool:
    """Whether the command line named single tests: then others of a file are missing for a reason."""
    return any("::" in argument for argument in items[0].config.args)
