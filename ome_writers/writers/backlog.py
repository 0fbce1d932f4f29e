"""Given how many frames an engine has been handed, this answers: how many of them does it hold, by what is on the disk?

And it waits for an engine that tells nothing by itself: until it holds few enough, or until it has ended.


The engine appends what comes as nested loops bring it, the first axis outermost, and stores the chunks that share a
stretch of that (a layer) as soon as it has all of them. Uncompressed, files grow by as much. Compressed, only a shard
that is whole tells what is in it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from itertools import product
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from ome_writers.layout import ArraySpec
from ome_writers.writers.shardfiles import is_whole
from ome_writers.writers.zarrtree import grid

_PAUSE: Final = 0.002
"""Seconds between two looks at what is on the disk."""
_PROBE: Final = 1.0
"""Seconds after which an engine that stores nothing may have failed."""


class Backlog:
    """How many frames of an array an engine holds.

    Parameters
    ----------
    folder
        Of the dataset.
    spec
        The array, which is in shards.
    step
        How many frames come while its first axis goes on by one.
    limit
        The most bytes that it shall hold, beside two layers: one that is not complete, and the one that it stores.
    """

    def __init__(self, folder: Path, spec: ArraySpec, step: int, limit: int) -> None:
        self._folder, self._spec = folder / spec.path / "c", spec
        self._layer = grid(spec)[0] * step
        """Frames in the shards that are side by side."""
        frame, tile = (size or 1 for size in spec.shape[-2:]), spec.chunk_shape[-2:]
        pixels = prod(-(-size // length) * length for size, length in zip(frame, tile, strict=True))
        self._frame_bytes = pixels * np.dtype(spec.dtype).itemsize
        """Bytes of a frame in its chunks."""
        at_once = self._layer if spec.codec else spec.chunk_shape[0] * step
        self._most = max(limit // self._frame_bytes, 1) + 2 * at_once
        self._chunks = prod(map(int.__floordiv__, grid(spec), spec.chunk_shape))
        self._done = 0
        """Layers that are on the disk."""
        self._since: float | None = None
        """Since when it has stored nothing, though it holds too much."""

    def room(self, taken: int, patience: float) -> int:
        """Wait until an engine that has taken so many frames holds few enough; return after how many to ask again.

        One that stores nothing for a second is to be given one more, since only then it says that it has failed.

        Raises
        ------
        TimeoutError
            If it has stored nothing for `patience` seconds.
        """
        held = before = self.held(taken)
        begin = time.monotonic()
        while held >= self._most and time.monotonic() - begin < min(_PROBE, patience):
            time.sleep(_PAUSE)
            held = self.held(taken)
        if held < self._most:
            self._since = None
            return max((self._most - held) // 2, 1)
        self._since = begin if held < before or self._since is None else self._since
        if (waited := time.monotonic() - self._since) > patience:
            raise TimeoutError(f"acquire-zarr holds {held} frames, and has stored none of them for {waited:.0f} s")
        return 1

    def held(self, taken: int) -> int:
        """Return how many of the frames that the engine has taken it holds, at most."""
        while (self._done + 1) * self._layer <= taken and self._is_stored(self._done):
            self._done += 1
        stored = self._done * self._layer
        if not self._spec.codec:
            for layer in range(self._done, -(-taken // self._layer)):
                # An index, at the end of a shard, would count as pixels.
                stored += min(sum(map(_size, self._files(layer))) // self._frame_bytes, self._layer)
        return max(taken - stored, 0)

    def _is_stored(self, layer: int) -> bool:
        return all(is_whole(path, self._chunks) for path in self._files(layer))

    def _files(self, layer: int) -> list[Path]:
        shape, step = self._spec.shape, grid(self._spec)
        inner = [range(-(-(size or 1) // length)) for size, length in zip(shape[1:], step[1:], strict=True)]
        return [self._folder.joinpath(*map(str, place)) for place in product([layer], *inner)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def in_time(end: Callable[[], None], folder: Path, patience: float, *, in_all: bool) -> bool:
    """Return whether `end` has ended, and not gone on for longer than `patience` without storing below `folder`."""
    thread = threading.Thread(target=end, name="acquire-zarr", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        end()  # Python 3.12 and newer start no threads while the process ends.
        return True
    progress, since, pause = (0, 0), time.monotonic(), min(1.0, patience / 4)
    while True:
        thread.join(pause)
        if not thread.is_alive():
            return True
        looked = time.monotonic()
        found = progress if in_all else _stored(folder)
        pause = max(pause, 10 * (time.monotonic() - looked))
        if found != progress:
            progress, since = found, looked
        elif looked - since > patience:
            return False


def _stored(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    sizes = []
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(Path(path, name).stat().st_size)
    return len(sizes), sum(sizes)
