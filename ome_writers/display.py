"""The edge between values that show themselves and the machine: which writer there is, how much memory, which warnings.

`html_of` is what settings and plans answer with in Jupyter; see `beyond.py` for how they come here.
"""

from __future__ import annotations

import os
import warnings

from attrs import evolve

from ome_writers.errors import PlanError, SettingsError
from ome_writers.overview import Concern, Overview, overview
from ome_writers.page import page_of, page_of_unready
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.writer import Writer, choose_writer, peak_bytes_for, unit_for


def html_of(value: Plan | AcquisitionSettings) -> str:
    """Return a plan, or settings, in HTML.

    Examples
    --------
    >>> "dtype" in html_of(AcquisitionSettings(root_path="a.ome.zarr"))  # which is missing
    True
    """
    if isinstance(value, Plan):
        return page_of(overview_of(value))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            plan = compile(value)
    except SettingsError as error:
        return page_of_unready(value, error.problems)
    found = overview_of(plan)
    said = [Concern("settings", str(one.message)) for one in caught]
    return page_of(evolve(found, concerns=(*said, *found.concerns)))


def overview_of(plan: Plan, writer: Writer | None = None) -> Overview:
    """Return what a plan comes to on this machine, with the writer that would be taken.

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 10, "y": 512, "x": 512})
    >>> overview_of(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))).writer
    'direct'
    """
    try:
        able = (writer or choose_writer(plan)).capabilities
    except PlanError as error:
        faults = [str(problem) for problem in error.problems]
        return overview(plan, writer=None, unit="frame", peak=0, memory=memory(), faults=faults)
    unit, peak = unit_for(plan, able), peak_bytes_for(plan, able)
    return overview(plan, writer=able.name, unit=unit, peak=peak, memory=memory())


def memory() -> int | None:
    """Return how much memory this machine has, in bytes; `None` where it does not say.

    Examples
    --------
    >>> memory() is None or memory() > 100_000_000
    True
    """
    if os.name == "nt":
        return _memory_on_windows()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _memory_on_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        # MEMORYSTATUSEX of sysinfoapi.h
        _fields_ = (
            ("dwLength", ctypes.c_uint32),
            ("dwMemoryLoad", ctypes.c_uint32),
            ("ullTotalPhys", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 6),
        )

    status = Status(dwLength=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009 - type checkers know it on Windows only
    return int(status.ullTotalPhys) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
