"""A process of its own for one contender and one round: writes the frames, and says what that took.

1. The frames are loaded, then the writer's library; two small frames are written with it. Only now are the disk
   synchronised, the memory looked at and the clock started: what a process does once is not timed.
2. The stream is created, takes the frames, and is closed, each timed apart, and each `append` for itself. Open files
   are counted between some of the frames, outside of all timed stretches.
3. What that took is left in a file, since libraries may print what they like.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import asdict, evolve, frozen
from numpy.typing import NDArray

from ome_writers.bench.process import forget_peak, open_files, peak_memory
from ome_writers.bench.results import Measured, latencies
from ome_writers.serial import loads
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.shell import Stream, create_stream

_LOOKS: Final = 8
"""How often open files are counted."""


@frozen(kw_only=True)
class Job:
    """What a worker is asked for."""

    writer: str | None
    """`None` is the floor."""
    settings: str | None
    """As JSON; the root path is relative to the folder."""
    frames: int
    pictures: str
    """A `.npy` file with the frames that are written again and again."""
    folder: str
    """An empty one, which the worker has for itself."""


class PlainFile:
    """The floor: one file, and one system call a frame."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.synced: float | None = None

    def append(self, frame: NDArray[Any]) -> None:
        """Write a frame behind the one before."""
        if self._file.write(frame.data) != frame.nbytes:
            raise OSError(f"not all of a frame could be written to {self._file.name}")

    def synchronise(self) -> None:
        """Wait until the device has everything, and note how long that took."""
        begin = time.perf_counter()
        os.fsync(self._file.fileno())
        self.synced = time.perf_counter() - begin

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def measure(job: Job) -> Measured:
    """Do what a job says, and return what that took."""
    pictures = list(np.load(job.pictures))
    durations = array("q", bytes(8 * job.frames))
    clock = _clock(pictures, min(job.frames, 1000))
    before = peak_memory()
    settings = _warm(job)
    getattr(os, "sync", lambda: None)()
    forget_peak()
    loaded, opened, seen = peak_memory(), open_files(), []

    begin = time.perf_counter()
    sink = _created(job, settings)
    created = time.perf_counter()
    for start, stop in _stretches(job.frames):
        seen.append(open_files())
        _append(sink.append, pictures, range(start, stop), durations)
    seen.append(open_files())
    if isinstance(sink, PlainFile):
        sink.synchronise()
    closing = time.perf_counter()
    sink.close()
    closed = time.perf_counter()

    files = [path for path in Path(job.folder).rglob("*") if path.is_file() and path.parent.suffix != ".journal"]
    return Measured(
        create=created - begin,
        append=sum(durations) / 1e9,
        close=closed - closing,
        clock=clock,
        libraries=_beyond(before, loaded),
        memory=_beyond(loaded, peak_memory()),
        files=len(files),
        stored=sum(path.stat().st_size for path in files),
        descriptors=_beyond(opened, max((count for count in seen if count is not None), default=None)),
        synced=sink.synced if isinstance(sink, PlainFile) else None,
        **latencies(np.frombuffer(durations, np.int64)),
    )


def _warm(job: Job) -> AcquisitionSettings | None:
    """Write two small frames, so that all that is needed is loaded; return the settings that the job is about."""
    if job.settings is None:
        return None
    settings = loads(job.settings)
    sharded = any(dim.shard_size_chunks for dim in settings.dimensions)
    dims = [
        Dimension(name="t", count=2, chunk_size=1, shard_size_chunks=2 if sharded else None),
        *(Dimension(name=name, count=16) for name in "yx"),
    ]
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        small = evolve(
            settings,
            root_path=str(Path(folder, settings.root_path)),
            dimensions=dims,
            storage_order="ome",
            plate=None,
        )
        with create_stream(small, job.writer) as stream:
            for _ in range(2):
                stream.append(np.zeros((16, 16), settings.dtype))
    # Plain writes are not waited for either.
    return evolve(settings, root_path=str(Path(job.folder, settings.root_path)), sync="never")


def _created(job: Job, settings: AcquisitionSettings | None) -> PlainFile | Stream:
    if settings is None:
        return PlainFile(Path(job.folder, "frames.raw"))
    return create_stream(settings, job.writer)


def _stretches(count: int) -> Iterator[tuple[int, int]]:
    step = -(-count // _LOOKS)
    return ((start, min(start + step, count)) for start in range(0, count, step))


def _append(
    append: Callable[[NDArray[Any]], object], pictures: Sequence[NDArray[Any]], numbers: range, durations: array[int]
) -> None:
    clock, many = time.perf_counter_ns, len(pictures)
    last = clock()
    for number in numbers:
        append(pictures[number % many])
        now = clock()
        durations[number] = now - last
        last = now


def _clock(pictures: Sequence[NDArray[Any]], count: int) -> float:
    """Return how many seconds of each append are not the writer's."""
    durations = array("q", bytes(8 * count))
    _append(lambda frame: None, pictures, range(count), durations)  # noqa: ARG005 - it does nothing
    return latencies(np.frombuffer(durations, np.int64))["p50"]


def _beyond(base: int | None, most: int | None) -> int | None:
    return None if base is None or most is None else max(0, most - base)


def main(path: str) -> int:
    """Do the job that stands in a file, as JSON, and leave `result.json` beside it; return the exit code."""
    asked = Path(path)
    job = Job(**json.loads(asked.read_text("utf-8")))
    try:
        said: dict[str, Any] = asdict(measure(job))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the next contender has its turn
        said = {"error": f"{type(error).__name__}: {error}"}
    with suppress(OSError):  # of a full disk; that there is no file tells as much
        asked.with_name("result.json").write_text(json.dumps(said), "utf-8")
    return int("error" in said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
