"""Room on the disk for a file, taken before its bytes come: they are written a third faster then, and more steadily.

Only where the file system can do that by itself (ext4, XFS on Linux). In memory it gains nothing and costs time; and
where it cannot be done, the C library would write zeros instead.

And the length of a file: what lies behind its end before that is set reads as zeros, and nobody should have to write
them. Windows would, twice: the C library where it sets a length, and the system where a byte is written far behind the
last. So there files are said to be sparse; `LENGTHENS = False` switches that way on anywhere.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from ome_writers.space import WAITS

_WORTH: Final = 1 << 20
"""Bytes of a file from which on it gains anything."""
_KINDS: Final = frozenset({"ext4", "xfs"})
_KEEP_LENGTH, _FREE = 1, 2
_SET_SPARSE: Final = 0x900C4

LENGTHENS = os.name != "nt"
"""Whether the system can set the length of a file and write nothing."""


def reserve(file: int, begin: int, end: int) -> None:
    """Take room for the bytes of an open file between two places, if that helps; what it holds and its length stay."""
    if WAITS.get() or end - begin < _WORTH:
        return
    if (call := fallocate()) is not None and kind_of(os.fstat(file).st_dev) in _KINDS:
        # Whether it worked is no matter: on a full disk, the write will say so.
        call(file, _KEEP_LENGTH, begin, end - begin)


def release(file: int, begin: int, end: int) -> None:
    """Give back the room that lies between two places of an open file, where the system can; it reads as zeros then."""
    if end - begin >= _WORTH and (call := fallocate()) is not None:
        # Whether it worked is no matter here either: the file is good with what stands there.
        call(file, _KEEP_LENGTH | _FREE, begin, end - begin)


def lengthen(file: int, size: int) -> None:
    """Make an open file longer; what is new reads as zeros.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    if LENGTHENS:
        os.ftruncate(file, size)
    elif os.fstat(file).st_size < size:
        _say_sparse(file)
        os.lseek(file, size - 1, os.SEEK_SET)
        os.write(file, b"\0")


def _say_sparse(file: int) -> None:
    """Tell Windows that what is not written takes no room; a file system that knows no such files writes the zeros."""
    if sys.platform == "win32":
        import msvcrt

        handle, done = ctypes.c_void_p(msvcrt.get_osfhandle(file)), ctypes.c_ulong()
        ctypes.windll.kernel32.DeviceIoControl(handle, _SET_SPARSE, None, 0, None, 0, ctypes.byref(done), None)


@cache
def fallocate() -> Callable[..., Any] | None:
    """Return the system call that takes room and gives it back, if there is one."""
    if not sys.platform.startswith("linux") or sys.maxsize <= 2**32:
        return None
    call = getattr(ctypes.CDLL(None), "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


@cache
def kind_of(device: int) -> str:
    """Return the kind of the file system on a device, `""` if that cannot be told."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
    for line in lines:
        fields = line.split(" ")
        if fields[2] == number:
            return fields[fields.index("-") + 1]
    return ""
