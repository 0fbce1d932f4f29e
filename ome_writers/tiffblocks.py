"""Given the images of one OME-TIFF file, this answers: where do its directories, its OME-XML and its pixels begin?

The pages of an image lie in storage order, image by image. With an axis without end they come in *blocks*, and in each
of them that axis is the slowest:

    header | directories 0 | OME-XML | pixels 0 | directories 1 | pixels 1 | …
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers import growth
from ome_writers.cuts import Cut, Head
from ome_writers.layout import ArraySpec
from ome_writers.tiffpages import HEADER, Page, directories

GAP: Final = 16
"""Bytes between strips that must not touch; keeps pixels aligned."""
_SECTOR: Final = 4096
"""Large pages begin at multiples of this, as file systems like it."""
_LARGE: Final = 64 << 10
_TOGETHER: Final = 16_384
"""Directories that are made at once."""


@frozen
class PageBlock:
    """Pages that a file is given at once."""

    first: int
    """The round of an endless axis that it begins with."""
    rounds: int
    table: int
    """Where its directories begin (in the first block: those after the first of the file)."""
    numbers: tuple[int, ...]
    """Number of the first page of each image."""
    after: int
    """Number of the page after the last."""
    origins: tuple[int, ...]
    """Where the pixels of each image begin."""
    end: int


@frozen(slots=False)
class FilePages:
    """One file, or several that are alike."""

    specs: tuple[ArraySpec, ...]
    kinds: tuple[tuple[Page, Cut], ...]
    needed: int
    """Bytes of room for OME-XML."""
    step: int | None
    """Rounds of the endless axis in the shortest block."""

    @cached_property
    def endless(self) -> int | None:
        """Which axis has no end."""
        return next((axis for axis, size in enumerate(self.specs[0].shape) if size is None), None)

    @cached_property
    def inner(self) -> list[int]:
        """Pages of each image in a round of the endless axis, or all of them."""
        return [prod(size for size in spec.shape[:-2] if size is not None) for spec in self.specs]

    @cached_property
    def steps(self) -> list[list[int]]:
        """For each image, by how many pages an index along each axis moves on; the endless axis is the slowest."""
        out = []
        for spec, inner in zip(self.specs, self.inner, strict=True):
            sizes = spec.shape[:-2]
            after = _steps([size or 1 for size in sizes])
            out.append([inner if size is None else step for size, step in zip(sizes, after, strict=True)])
        return out

    @cached_property
    def strides(self) -> list[int]:
        """Bytes from page to page of each image."""
        out = []
        for page, cut in self.kinds:
            size = (cut.runs - 1) * cut.run_stride + page.sizes[-1]
            unit = _SECTOR if size >= _LARGE else GAP
            out.append(-(-size // unit) * unit)
        return out

    @cached_property
    def blocks(self) -> tuple[PageBlock, ...]:
        """All blocks that the file may ever have; one, if there is an end."""
        lengths = (1,) if self.step is None else growth.bounds(self.step)
        made: list[PageBlock] = []
        first, page, at = 0, 0, len(HEADER) + self.kinds[0][0].first_directory_bytes
        for length in lengths:
            rounds, table, numbers, origins = length - first, at, [], []
            for (kind, _), inner in zip(self.kinds, self.inner, strict=True):
                numbers.append(page)
                page += rounds * inner
                at += (rounds * inner - (numbers[-1] == 0)) * kind.directory_bytes
            at = _aligned(at + (0 if made else self.needed))
            for stride, inner in zip(self.strides, self.inner, strict=True):
                origins.append(at)
                at = _aligned(at + rounds * inner * stride)
            made.append(PageBlock(first, rounds, table, tuple(numbers), page, tuple(origins), at))
            first = length
        return tuple(made)

    @cached_property
    def room(self) -> tuple[int, int]:
        """Where there is room for OME-XML, and how much."""
        block = self.blocks[0]
        tables = [
            (inner * block.rounds - (number == 0)) * kind.directory_bytes
            for (kind, _), inner, number in zip(self.kinds, self.inner, block.numbers, strict=True)
        ]
        begin = block.table + sum(tables)
        return begin, block.origins[0] - begin

    @cached_property
    def _firsts(self) -> list[int]:
        return [block.first for block in self.blocks]

    def block_of(self, turn: int) -> PageBlock:
        """Return the block that holds a round of the endless axis."""
        return self.blocks[bisect_right(self._firsts, turn) - 1]

    def pages(self, member: int, index: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for indices of an image their blocks, and their pages counted from the image's first in the block."""
        page = index.astype(np.int64) @ np.array(self.steps[member], np.int64)
        if self.endless is None:
            return np.zeros(len(index), np.int64), page
        block = np.searchsorted(self._firsts, index[:, self.endless], side="right") - 1
        return block, page - np.array(self._firsts, np.int64)[block] * self.inner[member]

    def head(self, number: int) -> Head:
        """Return the directories of a block, and for the first the header."""
        if number == 0:
            yield 0, HEADER
        for at, (page, places, after, stride, first) in self.tables(number):
            yield at, directories(page, at, places, after, stride=stride, first=first)

    @cached_property
    def first_head(self) -> bytes:
        """The header and the directories of the first block, which follow each other."""
        return b"".join(data for _, data in self.head(0))

    def tables(self, number: int) -> Iterator[tuple[int, tuple[Page, NDArray[np.int64], int, int, bool]]]:
        """Yield where directories of a block begin, and what they are made from, some thousands at a time."""
        block, at = self.blocks[number], self.blocks[number].table
        for member, ((kind, cut), inner) in enumerate(zip(self.kinds, self.inner, strict=True)):
            count, stride = block.rounds * inner, self.strides[member]
            begin = 0
            last = member == len(self.kinds) - 1
            if block.numbers[member] == 0:
                begin, alone = 1, last and count == 1
                places = np.array(block.origins[:1], np.int64)
                yield len(HEADER), (kind, places, 0 if alone else at, cut.run_stride, True)
            for first in range(begin, count, _TOGETHER):
                stop = min(first + _TOGETHER, count)
                after = at + (stop - first) * kind.directory_bytes
                places = block.origins[member] + stride * np.arange(first, stop)
                yield at, (kind, places, 0 if last and stop == count else after, cut.run_stride, False)
                at = after

    def next_at(self, page: int) -> int:
        """Return where the pointer to the directory after that of a page stands."""
        if page == 0:
            return len(HEADER) + self.kinds[0][0].next_at(first=True)
        block = next(block for block in self.blocks if page < block.after)
        member = bisect_right(block.numbers, page) - 1
        # The first directory of the file does not stand in the table.
        begins = [max(number, 1) for number in block.numbers]
        before = zip(self.kinds[:member], self.inner, block.numbers, begins, strict=False)
        at = block.table + sum(
            (number + block.rounds * inner - begin) * kind.directory_bytes for (kind, _), inner, number, begin in before
        )
        kind = self.kinds[member][0]
        return at + (page - begins[member]) * kind.directory_bytes + kind.next_at(first=False)

    # ── what is left at the end ─────────────────────────────────────────────────────────────────────────────────────

    def in_order(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Return whether the pages of images of these shapes are the first of the file, in storage order."""
        before, first = 0, self.blocks[0]
        for member, shape in enumerate(shapes):
            sizes = shape[:-2]
            if any(
                size > 1 and step != own
                for size, step, own in zip(sizes, self.steps[member], _steps(sizes), strict=True)
            ):
                return False
            if first.numbers[member] != before:
                return False
            if len(shapes) > 1 and self.endless is not None and shape[self.endless] > first.rounds:
                return False
            before += prod(sizes)
        return True

    def pixels_end(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return where the last pixel of images of these shapes lies."""
        ends = []
        for member, (shape, (page, cut)) in enumerate(zip(shapes, self.kinds, strict=True)):
            block, number = self.pages(member, np.array(shape[:-2], np.int32)[None] - 1)
            begin = self.blocks[int(block[0])].origins[member] + int(number[0]) * self.strides[member]
            ends.append(begin + (cut.runs - 1) * cut.run_stride + page.sizes[-1])
        return max(ends)

    def compact(self, shapes: Sequence[tuple[int, ...]], at: int) -> Head:
        """Yield directories for images of these shapes, one after the other, in storage order; they begin at `at`."""
        end = at + self.compact_bytes(shapes)
        number = 0
        for member, (shape, (kind, cut)) in enumerate(zip(shapes, self.kinds, strict=True)):
            count, begin = prod(shape[:-2]), 0
            while begin < count:
                first = number == 0
                stop = 1 if first else min(begin + _TOGETHER, count)
                flat = np.arange(begin, stop)
                index = np.empty((len(flat), len(shape) - 2), np.int32)
                for axis, step in enumerate(_steps(shape[:-2])):
                    index[:, axis] = flat // step % shape[axis]
                block, page = self.pages(member, index)
                origins = np.array([each.origins[member] for each in self.blocks], np.int64)
                places = origins[block] + page * self.strides[member]
                after = at + (kind.first_directory_bytes if first else len(flat) * kind.directory_bytes)
                yield at, directories(kind, at, places, after % end, stride=cut.run_stride, first=first)
                at, begin, number = after, stop, number + len(flat)

    def compact_bytes(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return how long such directories are."""
        each = sum(prod(shape[:-2]) * kind.directory_bytes for shape, (kind, _) in zip(shapes, self.kinds, strict=True))
        kind = self.kinds[0][0]
        return each - kind.directory_bytes + kind.first_directory_bytes


def _steps(sizes: Sequence[int]) -> list[int]:
    """Return by how many places an index along each axis moves on, the last axis being the fastest."""
    return [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _aligned(at: int) -> int:
    return -(-at // _SECTOR) * _SECTOR
