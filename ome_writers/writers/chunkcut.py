"""Given an array of compressed chunks, this answers: into which chunks is a block cut, and where does each one lie?

Nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby, product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.layout import ArraySpec
from ome_writers.writers.chunkcodecs import ChunkCodec, chunk_codec, stored_dtype
from ome_writers.writers.zarrtree import Shape, grid


class Tile(NamedTuple):
    """A chunk, as a part of the frames of a block."""

    file: tuple[int, int]
    """Index in y and x of the file that it lies in."""
    place: int
    """Its C-order place among the chunks of that file that share its place along the leading axes."""
    part: tuple[slice, slice]
    """Its pixels in y and x."""


@frozen(slots=False)
class Cut:
    """How the blocks of an array are cut into chunks, and these into files.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 9, "y": 8, "x": 8}, chunk_shapes={"y": 4}, shard_shapes={"t": 3, "y": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=dims, compression="gzip"))
    >>> [cut] = cuts(plan.layout.arrays, portion=2**20)
    >>> [tile.part[0] for tile in cut.portions[0]]
    [slice(0, 4, None), slice(4, 8, None)]
    >>> cut.locate((4, 1, 0))  # frame 4 is the second of the shard 1, and this its second chunk
    ((1, 0, 0), 3)
    """

    spec: ArraySpec
    codec: ChunkCodec
    dtype: np.dtype[Any]
    """What pixels are when they are encoded."""
    inner: Shape
    """How many chunks a file holds along each axis."""
    portions: tuple[tuple[Tile, ...], ...]
    """All chunks of a block; those of a portion lie in one file if there are shards."""

    @cached_property
    def chunks(self) -> ArraySpec:
        """The array as if it had no shards, so that its grid is that of the chunks."""
        return evolve(self.spec, shard_shape=None)

    @cached_property
    def chunk_bytes(self) -> int:
        """Size of a chunk that is not encoded."""
        return prod(self.spec.chunk_shape) * self.dtype.itemsize

    @cached_property
    def file_chunks(self) -> int:
        """How many chunks a file holds."""
        return prod(self.inner)

    def locate(self, index: Sequence[int]) -> tuple[Shape, int]:
        """Return the index of the file that a chunk lies in, and its C-order place there."""
        return _located(index, self.inner)

    def lead(self, start: Sequence[int]) -> tuple[Shape, int]:
        """Return the leading part of the index of the files of a block, and the place of its first chunk there."""
        file, place = _located(list(map(int.__floordiv__, start, self.spec.chunk_shape)), self.inner)
        return file, place * self.inner[-2] * self.inner[-1]

    def gathered(
        self, block: NDArray[Any], tiles: Sequence[Tile], buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return the chunks of a block one after the other, whole even where the array's edge cuts them.

        With a buffer they are copied into it; without one, a block that is a single whole chunk is returned as it is.
        """
        chunk_shape = self.spec.chunk_shape
        shape = (len(tiles), *chunk_shape)
        if buffer is None and block.shape == chunk_shape and block.dtype == self.dtype:
            return block[None]
        out = np.empty(shape, self.dtype) if buffer is None else buffer.view(self.dtype).reshape(shape)
        (top, left), (bottom, right) = ([part.start for part in tiles[0].part], [part.stop for part in tiles[-1].part])
        rows, columns = (bottom - top) // chunk_shape[-2], (right - left) // chunk_shape[-1]
        part = block[..., top:bottom, left:right]
        if rows * columns == len(tiles) and part.shape == (*chunk_shape[:-2], bottom - top, right - left):
            # A rectangle of whole tiles is copied at once: each copy wants the interpreter, which the threads want too.
            part = part.reshape(*chunk_shape[:-2], rows, chunk_shape[-2], columns, chunk_shape[-1])
            out.reshape(rows, columns, *chunk_shape)[...] = np.moveaxis(part, (-4, -2), (0, 1))
            return out
        for chunk, tile in zip(out, tiles, strict=True):
            pixels = block[(..., *tile.part)]
            if pixels.shape != chunk.shape:
                chunk[...] = self.spec.fill_value
            chunk[tuple(map(slice, pixels.shape))] = pixels
        return out


def _located(index: Sequence[int], inner: Shape) -> tuple[Shape, int]:
    place = 0
    for at, size in zip(index, inner, strict=False):
        place = place * size + at % size
    return tuple(map(int.__floordiv__, index, inner)), place


def cuts(specs: Sequence[ArraySpec], portion: int) -> list[Cut]:
    """Return how the blocks of each array are cut, with about so many bytes in a portion.

    Raises
    ------
    PlanError
        If the library of a codec is missing.
    """
    made: dict[Any, Cut] = {}
    out = []
    for spec in specs:
        key = spec.shape[-2:], spec.dtype, spec.chunk_shape, spec.shard_shape, spec.codec
        if key not in made:
            made[key] = _cut(spec, portion)
        out.append(evolve(made[key], spec=spec))
    return out


def _cut(spec: ArraySpec, portion: int) -> Cut:
    dtype, (height, width) = stored_dtype(spec), spec.chunk_shape[-2:]
    inner = tuple(map(int.__floordiv__, grid(spec), spec.chunk_shape))
    tiles = []
    rows, columns = (-(-(size or 1) // step) for size, step in zip(spec.shape[-2:], (height, width), strict=True))
    for y, x in product(range(rows), range(columns)):
        (row, column), place = _located((y, x), inner[-2:])
        part = slice(y * height, (y + 1) * height), slice(x * width, (x + 1) * width)
        tiles.append(Tile((row, column), place, part))
    tiles.sort()
    most = max(1, portion // (prod(spec.chunk_shape) * dtype.itemsize))
    files = groupby(tiles, lambda tile: tile.file if spec.shard_shape else None)
    together = (list(found) for _, found in files)
    portions = (tuple(some[at : at + most]) for some in together for at in range(0, len(some), most))
    return Cut(spec, chunk_codec(spec), dtype, inner, tuple(portions))
