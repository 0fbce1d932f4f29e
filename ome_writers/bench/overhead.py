"""Given this machine, this answers: what does this package add to the cost of a frame, where no pixel reaches a disk?

Importing, compiling, expanding rows, and the way of a frame through `write` and `append` into a writer that does
nothing. Each figure is the best of several rounds, for the fastest round is the one that was least disturbed.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.shell import create_stream, write
from ome_writers.shorthand import dims_from_standard_axes
from ome_writers.writer import Block, Capabilities, Documents, Selection

_ROUNDS: Final = 5


@frozen
class Figure:
    """One measured number."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    """What it should not exceed; `None` if there is no such number."""


class NullWriter:
    """A writer that drops every block: what is left is the cost of everything before it."""

    capabilities = Capabilities(name="null", formats=frozenset({"scratch", "ome-zarr", "ome-tiff"}), persistent=False)

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Do nothing."""

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Do nothing."""

    def write(self, blocks: Sequence[Block], /) -> None:
        """Do nothing."""

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return nothing: there is nothing to read."""
        raise NotImplementedError

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Do nothing."""

    def close(self, documents: Documents, /) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def overhead(frames: int = 100_000) -> Iterator[Figure]:
    """Measure what this package costs where no pixel reaches a disk; `frames` go through `write` and `append`."""
    yield Figure("import ome_writers, beyond numpy", 1e3 * _import_seconds(), "ms", 60)
    long = _settings({"t": 1000, "p": 10, "c": 4, "z": 250})
    yield Figure("compile 10 million frames (t, p, c, z)", 1e3 * _best(lambda: compile(long)), "ms", 50)
    yield Figure("memory of that plan, at its peak", _peak_bytes(lambda: compile(long)) / 1e6, "MB", 10)
    plan = compile(long)
    yield Figure("expand a million rows of it", _best(lambda: plan.rows(0, 1_000_000)), "s", 0.1)
    short = _settings({"t": frames // 100, "c": 4, "z": 25})
    yield Figure("write, a frame", 1e6 * _best(lambda: _written(short)) / frames, "µs", 2)
    yield Figure("stream.append, a frame", 1e6 * _best(lambda: _appended(short)) / frames, "µs", 3)


def _settings(sizes: Mapping[str, int]) -> AcquisitionSettings:
    dims = dims_from_standard_axes({**sizes, "y": 64, "x": 64})
    return AcquisitionSettings(root_path="bench.ome.zarr", dtype="uint16", dimensions=dims)


def _written(settings: AcquisitionSettings) -> None:
    plan = compile(settings)
    frame = np.zeros((64, 64), "uint16")
    write(plan, repeat(frame, plan.frames or 0), NullWriter())


def _appended(settings: AcquisitionSettings) -> None:
    frame = np.zeros((64, 64), "uint16")
    with create_stream(settings, NullWriter()) as stream:
        append = stream.append
        for _ in range(settings.num_frames or 0):
            append(frame)


def _import_seconds() -> float:
    """Return how much longer an interpreter takes to start with this package than with numpy alone."""

    def start(module: str) -> float:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; import time, numpy; t = time.perf_counter(); "
            f"import {module}; print(time.perf_counter() - t)"
        )
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - our own code

    return min(start("ome_writers") for _ in range(_ROUNDS))


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(_ROUNDS))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
