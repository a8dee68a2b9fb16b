"""What a child may allocate is limited from what it has already, and can be lifted again."""

import subprocess
import sys
import textwrap

import pytest

MB = 1024 * 1024


def run(code: str) -> str:
    script = textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("limit", ["limit_data", "limit_address_space"])
def test_more_than_allowed_is_an_error_and_not_an_end(limit: str) -> None:
    assert run(
        f"""
        from agent.process.limits import {limit}
        {limit}(64 * {MB})
        small = bytearray(16 * {MB})
        try:
            bytearray(512 * {MB})
        except MemoryError:
            print("refused")
        {limit}(0)
        bytearray(512 * {MB})
        print("lifted")
        """
    ).split() == ["refused", "lifted"]


def test_a_limit_that_the_host_set_is_never_raised() -> None:
    assert run(
        f"""
        import resource
        from agent.process.limits import limit_data
        resource.setrlimit(resource.RLIMIT_DATA, (900 * {MB}, 900 * {MB}))
        limit_data(4000 * {MB})
        print(resource.getrlimit(resource.RLIMIT_DATA)[0] // {MB})
        limit_data(0)
        print(resource.getrlimit(resource.RLIMIT_DATA)[0] // {MB})
        """
    ).split() == ["900", "900"]
