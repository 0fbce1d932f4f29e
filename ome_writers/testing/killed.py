"""Acquisitions in processes of their own, that are killed: what they do, and what has to be found after that."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from attrs import astuple, evolve, frozen
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.testing.ways import Way, ways

Y, X = 6, 7
T, P, C = 4, 2, 2
WAYS = {way.name: way for way in ways()}


def pixels(number: int) -> NDArray[Any]:
    """Return a frame."""
    return np.arange(Y * X, dtype="uint16").reshape(Y, X) + 100 * number + 1


def metadata(number: int) -> dict[str, Any]:
    """Return what comes with a frame."""
    return {"exposure_time": 0.5, "number": number}


@frozen
class Case:
    """An acquisition, and the frame after which its process dies."""

    way: str
    frames: int
    """How many came by then."""
    chunks: dict[str, int] | None = None
    shards: dict[str, int] | None = None
    compression: str | None = None
    endless: bool = False
    pause: float = 0.0
    """Seconds between the last frame and death."""
    passed: tuple[int, ...] = ()
    """Frames that are skipped."""
    put: bool = False

    @property
    def name(self) -> str:
        """What it is called in a test."""
        parts = [self.way, *(f"{key}{size}" for key, size in (self.chunks or {}).items()), self.compression or ""]
        parts += ["shards"] * bool(self.shards) + ["endless"] * self.endless + ["put"] * self.put
        return "-".join([*filter(None, parts), f"{self.frames}+{self.pause:g}"])

    @property
    def writer(self) -> str:
        """Name of the writer."""
        return WAYS[self.way].writer

    def settings(self, folder: Path) -> ow.AcquisitionSettings:
        """Return its settings, for a dataset in a folder."""
        sizes = {"t": None if self.endless else T, "p": ["left", "right"], "c": C, "y": Y, "x": X}
        dims = ow.dims_from_standard_axes(sizes, chunk_shapes=self.chunks, shard_shapes=self.shards)
        way: Way = WAYS[self.way]
        return way.settings(folder, dims, dtype="uint16", compression=self.compression)


def acquire(case: Case, folder: Path, *, stream: ow.Stream | None = None, stop: int | None = None) -> ow.Stream:
    """Send frames to a stream; it stays open."""
    stream = stream or ow.create_stream(case.settings(folder), case.writer)
    if not stream.cursor:
        stream.set_global_metadata("lab", {"room": 3})
    for number in range(stream.cursor, case.frames if stop is None else stop):
        if number in case.passed:
            stream.skip()
        elif case.put:
            t, p, c = number // (P * C), number // C % P, number % C
            stream.put(pixels(number), frame_metadata=metadata(number), t=t, p=p, c=c)
        else:
            stream.append(pixels(number), frame_metadata=metadata(number))
    return stream


class Killed:
    """A process that acquires, tells how many frames are safe, and is killed then."""

    def __init__(self, case: Case, folder: Path) -> None:
        folder.mkdir()
        self.case, self.folder = case, folder
        said = json.dumps([str(folder), *astuple(case)])
        self.process = subprocess.Popen(  # noqa: S603 - of this module
            [sys.executable, "-m", __name__, said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.safe = -1

    def die(self) -> Killed:
        """Wait until it has said how many frames are safe, and kill it."""
        if self.safe < 0:
            with self.process:
                line = self.process.stdout.readline() if self.process.stdout else ""
                self.process.kill()
            self.safe = int(line)
        return self

    @property
    def root(self) -> str:
        """Path of the dataset."""
        return self.case.settings(self.folder).output_path


def live() -> None:
    """Acquire, in a process that is killed."""
    folder, way, frames, chunks, shards, compression, endless, pause, passed, put = json.loads(sys.argv[1])
    case = Case(way, frames, chunks, shards, compression, endless, pause, tuple(passed), put)
    stream = acquire(case, Path(folder))
    time.sleep(pause)
    sys.stdout.write(f"{stream.safe_frames}\n")
    sys.stdout.flush()
    sys.stdin.read()


def must_hold(case: Case, folder: Path, cursor: int, missing: list[int]) -> None:
    """Compare what readers of others find with nested loops."""
    settings, way = case.settings(folder), WAYS[case.way]
    plan = ow.compile(evolve(settings, overwrite=True))
    length = -(-cursor // (P * C))
    expected = [np.zeros((length, C, Y, X), "uint16") for _ in range(P)]
    number = 0
    for t in range(length):
        for p in range(P):
            for c in range(C):
                if number < cursor and number not in missing:
                    expected[p][t, c] = pixels(number)
                number += 1
    for array, wanted in zip(plan.layout.arrays, expected, strict=True):
        found = way.read(way.make(), settings.output_path, array)
        lasting = wanted[: -(-(cursor - C * array.image) // (P * C))]
        if found is None:
            np.testing.assert_array_equal(lasting, 0)
            continue
        np.testing.assert_array_equal(found.reshape(-1, C, Y, X)[: len(lasting)], lasting, err_msg=array.path)
        np.testing.assert_array_equal(found.reshape(-1, C, Y, X)[len(lasting) :], 0)


if __name__ == "__main__":
    live()
