"""Given the images of one OME-TIFF file, this answers: where do its directories, its OME-XML and its pixels begin?

The pages of an image lie in storage order, image by image. They come in *blocks*, each of which begins with its
directories, so that little is left of pages that never came when a file is cut behind its last pixel:

    header | directories 0 | OME-XML | pixels 0 | directories 1 | pixels 1 | …

A block has some thousand pages, and all blocks are there from the start. With an axis without end a block holds some
rounds of that, of all images; in it that axis is the slowest, and blocks are added as the run goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any, Final

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
_PAGES: Final = 8192
"""Pages of a block, if there is an end; and directories that are made at once."""


@frozen
class Stretch:
    """Pages of one image that lie side by side."""

    member: int
    """Which image of the file."""
    first: int
    """Which of the image's pages it begins with, counted as they lie."""
    count: int
    number: int
    """Number of its first page in the file."""
    origin: int
    """Where its pixels begin."""


@frozen
class PageBlock:
    """Pages whose directories lie side by side."""

    table: int
    """Where these begin (in the first block: those after the first of the file)."""
    stretches: tuple[Stretch, ...]
    after: int
    """Number of the page after the last."""
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
        """All blocks that the file may ever have."""
        made: list[PageBlock] = []
        number, at = 0, len(HEADER) + self.kinds[0][0].first_directory_bytes
        for parts in self._parts():
            table, stretches = at, []
            at += self._table_bytes(parts, number)
            at = _aligned(at + (0 if made else self.needed))
            for member, first, count in parts:
                stretches.append(Stretch(member, first, count, number, at))
                number, at = number + count, _aligned(at + count * self.strides[member])
            made.append(PageBlock(table, tuple(stretches), number, at))
        return tuple(made)

    def _parts(self) -> Iterator[list[tuple[int, int, int]]]:
        """Yield for each block the images that have pages in it, the first of these, and how many."""
        if self.step is not None:
            before = 0
            for length in growth.bounds(self.step):
                yield [(member, before * inner, (length - before) * inner) for member, inner in enumerate(self.inner)]
                before = length
            return
        parts: list[tuple[int, int, int]] = []
        left = _PAGES
        for member, inner in enumerate(self.inner):
            first = 0
            while first < inner:
                count = min(inner - first, left)
                parts.append((member, first, count))
                first, left = first + count, left - count
                if not left:
                    yield parts
                    parts, left = [], _PAGES
        if parts:
            yield parts

    def _table_bytes(self, parts: Sequence[tuple[int, int, int]], number: int) -> int:
        """Return how long the directories of a block are whose first page has that number."""
        sizes = [self.kinds[member][0].directory_bytes for member, _, _ in parts]
        # The first directory of the file does not stand in the table.
        return sum(size * count for size, (_, _, count) in zip(sizes, parts, strict=True)) - (number == 0) * sizes[0]

    @cached_property
    def first_blocks(self) -> int:
        """How many blocks there are from the start."""
        return len(self.blocks) if self.step is None else 1

    @cached_property
    def room(self) -> tuple[int, int]:
        """Where there is room for OME-XML, and how much."""
        block = self.blocks[0]
        parts = [(stretch.member, stretch.first, stretch.count) for stretch in block.stretches]
        begin = block.table + self._table_bytes(parts, 0)
        return begin, block.stretches[0].origin - begin

    @cached_property
    def of(self) -> list[list[Stretch]]:
        """The stretches of each image."""
        out: list[list[Stretch]] = [[] for _ in self.specs]
        for block in self.blocks:
            for stretch in block.stretches:
                out[stretch.member].append(stretch)
        return out

    def pages(self, member: int, index: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for indices of an image where the pixels of their pages begin, and their numbers in the file."""
        page = index.astype(np.int64) @ np.array(self.steps[member], np.int64)
        firsts, origins, numbers = self._found[member]
        which = np.searchsorted(firsts, page, side="right") - 1
        page -= firsts[which]
        return origins[which] + page * self.strides[member], numbers[which] + page

    @cached_property
    def _found(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        return [
            (
                np.array([stretch.first for stretch in mine], np.int64),
                np.array([stretch.origin for stretch in mine], np.int64),
                np.array([stretch.number for stretch in mine], np.int64),
            )
            for mine in self.of
        ]

    def head(self, number: int) -> Head:
        """Return the directories of a block, and for the first the header."""
        if number == 0:
            yield 0, HEADER
        for at, (page, places, after, stride, first) in self.tables(number):
            yield at, directories(page, at, places, after, stride=stride, first=first)

    def heads(self) -> Head:
        """Return the directories of all blocks that are there from the start, and the header."""
        for number in range(self.first_blocks):
            yield from self.head(number)

    @cached_property
    def first_head(self) -> bytes:
        """The header and the directories of the first block, which follow each other."""
        return b"".join(data for _, data in self.head(0))

    def tables(self, number: int) -> Iterator[tuple[int, tuple[Page, NDArray[np.int64], int, int, bool]]]:
        """Yield where directories of a block begin, and what they are made from, some thousands at a time."""
        block, at = self.blocks[number], self.blocks[number].table
        # A block that is added later is pointed to when it is there.
        following = self.blocks[number + 1].table if number + 1 < self.first_blocks else 0
        for stretch in block.stretches:
            (kind, cut), stride = self.kinds[stretch.member], self.strides[stretch.member]
            last, begin = stretch is block.stretches[-1], 0
            if stretch.number == 0:
                begin, alone = 1, last and stretch.count == 1
                places = np.array([stretch.origin], np.int64)
                yield len(HEADER), (kind, places, following if alone else at, cut.run_stride, True)
            for first in range(begin, stretch.count, _PAGES):
                stop = min(first + _PAGES, stretch.count)
                after = at + (stop - first) * kind.directory_bytes
                places = stretch.origin + stride * np.arange(first, stop)
                ends = last and stop == stretch.count
                yield at, (kind, places, following if ends else after, cut.run_stride, False)
                at = after

    def next_at(self, page: int) -> int:
        """Return where the pointer to the directory after that of a page stands."""
        if page == 0:
            return len(HEADER) + self.kinds[0][0].next_at(first=True)
        block = self.blocks[bisect_right(self._afters, page)]
        before = bisect_right([stretch.number for stretch in block.stretches], page) - 1
        parts = [(stretch.member, stretch.first, stretch.count) for stretch in block.stretches[:before]]
        stretch = block.stretches[before]
        # The first directory of the file does not stand in the table.
        first = block.stretches[0].number == 0
        at = block.table + (self._table_bytes(parts, block.stretches[0].number) if parts else 0)
        kind = self.kinds[stretch.member][0]
        place = page - stretch.number - (first and before == 0)
        return at + place * kind.directory_bytes + kind.next_at(first=False)

    @cached_property
    def _afters(self) -> list[int]:
        return [block.after for block in self.blocks]

    # ── what is left at the end ─────────────────────────────────────────────────────────────────────────────────────

    def in_order(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Return whether the pages of images of these shapes are the first of the file, in storage order."""
        before = 0
        for member, shape in enumerate(shapes):
            sizes, count = shape[:-2], prod(shape[:-2])
            if any(
                size > 1 and step != own
                for size, step, own in zip(sizes, self.steps[member], _steps(sizes), strict=True)
            ):
                return False
            ends = np.array([[0] * len(sizes), [size - 1 for size in sizes]], np.int64)
            if self.pages(member, ends)[1].tolist() != [before, before + count - 1]:
                return False
            before += count
        return True

    def pixels_end(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return where the last pixel of images of these shapes lies."""
        ends = []
        for member, (shape, (page, cut)) in enumerate(zip(shapes, self.kinds, strict=True)):
            (begin,), _ = self.pages(member, np.array(shape[:-2], np.int64)[None] - 1)
            ends.append(int(begin) + (cut.runs - 1) * cut.run_stride + page.sizes[-1])
        return max(ends)

    def used(self, shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
        """Yield from where to where pixels of images of these shapes lie, in the order of the file."""
        ends = [
            sum((size - 1) * step for size, step in zip(shape[:-2], steps, strict=True)) + 1
            for shape, steps in zip(shapes, self.steps, strict=True)
        ]
        for stretch in (stretch for block in self.blocks for stretch in block.stretches):
            member, stride = stretch.member, self.strides[stretch.member]
            stop = min(stretch.first + stretch.count, ends[member])
            for first in range(stretch.first, stop, _PAGES):
                page = np.arange(first, min(first + _PAGES, stop))
                here = np.ones(len(page), bool)
                rest = page
                # From the slowest axis on, what is left of the number of a page counts on along the others.
                for step, size in sorted(zip(self.steps[member], shapes[member][:-2], strict=True), reverse=True):
                    index, rest = np.divmod(rest, step)
                    here &= index < size
                edges = np.flatnonzero(np.diff(here, prepend=False, append=False)).reshape(-1, 2)
                yield from map(tuple, (stretch.origin + (edges + first - stretch.first) * stride).tolist())

    def compact(self, shapes: Sequence[tuple[int, ...]], at: int) -> Head:
        """Yield directories for images of these shapes, one after the other, in storage order; they begin at `at`."""
        end = at + self.compact_bytes(shapes)
        number = 0
        for member, (shape, (kind, cut)) in enumerate(zip(shapes, self.kinds, strict=True)):
            count, begin = prod(shape[:-2]), 0
            while begin < count:
                first = number == 0
                stop = 1 if first else min(begin + _PAGES, count)
                flat = np.arange(begin, stop)
                places, _ = self.pages(member, indices(flat, shape[:-2]))
                after = at + (kind.first_directory_bytes if first else len(flat) * kind.directory_bytes)
                yield at, directories(kind, at, places, after % end, stride=cut.run_stride, first=first)
                at, begin, number = after, stop, number + len(flat)

    def compact_bytes(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return how long such directories are."""
        each = sum(prod(shape[:-2]) * kind.directory_bytes for shape, (kind, _) in zip(shapes, self.kinds, strict=True))
        kind = self.kinds[0][0]
        return each - kind.directory_bytes + kind.first_directory_bytes


def indices(flat: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the indices that elements of an array of these sizes have, of which `flat` says which, in C order."""
    out = np.empty((len(flat), len(sizes)), np.int64)
    for axis, step in enumerate(_steps(sizes)):
        out[:, axis] = flat // step % sizes[axis]
    return out


def _steps(sizes: Sequence[int]) -> list[int]:
    """Return by how many places an index along each axis moves on, the last axis being the fastest."""
    return [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _aligned(at: int) -> int:
    return -(-at // _SECTOR) * _SECTOR
