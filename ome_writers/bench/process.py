"""How much memory this process takes, and how many files it has open, as the system tells it; `None` where it does not.

Read from `/proc` on Linux: `getrusage` says there what the process that started this one took before.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_OWN = Path("/proc/self")


def forget_peak() -> None:
    """Make `peak_memory` begin again from what is taken now, where the system lets one."""
    with suppress(OSError):
        (_OWN / "clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Return the most bytes of memory that this process has had so far.

    Examples
    --------
    >>> peak_memory() is None or peak_memory() > 1_000_000
    True
    """
    with suppress(OSError):
        for line in (_OWN / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return _peak_on_windows() if os.name == "nt" else _peak_elsewhere()


def _peak_elsewhere() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _peak_on_windows() -> int | None:
    import ctypes

    class Counters(ctypes.Structure):
        # PROCESS_MEMORY_COUNTERS of psapi.h
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("PageFaultCount", ctypes.c_uint32),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        )

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009 - type checkers know it on Windows only
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    if not ask(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        return None
    return int(counters.PeakWorkingSetSize)


def open_files() -> int | None:
    """Return how many descriptors are open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir()) - 1  # but for the one that lists them
    return None
