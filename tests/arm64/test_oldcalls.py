"""PRoot is spared a system call that it does not know, and programs find another way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import ctypes, errno, os, sys
from tools.arm64.oldcalls import hide_faccessat2
libc = ctypes.CDLL(None, use_errno=True)
def ask():
    ctypes.set_errno(0)
    libc.syscall(439, -100, b"/", os.R_OK, 0)
    return ctypes.get_errno()
before = ask()
hide_faccessat2()
print(before, errno.errorcode[ask()], os.access("/", os.R_OK), os.system("exit 3") >> 8)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a filter of Linux")
def test_the_call_is_unknown_from_then_on_and_files_can_still_be_asked_about() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after, readable, status = done.stdout.split()
    if before != "0":
        pytest.skip(f"this kernel has no faccessat2 to hide (error {before})")
    assert (after, readable, status) == ("ENOSYS", "True", "3")
