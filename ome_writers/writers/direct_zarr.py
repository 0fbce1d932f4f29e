"""Uncompressed OME-Zarr without a zarr library: each frame is a positioned write, to where the plan says.

1. A shard comes into being with its index, at its full length, when its first frame comes (see `placed.py`). So it is
   whole from the start, no order of arrival is wrong, and a frame is stored when `write` returns.
2. Without shards, a file is a chunk. One that is a single frame is written beside and renamed; one that holds several
   is made at full length.
3. Tiles are brought into the order in which they are stored by one copy; a frame in one piece is not copied at all.
4. Blocks that are neighbours on disk go there together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.cuts import Cut
from ome_writers.layout import ArraySpec
from ome_writers.placement_zarr import place_zarr, without_chunks
from ome_writers.plan import Plan
from ome_writers.writer import Block, Documents, Selection
from ome_writers.writers.ahead import Ahead
from ome_writers.writers.files import sync_tree
from ome_writers.writers.placed import PlacedFiles, blank, get, put, put_all
from ome_writers.writers.zarrfolder import ZarrFolder
from ome_writers.writers.zarrtree import Shape, filled_up, frame_by_frame, grid

_TOGETHER: Final = 64 << 20
"""Bytes that one call to the system is given, if so many lie side by side."""
_DEEP: Final = 16
"""Frames in a file from which on the next one is made ahead."""
_LONG: Final = 8 << 20
"""Bytes, likewise: a smaller one is made in less time than it takes another thread to have the interpreter."""
_MOST_KEYS: Final = 4096
"""Names of files that are kept, since each frame asks for one."""


@frozen
class _Frames:
    """What is to be known of the frames of an array."""

    spec: ArraySpec
    cut: Cut
    dtype: np.dtype[Any]
    deep: int
    """Frames in a chunk."""
    sharded: bool
    straight: frozenset[int]
    """Bytes of a frame, and of a whole chunk, if its pixels lie in a shard as they lie in memory."""


class DirectZarr:
    """Stores uncompressed OME-Zarr in a folder; has the methods of a `Writer` that takes frames in any order."""

    def __init__(self) -> None:
        self._frames: list[_Frames] = []
        self._keys: dict[int, str] = {}
        """Names of files, by number."""
        self._spare: dict[int, NDArray[np.uint8]] = {}
        """Memory to bring tiles into order in, by its size."""

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every group and array, as `zarr.json` files; with `attach` learn the shapes of those that stand.

        Raises
        ------
        FileExistsError
            If anything stands at `root`, unless `attach`.
        FileNotFoundError, ValueError
            If an array to attach to does not stand there, or is stored in another way than planned.
        """
        self._placement = place_zarr(plan)
        self._frames = [_frames(spec, self._placement.cut(array)) for array, spec in enumerate(plan.layout.arrays)]
        self._folder = ZarrFolder(root, plan.layout.arrays)
        self._files = PlacedFiles(self._folder.path, remembers=False)
        self._last = -1, -1
        """Number and descriptor of the file that was used last."""
        self._cut = attach
        """Whether shards may stand that end early, as their array did."""
        worth = any(_made_ahead(spec) for spec in plan.layout.arrays)
        self._ahead = Ahead(self._make, self._placement.following if worth else lambda _: None)
        if attach:
            self._folder.attach()
        else:
            self._folder.create(plan.first_shapes, documents)

    def make(self, files: Iterable[int]) -> None:
        """Make files, by number, before their first frame comes; those that stand are left alone.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        for number in files:
            if not self._files.exists(self._key(number)):
                spec = self._placement.file(number)
                self._files.make(spec.key, spec.size, self._placement.head(number))

    def resize(self, array: int, shape: Shape, /) -> None:
        """Give an array a new shape.

        Files beyond a smaller one are deleted. In a file that the new edge cuts, pixels beyond it are out of sight.
        """
        shrinks = any(map(int.__lt__, shape, self._folder.shapes[array]))
        if shrinks:
            self._let_go()
            self._cut = True
        self._folder.resize(array, shape)
        for key, size, index in self._placement.cut_off(array, shape) if shrinks else ():
            with contextlib.suppress(FileNotFoundError):
                self._files.cut(key, size, index)

    # ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store frames, or whole chunks; when this returns, the operating system has them.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        waiting: list[NDArray[Any]] = []
        number = begin = end = -1
        for _, array, start, data in blocks:
            frames = self._frames[array]
            file, offset = self._placement.at(array, start)
            if data.nbytes not in frames.straight:
                self._write_cut(frames, file, offset, data)
                continue
            if waiting and (file != number or offset != end or end - begin >= _TOGETHER):
                self._put(number, waiting, begin)
                waiting = []
            if not waiting:
                number, begin, end = file, offset, offset
            waiting.append(data)
            end += data.nbytes
        if waiting:
            self._put(number, waiting, begin)

    def _put(self, number: int, parts: Sequence[NDArray[Any]], offset: int) -> None:
        file = self._last[1] if self._last[0] == number else self._opened(number)
        try:
            if len(parts) == 1:
                put(file, parts[0], offset)
            else:
                put_all(file, parts, offset)
        except OSError:
            # The first part of a frame that is not there would look like a frame.
            blank(file, sum(part.nbytes for part in parts), offset)
            raise

    def _opened(self, number: int) -> int:
        key, new = self._key(number), self._ahead.take(number)
        try:
            file = self._files.open(key)
        except FileNotFoundError:
            self._make(number)
            file, new = self._files.open(key), True
        if new:
            self._ahead.follow(number)
        elif self._cut:
            self._complete(number, file)
        self._last = number, file
        return file

    def _make(self, number: int) -> bool:
        """Make a file, if there is none, and return whether there was none."""
        spec = self._placement.file(number)
        if self._files.path(spec.key).exists():
            return False
        self._files.make(spec.key, spec.size, self._placement.head(number), reserved_from=0)
        return True

    def _complete(self, number: int, file: int) -> None:
        """Bring a shard that ended early, as its array did, to the length that it has in the plan."""
        size = os.fstat(file).st_size
        if size >= self._placement.file(number).size:
            return
        for at, index in self._placement.head(number):
            # Where the index stood before is the place of pixels again. Nobody may take it for pixels meanwhile.
            before = size - len(index)
            end = min(size, at)
            try:
                put(file, without_chunks(index, before, end), at)
            except OSError:
                os.ftruncate(file, size)
                raise
            blank(file, end - before, before)
            put(file, index, at)

    def _key(self, number: int) -> str:
        key = self._keys.get(number)
        if key is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            key = self._keys[number] = self._placement.file(number).key
        return key

    def _write_cut(self, frames: _Frames, file: int, offset: int, data: NDArray[Any]) -> None:
        """Write a frame, or chunks, file by file and run by run."""
        cut, deep = frames.cut, frames.deep
        whole = prod(data.shape[:-2]) > 1 or deep == 1
        if whole and data.shape[:-2] != frames.spec.chunk_shape[:-2]:
            data = filled_up(data, (*frames.spec.chunk_shape[:-2], *data.shape[-2:]), frames.spec.fill_value)
        done: list[tuple[int, int, int]] = []
        try:
            for number, runs in enumerate(_in_files(data.reshape(-1, *data.shape[-2:]), cut, self._spare), file):
                # Runs that are neighbours are one.
                for run, pixels in enumerate([runs] if whole or cut.runs == 1 else runs):
                    if not frames.sharded and whole:
                        self._files.put_new(self._key(number), pixels)
                    else:
                        self._put(number, [pixels], offset + run * cut.run_stride)
                    done.append((number, pixels.nbytes, offset + run * cut.run_stride))
        except OSError:
            # Some tiles of a frame that is not there would look like a frame.
            for number, size, at in done:
                with contextlib.suppress(OSError):
                    blank(self._opened(number), size, at)
            raise

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels, zeros where nothing came yet."""
        shape, dtype = self._folder.shapes[array], self._frames[array].dtype
        return frame_by_frame(selection, shape, dtype, lambda index: self._frame(array, index))

    def _frame(self, array: int, index: Shape) -> NDArray[Any]:
        """Return the frame at an index, with all of its last tiles."""
        frames = self._frames[array]
        cut, (file, offset) = frames.cut, self._placement.at(array, index)
        tiles = np.zeros((prod(cut.parts), *cut.tiles, *cut.tile), frames.dtype)
        for number, part in enumerate(tiles, file):
            try:
                opened = self._files.open(self._key(number))
            except FileNotFoundError:
                continue
            finally:
                self._last = -1, -1
            for run, tile in enumerate(part.reshape(cut.runs, *cut.tile)):
                data = get(opened, cut.run_bytes, offset + run * cut.run_stride)
                tile.reshape(-1)[: len(data) // tile.itemsize] = np.frombuffer(data, frames.dtype)
        (rows, columns), (down, across), (height, width) = cut.parts, cut.tiles, cut.tile
        grid = tiles.reshape(rows, columns, down, across, height, width).transpose(0, 2, 4, 1, 3, 5)
        return grid.reshape(rows * down * height, columns * across * width)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the documents; pixels can be read already. `durable` costs a look at every file."""
        self._folder.put(documents or ())
        if durable:
            sync_tree(self._folder.path)

    def close(self, documents: Documents, /) -> None:
        """Replace the documents and close all files."""
        try:
            self._folder.put(documents)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close all files; what was written is stored."""
        with contextlib.suppress(OSError):
            self._let_go()

    def _let_go(self) -> None:
        """Close all files, and remove those that no frame came to."""
        self._last = -1, -1
        self._files.close()
        for number in self._ahead.unused():
            self._files.path(self._placement.file(number).key).unlink(missing_ok=True)


def _made_ahead(spec: ArraySpec) -> bool:
    """Say whether it saves time to make the files of an array before they are needed."""
    file = grid(spec)
    return prod(file[:-2]) >= _DEEP and prod(file) * np.dtype(spec.dtype).itemsize >= _LONG


def _frames(spec: ArraySpec, cut: Cut) -> _Frames:
    height, width = (size or 1 for size in spec.shape[-2:])
    deep = prod(spec.chunk_shape[:-2])
    plain = cut.parts == cut.tiles == (1, 1) and cut.tile == (height, width)
    sharded = spec.shard_shape is not None
    return _Frames(
        spec=spec,
        cut=cut,
        dtype=np.dtype(spec.dtype).newbyteorder("<"),
        deep=deep,
        sharded=sharded,
        straight=frozenset({cut.run_bytes, cut.run_bytes * deep}) if plain and sharded else frozenset(),
    )


def _in_files(frames: NDArray[Any], cut: Cut, spare: dict[int, NDArray[np.uint8]]) -> NDArray[Any]:
    """Return frames (frame, y, x) as they lie on disk: (file, run, frame, y, x), runs whole even at the frames' edge.

    The memory is that of `spare` if it has some of the right size, for memory that is new costs more than the copy.
    """
    (rows, columns), (down, across), (height, width) = cut.parts, cut.tiles, cut.tile
    shape = (rows, down, height, columns, across, width)
    count, full = len(frames), (rows * down * height, columns * across * width)
    if frames.shape[1:] != full:
        frames = filled_up(frames, (count, *full), 0)
    if down * across * rows * columns == 1:
        return frames.reshape(1, 1, count, height, width)
    tiles = frames.reshape(count, *shape).transpose(1, 4, 2, 5, 0, 3, 6)
    if tiles.nbytes not in spare:
        spare.clear()
        spare[tiles.nbytes] = np.empty(tiles.nbytes, np.uint8)
    out = spare[tiles.nbytes].view(frames.dtype).reshape(tiles.shape)
    np.copyto(out, tiles)
    return out.reshape(rows * columns, down * across, count, height, width)
