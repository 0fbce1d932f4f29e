"""Given this machine, this answers: what does a frame cost, and how near do the writers come to the bare disk?

1. `overhead` measures what this package adds: importing, compiling, expanding rows, and the way of a frame through
   `write` and `append` into a writer that does nothing.
2. `disk` writes the same frames with each contender and with plain sequential writes to one file, the floor. Contenders
   take turns in going first, and the disk is synchronised between them, so that none pays for the dirty pages of
   another.

Each figure is the best of several rounds, for the fastest round is the one that was least disturbed; the disk's are
medians, since its good moments promise nothing.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.shell import create_stream, write
from ome_writers.shorthand import dims_from_standard_axes
from ome_writers.simulate import grow
from ome_writers.writer import WRITERS, Block, Capabilities, Documents, Selection

Contender = Callable[[Path, Sequence[NDArray[Any]]], None]
"""Stores frames below a folder and returns when the system has them all."""
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


# ── what this package adds ───────────────────────────────────────────────────────────────────────────────────────────


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


def _settings(sizes: Mapping[str, int], side: int = 64, path: str = "bench.ome.zarr") -> AcquisitionSettings:
    dims = dims_from_standard_axes({**sizes, "y": side, "x": side})
    return AcquisitionSettings(root_path=path, dtype="uint16", dimensions=dims)


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
        code = f"import time, numpy; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
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


# ── against the disk ─────────────────────────────────────────────────────────────────────────────────────────────────


def disk(folder: Path | None = None, *, megabytes: int = 256, side: int = 1024, rounds: int = 3) -> list[Figure]:
    """Measure the rate, in MB/s, of plain writes and of each installed writer, on the disk that holds `folder`."""
    count = max(1, megabytes * 1_000_000 // (2 * side * side))
    cells = grow((side, side), seed=1)
    few = [cells.at(moment).frame(channel, 0.0) for moment in range(2) for channel in range(2)]
    frames = [few[number % len(few)] for number in range(count)]
    seconds = compare(_contenders(), frames, folder, rounds=rounds)
    amount = sum(frame.nbytes for frame in frames) / 1e6
    floor = statistics.median(seconds[_FLOOR])
    figures = []
    for name, times in seconds.items():
        middle = statistics.median(times)
        figures.append(
            Figure(name if name == _FLOOR else f"{name} ({floor / middle:.2f} of the floor)", amount / middle, "MB/s")
        )
    return figures


def compare(
    contenders: Mapping[str, Contender], frames: Sequence[NDArray[Any]], folder: Path | None, *, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds that each contender took in each round; another one begins each round."""
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            place = Path(tempfile.mkdtemp(prefix="ome-writers-bench-", dir=folder))
            try:
                _synchronise()
                seconds[name].append(_seconds(partial(contenders[name], place, frames)))
            finally:
                shutil.rmtree(place)
    return seconds


_FLOOR: Final = "plain writes to one file"
_SUFFIXES: Final = {"ome-zarr": ".ome.zarr", "ome-tiff": ".ome.tiff"}


def _contenders() -> dict[str, Contender]:
    """Return plain writes, and each installed writer with each format that it stores on disk."""
    contenders: dict[str, Contender] = {_FLOOR: _plain}
    for name, entry in WRITERS.items():
        installed = entry.requires is None or find_spec(entry.requires) is not None
        for format_name in entry.formats if installed and name not in {"memory", "scratch"} else ():
            contenders[f"{name}, {_SUFFIXES[format_name]}"] = _through(name, _SUFFIXES[format_name])
    return contenders


def _plain(folder: Path, frames: Sequence[NDArray[Any]]) -> None:
    with (folder / "frames.raw").open("wb", buffering=0) as file:
        for frame in frames:
            file.write(frame.data)


def _through(backend: str, suffix: str) -> Contender:
    def store(folder: Path, frames: Sequence[NDArray[Any]]) -> None:
        settings = _settings({"t": len(frames)}, frames[0].shape[0], str(folder / f"bench{suffix}"))
        write(compile(settings), frames, backend)

    return store


def _synchronise() -> None:
    """Wait until the disk has what was written before, where the system lets one wait."""
    getattr(os, "sync", lambda: None)()
