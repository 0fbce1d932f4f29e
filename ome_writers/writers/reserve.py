"""Room on the disk for a file, taken before its bytes come: they are written a third faster then, and more steadily.

Only where the file system can do that by itself (ext4, XFS on Linux). In memory it gains nothing and costs time; and
where it cannot be done, the C library would write zeros instead.
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


def reserve(file: int, size: int) -> None:
    """Take room for the first `size` bytes of an open file, if that helps; what it holds and its length stay."""
    if size >= _WORTH and not WAITS.get() and (call := _call()) is not None and _kind(os.fstat(file).st_dev) in _KINDS:
        # Whether it worked is no matter: on a full disk, the write will say so.
        call(file, 1, 0, size)  # 1: the length of the file stays


@cache
def _call() -> Callable[..., Any] | None:
    if not sys.platform.startswith("linux") or sys.maxsize <= 2**32:
        return None
    call = getattr(ctypes.CDLL(None), "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


@cache
def _kind(device: int) -> str:
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
