"""Given a plan of uncompressed OME-Zarr, this answers: in which file, at which byte, does each frame lie?

A file is a shard, or a chunk if there are no shards. The chunks of a shard lie in it frame by frame: those that share
their place in all axes but y and x are neighbours, so that a frame is one stretch of bytes, its tiles one behind the
other. A shard's index may name its chunks in any order (Zarr v3, `sharding_indexed`), so it is written before them.

With shards of 2 frames of 2 tiles, and an index at the end, files 0 and 1 of an array of 4 frames are

    byte    0        64       128      192      256 … 324
    file 0  t=0 a    t=0 b    t=1 a    t=1 b    index
    file 1  t=2 a    t=2 b    t=3 a    t=3 b    index

A file's number and a frame's offset are sums of digits times constants, like the columns of the frame table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import Final

import numpy as np
from attrs import evolve, field, frozen

from ome_writers.checksum import crc32c
from ome_writers.cuts import Cut, FileSpec, Head, described
from ome_writers.layout import ArraySpec
from ome_writers.order import Rows
from ome_writers.plan import Plan

_ABSENT: Final = np.uint64(2**64 - 1)


@frozen(eq=False, slots=False)
class ZarrPlacement:
    """Where the frames of an OME-Zarr dataset lie; made by `place`, which has an example.

    Files are numbered. Those that share a frame have neighbouring numbers, in C order.
    """

    plan: Plan
    _cells: tuple[_Cells, ...] = field(repr=False)

    def cut(self, array: int) -> Cut:
        """Return how the frames of an array are cut."""
        return self._cells[array].cut

    @property
    def file_count(self) -> int | None:
        """Number of files, `None` without end."""
        return None if self._cells[0].endless is not None else self._per_round

    def at(self, array: int, index: Sequence[int]) -> tuple[int, int]:
        """Return the number of the (first) file, and the byte in it, of the frame at an index of an array."""
        file, offset = self._bases[array], 0
        for i, (extent, chunk, cell, group, inner) in zip(index, self._steps[array], strict=True):
            number, within = divmod(i, extent)
            file += number * cell
            if chunk == 1:
                offset += within * group
            else:
                which, slot = divmod(within, chunk)
                offset += which * group + slot * inner
        return file, offset

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return where the frames at places `start` to `stop` of the plan lie, read-only; costs the stretch asked for.

        Returns
        -------
        A record array with `frame`, `array`, `file`, `offset` (of the first run, in bytes), `files` (that share the
        frame, from `file` on), `runs` (in each of them), `run_bytes` and `run_stride`.

        Raises
        ------
        IndexError
            If the stretch leaves the plan.
        """
        rows = self.plan.rows(start, stop)
        out = described(rows, [cells.cut for cells in self._cells])
        which = rows["array"]
        out["file"] = np.array(self._bases, np.int64)[which]
        steps = np.array(self._steps, np.int64).reshape(len(self._cells), -1, 5)
        for axis in range(steps.shape[1]):
            extent, chunk, cell, group, inner = steps[which, axis].T
            number, within = np.divmod(rows["index"][:, axis], extent)
            out["file"] += number * cell
            out["offset"] += within // chunk * group + within % chunk * inner
        out.flags.writeable = False
        return out

    def file(self, number: int) -> FileSpec:
        """Return the name and size of a file.

        Raises
        ------
        IndexError
            If there is none of that number.
        """
        cells, where = self._cell(number)
        return FileSpec(cells.key(where), cells.size(where))

    def head(self, number: int) -> Head:
        """Return what must stand in a file before its first frame comes: the index of a shard."""
        cells, where = self._cell(number)
        index = cells.index(where)
        return ((cells.size(where) - len(index), index),) if index else ()

    def following(self, number: int) -> int | None:
        """Return the number of the file that comes next along the outermost loop, `None` if there is none."""
        cells, where = self._cell(number)
        axis = self.plan.outermost_axis
        if axis is None:
            return None
        if cells.endless == axis:
            return number + self._per_round
        return number + prod(cells.grid[axis + 1 :]) if where[axis] + 1 < cells.grid[axis] else None

    def cut_off(self, array: int, shape: Sequence[int]) -> Iterator[tuple[str, int, bytes]]:
        """Yield key, size and index of the shards at the edge of an array that ends earlier than planned."""
        spec = self._cells[array].spec
        if spec.shard_shape is None:
            return
        ends = _Cells(evolve(spec, shape=tuple(shape)))
        for axis, (size, planned) in enumerate(zip(shape, spec.shape, strict=True)):
            if size != planned and size % ends.extent[axis]:
                last = [range(count - 1, count) if k == axis else range(count) for k, count in enumerate(ends.grid)]
                for where in product(*last):
                    yield ends.key(where), ends.size(where), ends.index(where)

    @cached_property
    def _per_round(self) -> int:
        return sum(cells.count for cells in self._cells)

    @cached_property
    def _bases(self) -> list[int]:
        counts = [cells.count for cells in self._cells]
        return [sum(counts[:number]) for number in range(len(counts))]

    @cached_property
    def _steps(self) -> list[list[tuple[int, int, int, int, int]]]:
        return [cells.steps(self._per_round) for cells in self._cells]

    def _cell(self, number: int) -> tuple[_Cells, tuple[int, ...]]:
        if number < 0 or (self.file_count is not None and number >= self.file_count):
            raise IndexError(f"there are {self.file_count or 'endless'} files; got number {number}")
        turn, number = divmod(number, self._per_round)
        array = int(np.searchsorted(self._bases, number, side="right")) - 1
        cells = self._cells[array]
        inner = number - self._bases[array]
        where = [int(i) for i in np.unravel_index(inner, cells.grid)]
        if cells.endless is not None:
            where[cells.endless] = turn
        return cells, tuple(where)


def place_zarr(plan: Plan) -> ZarrPlacement:
    """Return where the frames of an OME-Zarr dataset lie."""
    return ZarrPlacement(plan, tuple(_Cells(spec) for spec in plan.layout.arrays))


@frozen(slots=False)
class _Cells:
    """The files of an array, as cells of a grid."""

    spec: ArraySpec

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Shape of the array in one file."""
        return self.spec.shard_shape or self.spec.chunk_shape

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of files along each axis, 1 where there is no end."""
        sizes = zip(self.spec.shape, self.extent, strict=True)
        return tuple(1 if size is None else -(-size // step) for size, step in sizes)

    @cached_property
    def count(self) -> int:
        return prod(self.grid)

    @cached_property
    def endless(self) -> int | None:
        return next((axis for axis, size in enumerate(self.spec.shape) if size is None), None)

    @cached_property
    def chunks(self) -> tuple[int, ...]:
        """Number of chunks along each axis of a file."""
        return tuple(size // step for size, step in zip(self.extent, self.spec.chunk_shape, strict=True))

    @cached_property
    def chunk_bytes(self) -> int:
        return prod(self.spec.chunk_shape) * np.dtype(self.spec.dtype).itemsize

    @cached_property
    def cut(self) -> Cut:
        chunk = self.spec.chunk_shape
        return Cut(
            parts=(self.grid[-2], self.grid[-1]),
            tiles=(self.chunks[-2], self.chunks[-1]),
            tile=(chunk[-2], chunk[-1]),
            padded=True,
            packed=False,
            run_bytes=self.chunk_bytes // prod(chunk[:-2]),
            run_stride=self.chunk_bytes,
        )

    @cached_property
    def group_bytes(self) -> int:
        """Bytes of the chunks of a file that differ in y and x only."""
        return self.chunk_bytes * prod(self.chunks[-2:])

    def steps(self, per_round: int) -> list[tuple[int, int, int, int, int]]:
        """Return for each axis but y and x: elements in a file, in a chunk; what the next file, chunk and element add.

        The next file along an axis adds to the number of the file, that along one without end as many as all arrays
        have side by side (`per_round`). The others add to the offset, in bytes.
        """
        steps = []
        for axis in range(len(self.extent) - 2):
            cell = per_round if axis == self.endless else prod(self.grid[axis + 1 :])
            group = self.group_bytes * prod(self.chunks[axis + 1 : -2])
            inner = self.cut.run_bytes * prod(self.spec.chunk_shape[axis + 1 : -2])
            steps.append((self.extent[axis], self.spec.chunk_shape[axis], cell, group, inner))
        return steps

    def key(self, where: tuple[int, ...]) -> str:
        return "/".join([self.spec.path, "c", *map(str, where)])

    def used(self, where: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many chunks of a file lie in the array, along each axis."""
        used = []
        for cell, size, extent, chunk in zip(where, self.spec.shape, self.extent, self.spec.chunk_shape, strict=True):
            here = extent if size is None else min(extent, size - cell * extent)
            used.append(-(-here // chunk))
        return tuple(used)

    def size(self, where: tuple[int, ...]) -> int:
        # The array's edge may leave the last chunks of a shard without pixels.
        last = np.ravel_multi_index([used - 1 for used in self.used(where)[:-2]], self.chunks[:-2]) if where[:-2] else 0
        return (int(last) + 1) * self.group_bytes + len(self.index(where))

    def index(self, where: tuple[int, ...]) -> bytes:
        """Return the index of a shard; nothing if there are no shards."""
        return b"" if self.spec.shard_shape is None else shard_index(self.chunks, self.used(where), self.chunk_bytes)


@lru_cache(maxsize=64)
def shard_index(chunks: tuple[int, ...], used: tuple[int, ...], chunk_bytes: int) -> bytes:
    """Return the index of a shard whose chunks lie in C order: offset and length of each, and the checksum of all.

    Parameters
    ----------
    chunks
        Number of chunks along each axis.
    used
        How many of them, from the first, there are: all others are said to be absent.
    chunk_bytes
        Size of each.

    Examples
    --------
    >>> np.frombuffer(shard_index((2, 1, 1), (2, 1, 1), 64)[:-4], "<u8").reshape(2, 2).tolist()
    [[0, 64], [64, 64]]
    """
    entries = np.full((*chunks, 2), _ABSENT, "<u8")
    offsets = np.arange(prod(chunks), dtype="<u8").reshape(chunks) * np.uint64(chunk_bytes)
    there = tuple(slice(size) for size in used)
    entries[..., 0][there] = offsets[there]
    entries[..., 1][there] = chunk_bytes
    data = entries.tobytes()
    return data + crc32c(data).to_bytes(4, "little")


def without_chunks(index: bytes, begin: int, end: int) -> bytes:
    """Return the index of a shard in which the chunks are absent that reach into some of its bytes.

    Examples
    --------
    >>> index = without_chunks(shard_index((2, 1, 1), (2, 1, 1), 64), 100, 110)
    >>> np.frombuffer(index[:-4], "<u8")[2:].tolist() == [2**64 - 1] * 2
    True
    """
    entries = np.frombuffer(index[:-4], "<u8").reshape(-1, 2).copy()
    # What is absent begins beyond every end.
    first, size = entries.T
    reaching = first < np.uint64(end)
    reaching[reaching] = first[reaching] + size[reaching] > np.uint64(begin)
    entries[reaching] = _ABSENT
    data = entries.tobytes()
    return data + crc32c(data).to_bytes(4, "little")
