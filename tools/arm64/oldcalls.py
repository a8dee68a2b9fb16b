"""Hides one system call from a program and all that it starts: ``faccessat2``, which PRoot 5.1 does not know.

PRoot rewrites the paths of the calls it knows. On Linux 5.8 or newer QEMU asks with ``faccessat2`` whether a file may
be read, PRoot lets the path of the *host* pass, and every file inside is unreadable. Where the kernel says that it has
no such call, libc asks in the old way. A seccomp filter does that (``man 2 seccomp``); the number is one on all
processors.
"""

from __future__ import annotations

import ctypes
import errno

_FACCESSAT2 = 439
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Instructions of the kernel's classic BPF: ``ld`` of a word of the call's data, ``jeq`` with a constant, ``ret``."""
_NUMBER_AT = 0
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


_INSTRUCTIONS = (_Instruction * 4)(
    _Instruction(_LOAD_WORD, 0, 0, _NUMBER_AT),
    _Instruction(_JUMP_IF_EQUAL, 0, 1, _FACCESSAT2),
    _Instruction(_RETURN, 0, 0, _ERROR | errno.ENOSYS),
    _Instruction(_RETURN, 0, 0, _ALLOW),
)
_PROGRAM = _Program(len(_INSTRUCTIONS), _INSTRUCTIONS)
_libc = ctypes.CDLL(None, use_errno=True)


def hide_faccessat2() -> None:
    """Do it for this process, for good: call it in a child that is about to run PRoot. Raises :class:`OSError`."""
    for call in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_PROGRAM))):
        if _libc.prctl(*call, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"a filter of system calls cannot be set: {errno.errorcode.get(number, number)}")
