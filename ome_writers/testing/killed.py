"""Acquisitions in processes of their own, that are killed: what they do, and what has to be found after that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from attrs import evolve, frozen

import ome_writers as ow
from ome_writers.serial import dumps
from ome_writers.testing import living
from ome_writers.testing.living import C, P, T, X, Y, pixels, send
from ome_writers.testing.ways import Way, ways

WAYS = {way.name: way for way in ways()}


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
    send(stream, case.frames if stop is None else stop, case.passed, put=case.put)
    return stream


class Killed:
    """A process that acquires, tells how many frames are safe, and is killed then."""

    def __init__(self, case: Case, folder: Path) -> None:
        folder.mkdir()
        self.case, self.folder = case, folder
        said = [dumps(case.settings(folder)), case.writer, case.frames, case.passed, case.put, case.pause]
        self.process = subprocess.Popen(  # noqa: S603 - of this package
            [sys.executable, "-P", living.__file__, json.dumps(said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
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
